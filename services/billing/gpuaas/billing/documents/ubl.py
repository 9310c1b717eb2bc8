"""An invoice or credit note as UBL 2.1 by EN 16931. One law: quantities and prices are exact, no amount is new.

A quantity is in milliseconds of one GPU (unit `C26`), its price is for 3,600,000 of them: no hour is ever rounded.
Shares of a GPU whose milliseconds are not whole are in microseconds (`B98`), priced for 3,600,000,000. What has no
quantity of its own (a correction, what a note gives back) is one piece (`C62`) at its amount.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from gpuaas.billing.documents.facts import InvoiceFacts, LineFacts, NoteFacts, PaperFacts, Preceding, TaxFacts
from gpuaas.billing.domain.invoice_party import Party
from gpuaas.billing.domain.metering import MS_PER_HOUR
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.errors import Rejected
from gpuaas.common.money import minor_digits, plain

MEDIA_TYPE: Final = "application/xml"
_UBL: Final = "urn:oasis:names:specification:ubl:schema:xsd:"
_INVOICE: Final = f"{_UBL}Invoice-2"
_CREDIT_NOTE: Final = f"{_UBL}CreditNote-2"
_CBC: Final = f"{_UBL}CommonBasicComponents-2"
_CAC: Final = f"{_UBL}CommonAggregateComponents-2"
_PROFILE: Final = "urn:cen.eu:en16931:2017"
_COMMERCIAL_INVOICE: Final = "380"
_CREDIT_NOTE_CODE: Final = "381"
_SEPA_CREDIT_TRANSFER: Final = "58"
_MILLISECOND: Final = "C26"
_MICROSECOND: Final = "B98"
_ONE: Final = "C62"
_OUTSIDE_SCOPE: Final = "O"
_STANDARD: Final = "S"
_DIGITS_MAX: Final = 2
"""EN 16931 allows amounts no finer than this."""

for _prefix, _uri in (("cbc", _CBC), ("cac", _CAC)):
    register_namespace(_prefix, _uri)


def as_ubl(invoice: InvoiceFacts) -> bytes:
    """The XML document.

    Raises:
        Rejected: the norm cannot say it: a currency with three digits, or a seller that nothing identifies.
    """
    taxes = _taxes(invoice)
    root = Element(f"{{{_INVOICE}}}Invoice")
    _head(root, invoice)
    if invoice.due_at is not None:
        _text(root, "DueDate", _day(invoice.due_at))
    _text(root, "InvoiceTypeCode", _COMMERCIAL_INVOICE)
    _particulars(root, invoice, invoice.corrects)
    _parties(root, invoice, taxes)
    _payment(root, invoice)
    _tax_totals(root, invoice, taxes)
    _totals(root, invoice)
    for line in invoice.lines:
        _line(root, invoice, line, taxes[0])
    return _written(root, _INVOICE)


def as_ubl_note(note: NoteFacts) -> bytes:
    """A credit note's XML document: amounts are what is given back, and positive.

    Raises:
        Rejected: as for an invoice.
    """
    taxes = _taxes(note)
    root = Element(f"{{{_CREDIT_NOTE}}}CreditNote")
    _head(root, note)
    _text(root, "CreditNoteTypeCode", _CREDIT_NOTE_CODE)
    _particulars(root, note, (note.invoice,), note.detail)
    _parties(root, note, taxes)
    _tax_totals(root, note, taxes)
    _totals(root, note)
    for number, given in enumerate(note.lines, 1):
        element = _in(root, "CreditNoteLine")
        _text(element, "ID", str(number))
        _text(element, "Note", f"Line {given.line.line_id} of {note.invoice.number}, billing run {note.run_id}")
        what = f"Given back of GPU time of project {given.line.project_id}"
        _piece(element, note, "CreditedQuantity", given.amount, (given.line.gpu_model, what), taxes[0])
    return _written(root, _CREDIT_NOTE)


def _written(root: Element, namespace: str) -> bytes:
    # The document's own namespace stands without a prefix; it is another for each kind of document.
    register_namespace("", namespace)
    indent(root)
    written: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return written


def _taxes(paper: PaperFacts) -> Sequence[TaxFacts]:
    """By rate; what carries no tax is outside its scope."""
    if minor_digits(paper.currency) > _DIGITS_MAX:
        raise Rejected(f"EN 16931 has amounts of two digits, {paper.currency} has three; take the PDF or CSV")
    taxes = paper.taxes or (TaxFacts(_OUTSIDE_SCOPE, Decimal(0), paper.total, paper.tax),)
    if not paper.seller.registration_id and (_outside(taxes) or not paper.seller.vat_id):
        raise Rejected(
            "the seller needs a registration_id on invoices without VAT; set it with the seller's particulars"
        )
    return taxes


def _outside(taxes: Sequence[TaxFacts]) -> bool:
    return any(each.category == _OUTSIDE_SCOPE for each in taxes)


def _head(root: Element, paper: PaperFacts) -> None:
    _text(root, "CustomizationID", _PROFILE)
    _text(root, "ID", paper.number)
    _text(root, "IssueDate", _day(paper.issued_at))


def _particulars(root: Element, paper: PaperFacts, preceding: Sequence[Preceding], why: str = "") -> None:
    _text(root, "Note", f"{why}{'. ' if why else ''}SHA-256 of the content: {paper.content_sha256}")
    _text(root, "DocumentCurrencyCode", paper.currency)
    _text(root, "BuyerReference", paper.buyer.buyer_reference or paper.tenant_id)
    period = _in(root, "InvoicePeriod")
    _text(period, "StartDate", _day(paper.period_start))
    _text(period, "EndDate", _day(paper.period_end - timedelta(microseconds=1)))
    for each in preceding:
        document = _in(_in(root, "BillingReference"), "InvoiceDocumentReference")
        _text(document, "ID", each.number)
        _text(document, "IssueDate", _day(each.issued_at))


def _parties(root: Element, paper: PaperFacts, taxes: Sequence[TaxFacts]) -> None:
    named = not _outside(taxes)
    _party(_in(root, "AccountingSupplierParty"), paper.seller, with_vat_id=named)
    _party(_in(root, "AccountingCustomerParty"), paper.buyer, with_vat_id=named, known_as=paper.tenant_id)


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


def _tax_totals(root: Element, invoice: PaperFacts, taxes: Sequence[TaxFacts]) -> None:
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


def _totals(root: Element, invoice: PaperFacts) -> None:
    totals = _in(root, "LegalMonetaryTotal")
    _amount(totals, "LineExtensionAmount", invoice.total, invoice)
    _amount(totals, "TaxExclusiveAmount", invoice.total, invoice)
    _amount(totals, "TaxInclusiveAmount", invoice.gross, invoice)
    _amount(totals, "PayableAmount", invoice.gross, invoice)


def _line(root: Element, invoice: InvoiceFacts, line: LineFacts, tax: TaxFacts) -> None:
    element = _in(root, "InvoiceLine")
    _text(element, "ID", line.line_id)
    steps = "".join(f"; {step.told}" for step in line.steps)
    _text(element, "Note", f"{line.usage_count} usage records, SHA-256 {line.usage_sha256}{steps}")
    if line.is_correction:
        what = f"Correction to {plain(line.unit_price)} for a GPU-hour in project {line.project_id}"
        _piece(element, invoice, "InvoicedQuantity", line.amount, (line.gpu_model, what), tax)
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
    if line.list_price > line.unit_price:
        off = _in(price, "AllowanceCharge")
        _text(off, "ChargeIndicator", "false")
        _amount(off, "Amount", line.list_price - line.unit_price, invoice)
        _amount(off, "BaseAmount", line.list_price, invoice)


def _piece(
    element: Element, paper: PaperFacts, quantity: str, amount: Decimal, item: tuple[str, str], tax: TaxFacts
) -> None:
    """What has no quantity of its own: one piece at its amount. `item`: name and description."""
    _text(element, quantity, "1", {"unitCode": _ONE})
    _amount(element, "LineExtensionAmount", amount, paper)
    about = _in(element, "Item")
    _text(about, "Description", item[1])
    _text(about, "Name", item[0])
    _category(_in(about, "ClassifiedTaxCategory"), tax)
    _amount(_in(element, "Price"), "PriceAmount", amount, paper)


def _vat(holder: Element) -> None:
    _text(_in(holder, "TaxScheme"), "ID", "VAT")


def _in(holder: Element, name: str) -> Element:
    return SubElement(holder, f"{{{_CAC}}}{name}")


def _text(holder: Element, name: str, text: str, attributes: Mapping[str, str] | None = None) -> None:
    SubElement(holder, f"{{{_CBC}}}{name}", dict(attributes or {})).text = text


def _amount(holder: Element, name: str, amount: Decimal, invoice: PaperFacts) -> None:
    _text(holder, name, plain(amount), {"currencyID": invoice.currency})


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
