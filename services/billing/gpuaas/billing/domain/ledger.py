"""One tenant's double-entry ledger. One law: the entries of a transfer sum to zero, so all balances always do.

A gain is positive. The state is one balance for each account and currency, however many transfers there were. That
a transfer is posted once does not need their ids in the state: a transfer is only posted in the atomic batch that
finalizes its document, a document is finalized once, and the transfer's id is made from the document's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeAlias, assert_never

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.money import minor_digits, plain
from gpuaas.contracts.billing import LedgerEntry, LedgerTransferPosted

ENTRIES_MAX: Final = 100
ACCOUNTS_MAX: Final = 1_000
BALANCE_END: Final = Decimal(10) ** 15
REVENUE: Final = "revenue:gpu"
TAX: Final = "tax:payable"
BANK: Final = "cash:bank"
PREPAID_CASH: Final = "cash:prepaid"
PROMOTION: Final = "expense:promotion"
BREAKAGE: Final = "revenue:breakage"
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,127}")


def receivable_of(tenant_id: str) -> str:
    """The account of what a tenant owes us."""
    return f"receivable:{tenant_id}"


def prepaid_of(tenant_id: str) -> str:
    """The account of credit that a tenant has and has not used: what we owe it (negative)."""
    return f"prepaid:{tenant_id}"


def transfer_of(document_id: str) -> str:
    """The id of the transfer that books a document."""
    return f"t-{document_id}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one account gains (negative: loses)."""

    account: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class PostTransfer:
    """Order one transfer. `cause`: id of the document it books."""

    transfer_id: str
    tenant_id: str
    currency: str
    entries: tuple[Entry, ...]
    description: str
    cause: str


@dataclass(frozen=True, slots=True)
class PostTransfers:
    """Order several transfers of one tenant at once, in this order."""

    transfers: tuple[PostTransfer, ...]


LedgerCommand: TypeAlias = PostTransfer | PostTransfers


@dataclass(frozen=True, slots=True)
class Ledger:
    """The balances by (currency, account), and how many transfers made them.

    Attributes:
        tenant_id: whose ledger it is; empty before the first transfer.
        last_transfer_id: the newest one.
    """

    tenant_id: str = ""
    balances: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)
    transfers: int = 0
    last_transfer_id: str = ""


def decide(command: LedgerCommand, ledger: Ledger) -> list[Event]:
    """The transfers, or a refusal."""
    match command:
        case PostTransfer():
            return _posted(command, ledger)
        case PostTransfers(transfers=transfers):
            events: list[Event] = []
            for transfer in transfers:
                said = _posted(transfer, ledger)
                ledger = evolve(ledger, said[0])
                events += said
            return events
        case _:
            assert_never(command)


def _posted(command: PostTransfer, ledger: Ledger) -> list[Event]:
    if ledger.tenant_id not in ("", command.tenant_id):
        raise Rejected(f"this is the ledger of {ledger.tenant_id}; {command.tenant_id} has its own")
    if command.transfer_id == ledger.last_transfer_id:
        raise Rejected(f"{command.transfer_id} is posted already; a transfer is posted once")
    _check(command)
    touched = {(command.currency, entry.account) for entry in command.entries}
    if len(ledger.balances.keys() | touched) > ACCOUNTS_MAX:
        raise Rejected(f"a ledger has at most {ACCOUNTS_MAX} accounts; use one of those there are")
    for entry in command.entries:
        if abs(ledger.balances.get((command.currency, entry.account), Decimal(0)) + entry.amount) >= BALANCE_END:
            raise Rejected(f"the balance of {entry.account} would pass {BALANCE_END:f} {command.currency}")
    return [
        LedgerTransferPosted(
            transfer_id=command.transfer_id,
            tenant_id=command.tenant_id,
            currency=command.currency,
            entries=tuple(LedgerEntry(account=entry.account, amount=entry.amount) for entry in command.entries),
            description=command.description,
            cause=command.cause,
        )
    ]


def evolve(ledger: Ledger, event: Event) -> Ledger:
    """The balances after one more transfer."""
    match event:
        case LedgerTransferPosted() as posted:
            balances = dict(ledger.balances)
            for entry in posted.entries:
                key = (posted.currency, entry.account)
                balances[key] = balances.get(key, Decimal(0)) + entry.amount
            return Ledger(posted.tenant_id, balances, ledger.transfers + 1, posted.transfer_id)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a ledger")


def _check(command: PostTransfer) -> None:
    if not 2 <= len(command.entries) <= ENTRIES_MAX:
        raise Invalid(f"a transfer has 2 to {ENTRIES_MAX} entries, not {len(command.entries)}")
    step = Decimal(1).scaleb(-minor_digits(command.currency))
    for entry in command.entries:
        if _ACCOUNT.fullmatch(entry.account) is None:
            raise Invalid(f"{entry.account[:80]!r} is not the name of an account")
        if not entry.amount.is_finite() or entry.amount == 0:
            raise Invalid(f"the entry on {entry.account} moves nothing; leave it out")
        if entry.amount % step:
            raise Invalid(f"{plain(entry.amount)} is finer than {command.currency} is counted in")
    if total := sum((entry.amount for entry in command.entries), Decimal(0)):
        raise Invalid(f"the entries sum to {plain(total)} {command.currency}; they must sum to zero")


LEDGER: Final[Decider[Ledger, LedgerCommand]] = Decider(initial=Ledger(), decide=decide, evolve=evolve)
