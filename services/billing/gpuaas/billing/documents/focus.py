"""Invoices and credit notes as FOCUS 1.2 rows (CSV). One law: the sum of BilledCost is what is owed, tax and all.

List and contracted costs are the exact product of quantity and price: the list's, by its hours of the week, and what
the tenant's contracts make of it. What was billed is after campaigns, and rounded once, per line. Tax is a row of its
own for each rate. What a credit note gives back is a row below zero: a correction of the usage, or a credit where it
was a gift. Columns of ours begin with `x_`: the line, its invoice, and the run that wrote it. Numbers have a point,
also whole ones: who reads a CSV file takes the kind of a column from what stands in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

from gpuaas.billing.documents.facts import InvoiceFacts, LineFacts, NoteFacts, NoteLineFacts, PaperFacts, TaxFacts
from gpuaas.billing.domain.metering import MS_PER_HOUR
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.money import plain

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
_QUANTITY_STEP: Final = Decimal("0.000000000001")
_DIGITS: Final = 60
COLUMNS: Final = (
    *("AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory"),
    *("CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId"),
    *("InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency"),
    *("PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice"),
    *("PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId"),
    *("ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter"),
    *(
        "SkuPriceDetails",
        "SkuPriceId",
        "SubAccountId",
        "SubAccountName",
        "Tags",
        "x_CorrectedInvoiceId",
        "x_LineId",
        "x_RunId",
    ),
)


def as_focus(papers: Iterable[InvoiceFacts | NoteFacts], *, heading: bool = True) -> str:
    """One row for each line and each tax, columns in the order of their names; null is an empty field."""
    written = io.StringIO()
    rows = csv.DictWriter(written, COLUMNS, restval="")
    if heading:
        rows.writeheader()
    for paper in papers:
        rows.writerows(_rows(paper))
    return written.getvalue()


def _rows(paper: InvoiceFacts | NoteFacts) -> list[dict[str, str]]:
    shared = _shared(paper)
    if isinstance(paper, InvoiceFacts):
        lines = [shared | _of(line) for line in paper.lines]
        return [*lines, *(shared | _tax(each, lines) for each in paper.taxes if each.tax)]
    shared |= {"ChargeFrequency": "One-Time", "x_CorrectedInvoiceId": paper.invoice.number}
    lines = [shared | _given_back(given, paper) for given in paper.lines]
    back = (TaxFacts(each.category, each.percent, -each.net, -each.tax) for each in paper.taxes if each.tax)
    return [*lines, *(shared | {"ChargeClass": "Correction"} | _tax(each, lines) for each in back)]


def _shared(invoice: PaperFacts) -> dict[str, str]:
    start, end = _moment(invoice.period_start), _moment(invoice.period_end)
    seller = invoice.seller.legal_name
    return {
        "BillingAccountId": invoice.tenant_id,
        "BillingAccountName": invoice.buyer.legal_name,
        "BillingCurrency": invoice.currency,
        "BillingPeriodStart": start,
        "BillingPeriodEnd": end,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "ChargeFrequency": "Usage-Based",
        "InvoiceId": invoice.number,
        "InvoiceIssuerName": seller,
        "PricingCurrency": invoice.currency,
        "ProviderName": seller,
        "PublisherName": seller,
        "ServiceCategory": "Compute",
        "ServiceName": "GPU compute",
        "ServiceSubcategory": "Other (Compute)",
        "Tags": "{}",
        "x_RunId": invoice.run_id,
    }


def _of(line: LineFacts) -> dict[str, str]:
    """At list, at what the contracts make of it, and as billed, which is after campaigns too."""
    with localcontext(prec=_DIGITS):
        hours = (Decimal(line.gpu_us) / (MS_PER_HOUR * US_PER_MS)).quantize(_QUANTITY_STEP, ROUND_HALF_UP)
        listed, contracted = (
            _number((hours * price).quantize(_QUANTITY_STEP, ROUND_HALF_UP))
            for price in (line.list_price, line.contract_price)
        )
    billed = _number(line.amount)
    if line.is_correction:
        # It has no quantity: what it lists is what it bills.
        listed = contracted = billed
    quantity = _number(hours)
    list_price, contract_price = _number(line.list_price), _number(line.contract_price)
    book = f"{line.price_book_id}:{line.price_book_version}"
    steps = "".join(f"; {step.told}" for step in line.steps)
    return _of_project(line) | {
        "BilledCost": billed,
        "EffectiveCost": billed,
        "PricingCurrencyEffectiveCost": billed,
        "ListCost": listed,
        "ContractedCost": contracted,
        "ListUnitPrice": list_price,
        "ContractedUnitPrice": contract_price,
        "PricingCurrencyListUnitPrice": list_price,
        "PricingCurrencyContractedUnitPrice": contract_price,
        "PricingQuantity": quantity,
        "PricingUnit": "GPU-Hours",
        "ConsumedQuantity": quantity,
        "ConsumedUnit": "GPU-Hours",
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if line.is_correction else "",
        "ChargeDescription": f"{line.gpu_model} in project {line.project_id}, {line.usage_count} usage records{steps}",
        "PricingCategory": "Standard",
        "SkuId": line.gpu_model,
        "SkuMeter": "GPU time",
        "SkuPriceId": ":".join(filter(None, (book, line.gpu_model, line.band))),
    }


def _given_back(given: NoteLineFacts, note: NoteFacts) -> dict[str, str]:
    """It has no quantity: it takes an amount from a line that was billed. A gift is a credit, the rest corrects."""
    line, cost = given.line, _number(-given.amount)
    gift = note.reason == "goodwill"
    return _of_project(line) | {
        **dict.fromkeys(("BilledCost", "EffectiveCost", "PricingCurrencyEffectiveCost", "ListCost"), cost),
        "ContractedCost": cost,
        "ChargeCategory": "Credit" if gift else "Usage",
        "ChargeClass": "" if gift else "Correction",
        "ChargeDescription": f"Given back of line {line.line_id} of {note.invoice.number}: {note.detail}",
    }


def _of_project(line: LineFacts) -> dict[str, str]:
    return {
        "ResourceId": f"{line.project_id}/{line.gpu_model}",
        "ResourceName": line.gpu_model,
        "ResourceType": "GPU",
        "SubAccountId": line.project_id,
        "SubAccountName": line.project_id,
        "x_LineId": line.line_id,
    }


def _tax(tax: TaxFacts, lines: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """A tax on all lines: what is billed is rounded once, at list and contracted cost it is exact."""

    def on(cost: str) -> str:
        with localcontext(prec=_DIGITS):
            exact = sum((Decimal(line[cost]) for line in lines), Decimal(0)) * tax.percent / 100
            return _number(exact.quantize(_QUANTITY_STEP, ROUND_HALF_UP))

    return {
        "BilledCost": _number(tax.tax),
        "EffectiveCost": _number(tax.tax),
        "PricingCurrencyEffectiveCost": _number(tax.tax),
        "ListCost": on("ListCost"),
        "ContractedCost": on("ContractedCost"),
        "ChargeCategory": "Tax",
        "ChargeDescription": f"VAT {plain(tax.percent)} % ({tax.category}) on {plain(tax.net)}",
    }


def _number(value: Decimal) -> str:
    written = plain(value)
    return written if "." in written else f"{written}.0"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
