"""An invoice as FOCUS 1.2 rows (CSV). One law: the sum of BilledCost is what the invoice asks for, tax and all.

List and contracted costs are the exact product of quantity and price; what was billed is rounded once, per line. Tax
is a row of its own for each rate. Columns of ours begin with `x_`: the line, and the run that wrote it. Numbers have a
point, also whole ones: who reads a CSV file takes the kind of a column from what stands in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

from gpuaas.billing.documents.facts import InvoiceFacts, LineFacts, TaxFacts
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
    *("SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags", "x_LineId", "x_RunId"),
)


def as_focus(invoice: InvoiceFacts) -> str:
    """One row for each line and each tax, columns in the order of their names; null is an empty field."""
    shared = _shared(invoice)
    lines = [shared | _of(line) for line in invoice.lines]
    taxes = [shared | _tax(each, lines) for each in invoice.taxes if each.tax]
    written = io.StringIO()
    rows = csv.DictWriter(written, COLUMNS, restval="")
    rows.writeheader()
    rows.writerows([*lines, *taxes])
    return written.getvalue()


def _shared(invoice: InvoiceFacts) -> dict[str, str]:
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
    with localcontext(prec=_DIGITS):
        hours = (Decimal(line.gpu_us) / (MS_PER_HOUR * US_PER_MS)).quantize(_QUANTITY_STEP, ROUND_HALF_UP)
        cost = _number((hours * line.unit_price).quantize(_QUANTITY_STEP, ROUND_HALF_UP))
    billed = _number(line.amount)
    if line.is_correction:
        # It has no quantity: what it lists is what it bills.
        cost = billed
    quantity, price = _number(hours), _number(line.unit_price)
    return {
        "BilledCost": billed,
        "EffectiveCost": billed,
        "PricingCurrencyEffectiveCost": billed,
        "ListCost": cost,
        "ContractedCost": cost,
        "ListUnitPrice": price,
        "ContractedUnitPrice": price,
        "PricingCurrencyListUnitPrice": price,
        "PricingCurrencyContractedUnitPrice": price,
        "PricingQuantity": quantity,
        "PricingUnit": "GPU-Hours",
        "ConsumedQuantity": quantity,
        "ConsumedUnit": "GPU-Hours",
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if line.is_correction else "",
        "ChargeDescription": f"{line.gpu_model} in project {line.project_id}, {line.usage_count} usage records",
        "ResourceId": f"{line.project_id}/{line.gpu_model}",
        "ResourceName": line.gpu_model,
        "ResourceType": "GPU",
        "PricingCategory": "Standard",
        "SkuId": line.gpu_model,
        "SkuMeter": "GPU time",
        "SkuPriceId": f"{line.price_book_id}:{line.price_book_version}:{line.gpu_model}",
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
