"""A ledger as a beancount journal. One law: it ends in what each account holds, exactly, as the tables say it apart.

Transfers become transactions and the balances at the end become assertions without tolerance, so whoever checks it
(`bean-check`) adds up every entry again. What was posted before the journal begins is one transaction of balances: a
ledger sums to zero in each currency, so that one does too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from gpuaas.common.money import minor_digits, plain
from gpuaas.common.projections import Record

MEDIA_TYPE: Final = "text/plain; charset=utf-8"
_ROOTS: Final = {
    "receivable": "Assets:Receivable",
    "cash": "Assets:Cash",
    "revenue": "Income:Revenue",
    "tax": "Liabilities:Tax",
    "prepaid": "Liabilities:Prepaid",
    "expense": "Expenses",
}
"""By the first word of an account."""
_TENANTS: Final = frozenset({"receivable", "prepaid"})
"""Accounts whose second word is a tenant."""
_WORD: Final = re.compile(r"(?!x-)[a-z][a-z0-9-]*")


def account_name(account: str) -> str:
    """One of our accounts as beancount writes it: two of ours are never one of its.

    A word begins with a capital there; a tenant's id stands behind `T-`, what is no plain word behind `X-` in hex.
    """
    first, _, rest = account.partition(":")
    if first not in _ROOTS or not rest:
        return f"Equity:Other:{_part(account)}"
    words = rest.split(":")
    if first in _TENANTS and len(words) == 1 and _WORD.fullmatch("t" + words[0]):
        return f"{_ROOTS[first]}:T-{words[0]}"
    return ":".join([_ROOTS[first], *map(_part, words)])


def heading(title: str, currencies: Sequence[str]) -> str:
    """How the file begins."""
    options = [("title", title), *(("operating_currency", currency) for currency in currencies)]
    return "".join(f'option "{name}" "{_text(value)}"\n' for name, value in options)


def opened(on: date, accounts: Iterable[tuple[str, str]]) -> str:
    """Every (currency, account) that the file names, open from `on`."""
    currencies: defaultdict[str, set[str]] = defaultdict(set)
    for currency, account in accounts:
        currencies[account].add(currency)
    return "".join(
        f'\n{on} open {account_name(account)} {",".join(sorted(held))}\n  account: "{_text(account)}"\n'
        for account, held in sorted(currencies.items())
    )


def brought_forward(on: date, balances: Sequence[Mapping[str, Any] | Record]) -> str:
    """What was there before, as one transaction for each currency."""
    held: defaultdict[str, list[tuple[str, Decimal]]] = defaultdict(list)
    for row in balances:
        if row["balance"]:
            held[row["currency"]].append((row["account"], row["balance"]))
    return "".join(
        f'\n{on} * "Brought forward"\n' + _postings(currency, rows) for currency, rows in sorted(held.items())
    )


def transaction(transfer: Mapping[str, Any]) -> str:
    """One transfer with its entries."""
    posted: datetime = transfer["posted_at"]
    facts = {"transfer": transfer["transfer_id"], "document": transfer["cause"], "tenant": transfer["tenant_id"]}
    facts |= {"position": str(transfer["position"]), "posted": posted.isoformat()}
    told = "".join(f'  {name}: "{_text(value)}"\n' for name, value in facts.items())
    entries = [(entry["account"], entry["amount"]) for entry in transfer["entries"]]
    return f'\n{posted.date()} * "{_text(transfer["description"])}"\n{told}' + _postings(transfer["currency"], entries)


def asserted(last: date, balances: Sequence[Mapping[str, Any] | Record]) -> str:
    """What each account holds behind the day `last`: beancount looks at the beginning of a day."""
    return "\n" + "".join(
        f"{last + timedelta(days=1)} balance {account_name(row['account'])} "
        f"{_amount(row['balance'], row['currency'])} ~ 0 {row['currency']}\n"
        for row in balances
    )


def _postings(currency: str, entries: Iterable[tuple[str, Decimal]]) -> str:
    return "".join(
        f"  {account_name(account)}  {_amount(amount, currency)} {currency}\n" for account, amount in entries
    )


def _amount(amount: Decimal, currency: str) -> str:
    """With the currency's minor digits: beancount takes its tolerance within a transaction from them."""
    return plain(amount.quantize(Decimal(1).scaleb(-minor_digits(currency))))


def _part(word: str) -> str:
    return word.capitalize() if _WORD.fullmatch(word) else f"X-{word.encode().hex()}"


def _text(value: str) -> str:
    return " ".join(value.replace("\\", "\\\\").replace('"', '\\"').split())
