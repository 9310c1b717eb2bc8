"""An invoice as FOCUS 1.0 rows (CSV). One law: the sum of BilledCost is the invoice's total.

List and contracted costs are the exact product of quantity and price; what was billed is rounded once, per line.
"""

from __future__ import annotations

import csv
import io
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

from gpuaas.billing.documents.facts import InvoiceFacts, LineFacts
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
    *("ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost"),
    *("InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType"),
    *("ServiceCategory", "ServiceName", "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags"),
)


def as_focus(invoice: InvoiceFacts) -> str:
    """One row for each line, columns of FOCUS 1.0 in the order of their names; null is an empty field."""
    written = io.StringIO()
    rows = csv.writer(written)
    rows.writerow(COLUMNS)
    shared = _shared(invoice)
    for line in invoice.lines:
        row = shared | _of(line)
        rows.writerow([row.get(name, "") for name in COLUMNS])
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
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "InvoiceIssuerName": seller,
        "PricingCategory": "Standard",
        "ProviderName": seller,
        "PublisherName": seller,
        "ServiceCategory": "Compute",
        "ServiceName": "GPU compute",
        "Tags": "{}",
    }


def _of(line: LineFacts) -> dict[str, str]:
    with localcontext(prec=_DIGITS):
        hours = (Decimal(line.gpu_us) / (MS_PER_HOUR * US_PER_MS)).quantize(_QUANTITY_STEP, ROUND_HALF_UP)
        cost = plain((hours * line.unit_price).quantize(_QUANTITY_STEP, ROUND_HALF_UP))
    if line.is_correction:
        # It has no quantity: what it lists is what it bills.
        cost = plain(line.amount)
    quantity, price = plain(hours), plain(line.unit_price)
    return {
        "BilledCost": plain(line.amount),
        "EffectiveCost": plain(line.amount),
        "ListCost": cost,
        "ContractedCost": cost,
        "ListUnitPrice": price,
        "ContractedUnitPrice": price,
        "PricingQuantity": quantity,
        "PricingUnit": "GPU-Hours",
        "ConsumedQuantity": quantity,
        "ConsumedUnit": "GPU-Hours",
        "ChargeClass": "Correction" if line.is_correction else "",
        "ChargeDescription": f"{line.gpu_model} in project {line.project_id}, {line.usage_count} usage records",
        "ResourceId": f"{line.project_id}/{line.gpu_model}",
        "ResourceName": line.gpu_model,
        "ResourceType": "GPU",
        "SkuId": line.gpu_model,
        "SkuPriceId": f"{line.price_book_id}:{line.price_book_version}:{line.gpu_model}",
        "SubAccountId": line.project_id,
        "SubAccountName": line.project_id,
    }


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
