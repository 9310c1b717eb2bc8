"""An invoice as UBL 2.1 by EN 16931. One law: quantities and prices are exact, amounts are the invoice's own.

A quantity is in milliseconds of one GPU (unit `C26`), its price is for 3,600,000 of them: no hour is ever rounded.
Shares of a GPU whose milliseconds are not whole are in microseconds (`B98`), priced for 3,600,000,000.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from gpuaas.billing.documents.facts import InvoiceFacts, LineFacts, TaxFacts
from gpuaas.billing.domain.invoice_party import Party
from gpuaas.billing.domain.metering import MS_PER_HOUR
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.errors import Rejected
from gpuaas.common.money import minor_digits, plain

MEDIA_TYPE: Final = "application/xml"
_INVOICE: Final = "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
_CBC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"
_CAC: Final = "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"
_PROFILE: Final = "urn:cen.eu:en16931:2017"
_COMMERCIAL_INVOICE: Final = "380"
_SEPA_CREDIT_TRANSFER: Final = "58"
_MILLISECOND: Final = "C26"
_MICROSECOND: Final = "B98"
_ONE: Final = "C62"
_OUTSIDE_SCOPE: Final = "O"
_STANDARD: Final = "S"
_DIGITS_MAX: Final = 2
"""EN 16931 allows amounts no finer than this."""

for _prefix, _uri in (("", _INVOICE), ("cbc", _CBC), ("cac", _CAC)):
    register_namespace(_prefix, _uri)


def as_ubl(invoice: InvoiceFacts) -> bytes:
    """The XML document.

    Raises:
        Rejected: the norm cannot say it: a currency with three digits, or a seller that nothing identifies.
    """
    if minor_digits(invoice.currency) > _DIGITS_MAX:
        raise Rejected(f"EN 16931 has amounts of two digits, {invoice.currency} has three; take the PDF or CSV")
    taxes = invoice.taxes or (TaxFacts(_OUTSIDE_SCOPE, Decimal(0), invoice.total, invoice.tax),)
    outside = any(each.category == _OUTSIDE_SCOPE for each in taxes)
    seller = invoice.seller
    if not seller.registration_id and (outside or not seller.vat_id):
        raise Rejected(
            "the seller needs a registration_id on invoices without VAT; set it with the seller's particulars"
        )
    root = Element(f"{{{_INVOICE}}}Invoice")
    _head(root, invoice)
    _party(_in(root, "AccountingSupplierParty"), seller, with_vat_id=not outside)
    _party(_in(root, "AccountingCustomerParty"), invoice.buyer, with_vat_id=not outside, known_as=invoice.tenant_id)
    _payment(root, invoice)
    _tax_totals(root, invoice, taxes)
    _totals(root, invoice)
    for line in invoice.lines:
        _line(root, invoice, line, taxes[0])
    indent(root)
    written: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return written


def _head(root: Element, invoice: InvoiceFacts) -> None:
    _text(root, "CustomizationID", _PROFILE)
    _text(root, "ID", invoice.number)
    _text(root, "IssueDate", _day(invoice.finalized_at))
    if invoice.due_at is not None:
        _text(root, "DueDate", _day(invoice.due_at))
    _text(root, "InvoiceTypeCode", _COMMERCIAL_INVOICE)
    _text(root, "Note", f"SHA-256 of the invoice: {invoice.content_sha256}")
    _text(root, "DocumentCurrencyCode", invoice.currency)
    _text(root, "BuyerReference", invoice.buyer.buyer_reference or invoice.tenant_id)
    period = _in(root, "InvoicePeriod")
    _text(period, "StartDate", _day(invoice.period_start))
    _text(period, "EndDate", _day(invoice.period_end - timedelta(microseconds=1)))


def _party(holder: Element, told: Party, *, with_vat_id: bool, known_as: str = "") -> None:
    party = _in(holder, "Party")
    if known_as:
        _text(_in(party, "PartyIdentification"), "ID", known_as)
    address = _in(party, "PostalAddress")
    _text(address, "StreetName", told.street)
    _text(address, "CityName", told.city)
    _text(address, "PostalZone", told.postal_code)
    _text(_in(address, "Country"), "IdentificationCode", told.country)
    if told.vat_id and with_vat_id:
        scheme = _in(party, "PartyTaxScheme")
        _text(scheme, "CompanyID", told.vat_id)
        _vat(scheme)
    legal = _in(party, "PartyLegalEntity")
    _text(legal, "RegistrationName", told.legal_name)
    if told.registration_id:
        _text(legal, "CompanyID", told.registration_id)


def _payment(root: Element, invoice: InvoiceFacts) -> None:
    if invoice.seller.iban:
        means = _in(root, "PaymentMeans")
        _text(means, "PaymentMeansCode", _SEPA_CREDIT_TRANSFER)
        _text(means, "PaymentID", invoice.number)
        _text(_in(means, "PayeeFinancialAccount"), "ID", invoice.seller.iban)
    if invoice.due_at is None:
        _text(_in(root, "PaymentTerms"), "Note", "Payable on receipt")


def _tax_totals(root: Element, invoice: InvoiceFacts, taxes: Sequence[TaxFacts]) -> None:
    total = _in(root, "TaxTotal")
    _amount(total, "TaxAmount", invoice.tax, invoice)
    for each in taxes:
        group = _in(total, "TaxSubtotal")
        _amount(group, "TaxableAmount", each.net, invoice)
        _amount(group, "TaxAmount", each.tax, invoice)
        _category(_in(group, "TaxCategory"), each, invoice.untaxed_reason)


def _category(category: Element, tax: TaxFacts, reason: str = "") -> None:
    _text(category, "ID", tax.category)
    if tax.category != _OUTSIDE_SCOPE:
        _text(category, "Percent", plain(tax.percent))
    if reason and tax.category not in (_STANDARD, "Z"):
        _text(category, "TaxExemptionReason", reason)
    _vat(category)


def _totals(root: Element, invoice: InvoiceFacts) -> None:
    totals = _in(root, "LegalMonetaryTotal")
    _amount(totals, "LineExtensionAmount", invoice.total, invoice)
    _amount(totals, "TaxExclusiveAmount", invoice.total, invoice)
    _amount(totals, "TaxInclusiveAmount", invoice.gross, invoice)
    _amount(totals, "PayableAmount", invoice.gross, invoice)


def _line(root: Element, invoice: InvoiceFacts, line: LineFacts, tax: TaxFacts) -> None:
    element = _in(root, "InvoiceLine")
    _text(element, "ID", line.line_id)
    _text(element, "Note", f"{line.usage_count} usage records, SHA-256 {line.usage_sha256}")
    if line.is_correction:
        _correction(element, invoice, line, tax)
        return
    whole = line.gpu_us % US_PER_MS == 0
    unit = {"unitCode": _MILLISECOND if whole else _MICROSECOND}
    _text(element, "InvoicedQuantity", str(line.gpu_us // US_PER_MS if whole else line.gpu_us), unit)
    _amount(element, "LineExtensionAmount", line.amount, invoice)
    item = _in(element, "Item")
    _text(item, "Description", f"GPU time of project {line.project_id}")
    _text(item, "Name", line.gpu_model)
    _text(_in(item, "SellersItemIdentification"), "ID", f"{line.price_book_id}:{line.price_book_version}")
    _category(_in(item, "ClassifiedTaxCategory"), tax)
    price = _in(element, "Price")
    _amount(price, "PriceAmount", line.unit_price, invoice)
    _text(price, "BaseQuantity", str(MS_PER_HOUR if whole else MS_PER_HOUR * US_PER_MS), unit)


def _correction(element: Element, invoice: InvoiceFacts, line: LineFacts, tax: TaxFacts) -> None:
    """A line without usage of its own: once what was missing."""
    _text(element, "InvoicedQuantity", "1", {"unitCode": _ONE})
    _amount(element, "LineExtensionAmount", line.amount, invoice)
    item = _in(element, "Item")
    _text(item, "Description", f"Correction to {plain(line.unit_price)} for a GPU-hour in project {line.project_id}")
    _text(item, "Name", line.gpu_model)
    _category(_in(item, "ClassifiedTaxCategory"), tax)
    _amount(_in(element, "Price"), "PriceAmount", line.amount, invoice)


def _vat(holder: Element) -> None:
    _text(_in(holder, "TaxScheme"), "ID", "VAT")


def _in(holder: Element, name: str) -> Element:
    return SubElement(holder, f"{{{_CAC}}}{name}")


def _text(holder: Element, name: str, text: str, attributes: Mapping[str, str] | None = None) -> None:
    SubElement(holder, f"{{{_CBC}}}{name}", dict(attributes or {})).text = text


def _amount(holder: Element, name: str, amount: Decimal, invoice: InvoiceFacts) -> None:
    _text(holder, name, plain(amount), {"currencyID": invoice.currency})


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
