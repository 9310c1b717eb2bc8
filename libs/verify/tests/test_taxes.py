"""Taxes of an invoice, computed again. One law tested: a cent that does not follow is refuted by name."""

from __future__ import annotations

from typing import Any

import pytest
from gpuaas.verify.fields import Fields
from gpuaas.verify.invoices import INVOICE_FINALIZED, Account, check_total
from gpuaas.verify.leaves import ProvedEvent
from gpuaas.verify.refusals import Refuted

TAXED = {
    "currency": "EUR",
    "lines": [{"amount": "72.21"}, {"amount": "19.92"}],
    "total": "92.13",
    "taxes": [{"category": "S", "percent": "19", "net": "92.13", "tax": "17.50"}],
    "gross": "109.63",
}


def account(**changed: Any) -> Account:
    data = Fields({**TAXED, **changed}, "the invoice")
    event = ProvedEvent(9, 8, "e-1", INVOICE_FINALIZED, "billing", "invoice", "i-1", data)
    return Account("acme", event, event, {}, {}, {}, {})


def test_taxes_that_follow_are_accepted_and_so_is_an_invoice_without() -> None:
    assert check_total(account()) == account().invoice.data.decimal("total")
    without = {name: value for name, value in TAXED.items() if name not in ("taxes", "gross")}
    event = ProvedEvent(9, 8, "e-1", INVOICE_FINALIZED, "billing", "invoice", "i-1", Fields(without, "the invoice"))
    check_total(Account("acme", event, event, {}, {}, {}, {}))


@pytest.mark.parametrize(
    "lie",
    [
        {"gross": "109.64"},
        {"taxes": [{"category": "S", "percent": "19", "net": "92.13", "tax": "17.51"}], "gross": "109.64"},
        {"taxes": [{"category": "S", "percent": "19", "net": "92.00", "tax": "17.48"}], "gross": "109.48"},
        {"taxes": [], "gross": "92.13"},
    ],
)
def test_a_tax_that_does_not_follow_is_refuted(lie: dict[str, Any]) -> None:
    with pytest.raises(Refuted):
        check_total(account(**lie))
