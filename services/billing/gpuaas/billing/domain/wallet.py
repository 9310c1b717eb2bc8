"""A tenant's prepaid credit. One law: nothing is taken twice, and what is held is either applied, returned or lapsed.

Two phases: usage that is on no invoice yet *holds* credit, renewed each interval; an invoice *applies* it. The state
knows every grant's rest, what is held and from which grant, and what paid for which invoice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeAlias

from gpuaas.billing.domain.burn_down import (
    NOTHING,
    Grant,
    Part,
    collect,
    first_of,
    joined,
    total_of,
    unwind,
    without,
)
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.money import minor_digits
from gpuaas.contracts.billing import (
    CreditApplied,
    CreditGranted,
    CreditHeld,
    CreditKind,
    CreditLapsed,
    CreditPart,
    CreditRestored,
    ProjectAmount,
)

GRANTS_MAX: Final = 200
"""Grants with something left in them."""
GRANT_END: Final = Decimal(10) ** 12


@dataclass(frozen=True, slots=True)
class GrantCredit:
    """Order a grant: `amount` that pays for usage in [effective_from, expires_at), of these projects or of all."""

    grant_id: str
    tenant_id: str
    currency: str
    amount: Decimal
    kind: CreditKind
    priority: int
    project_ids: tuple[str, ...]
    effective_from: datetime
    expires_at: datetime | None
    reference: str


@dataclass(frozen=True, slots=True)
class HoldCredit:
    """Order the hold for usage that is on no invoice yet.

    Attributes:
        costs: by project, what it costs up to `covers_until` as it runs now, in whole minor units.
    """

    tenant_id: str
    costs: Mapping[str, Decimal]
    as_of: datetime
    covers_until: datetime
    expires_at: datetime
    burn_per_hour: Decimal


@dataclass(frozen=True, slots=True)
class ApplyCredit:
    """Order that credit pays for an invoice. `costs`: the invoice's sum by project; `at`: which grants are usable."""

    tenant_id: str
    invoice_id: str
    costs: Mapping[str, Decimal]
    at: datetime


@dataclass(frozen=True, slots=True)
class RestoreCredit:
    """Order back `amount` of what paid for an invoice, for the credit note `document_id`."""

    tenant_id: str
    invoice_id: str
    document_id: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class VoidGrant:
    """Order that what is left of a grant can be used no more."""

    tenant_id: str
    grant_id: str
    detail: str


WalletCommand: TypeAlias = GrantCredit | HoldCredit | ApplyCredit | RestoreCredit | VoidGrant


@dataclass(frozen=True, slots=True)
class Wallet:
    """All grants and what became of them. `currency` is empty before the first grant.

    Attributes:
        held: by project, what is held, in the order it was taken.
        uncovered: by project, cost of uninvoiced usage that no grant covers.
        applied: by invoice, what paid for it, in the order it was taken; less what was restored.
    """

    currency: str = ""
    grants: Mapping[str, Grant] = field(default_factory=dict)
    held: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    uncovered: Mapping[str, Decimal] = field(default_factory=dict)
    covers_until: datetime | None = None
    applied: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    granted: int = 0

    @property
    def held_total(self) -> Decimal:
        return sum((total_of(parts) for parts in self.held.values()), NOTHING)

    @property
    def uncovered_total(self) -> Decimal:
        return sum(self.uncovered.values(), NOTHING)

    def available(self, at: datetime) -> Decimal:
        """What usable grants have left that is not held."""
        return sum((grant.left for grant in self.grants.values() if grant.is_usable(at)), NOTHING)


def decide(command: WalletCommand, wallet: Wallet) -> list[Event]:
    """What follows, by command."""
    match command:
        case GrantCredit() as grant:
            return [_granted(grant, wallet)]
        case _ if not wallet.currency:
            raise Rejected("this tenant has no prepaid credit; grant some first")
        case HoldCredit() as hold:
            return _held(hold, wallet)
        case ApplyCredit() as apply:
            return _applied(apply, wallet)
        case RestoreCredit() as restore:
            return [_restored(restore, wallet)]
        case VoidGrant() as void:
            found = wallet.grants.get(void.grant_id)
            if found is None or found.left == 0:
                raise Rejected(f"nothing is left of grant {void.grant_id}; there is nothing to take back")
            return [_lapsed(void.tenant_id, wallet, found, "voided", void.detail)]


def _granted(grant: GrantCredit, wallet: Wallet) -> CreditGranted:
    step = Decimal(1).scaleb(-minor_digits(grant.currency))
    if wallet.currency not in ("", grant.currency):
        raise Rejected(f"this tenant's credit is in {wallet.currency}; grant it in that currency")
    if not NOTHING < grant.amount < GRANT_END or grant.amount % step:
        raise Invalid(f"a grant is more than nothing, below {GRANT_END:f} and in whole {step} {grant.currency}")
    if grant.grant_id in wallet.grants:
        raise Rejected(f"grant {grant.grant_id} exists already; give the new one another id, or none")
    if grant.expires_at is not None and grant.expires_at <= grant.effective_from:
        raise Invalid("a grant ends after it begins; set expires_at later")
    if sum(each.left > 0 for each in wallet.grants.values()) >= GRANTS_MAX:
        raise Rejected(f"a tenant has at most {GRANTS_MAX} grants in use; void those that are not needed")
    return CreditGranted(
        grant_id=grant.grant_id,
        tenant_id=grant.tenant_id,
        currency=grant.currency,
        amount=grant.amount,
        kind=grant.kind,
        priority=grant.priority,
        project_ids=grant.project_ids,
        effective_from=grant.effective_from,
        expires_at=grant.expires_at,
        reference=grant.reference,
    )


def _held(hold: HoldCredit, wallet: Wallet) -> list[Event]:
    """Grants that have ended lapse first; then each project's hold moves to what it costs now."""
    events: list[Event] = [
        _lapsed(hold.tenant_id, wallet, grant, "expired")
        for grant in wallet.grants.values()
        if grant.left > 0 and grant.expires_at is not None and grant.expires_at <= hold.as_of
    ]
    left = {grant.grant_id: grant for grant in wallet.grants.values()}
    collected: list[Part] = []
    returned: list[Part] = []
    uncovered: dict[str, Decimal] = {}
    projects = sorted(hold.costs.keys() | wallet.held.keys())
    for project_id in projects:
        cost, parts = hold.costs.get(project_id, NOTHING), wallet.held.get(project_id, ())
        if (back := unwind(parts, total_of(parts) - cost)) != []:
            returned += back
            _move(left, back, 1)
    for project_id in projects:
        cost, parts = hold.costs.get(project_id, NOTHING), wallet.held.get(project_id, ())
        missing = max(NOTHING, cost - total_of(parts))
        taken = collect(left.values(), project_id, missing, hold.as_of)
        collected += taken
        _move(left, taken, -1)
        if rest := missing - total_of(taken):
            uncovered[project_id] = rest
    held = wallet.held_total + total_of(collected) - total_of(returned)
    # Nothing is held and nothing has changed: an idle wallet says nothing.
    if not (collected or returned or held or uncovered != dict(wallet.uncovered)):
        return events
    changed = CreditHeld(
        tenant_id=hold.tenant_id,
        currency=wallet.currency,
        as_of=hold.as_of,
        covers_until=hold.covers_until,
        expires_at=hold.expires_at,
        collected=_written(collected),
        returned=_written(returned),
        held=held,
        uncovered=tuple(ProjectAmount(project_id=key, amount=amount) for key, amount in uncovered.items()),
        burn_per_hour=hold.burn_per_hour,
    )
    return [*events, changed]


def _applied(apply: ApplyCredit, wallet: Wallet) -> list[Event]:
    if apply.invoice_id in wallet.applied:
        return []
    left = dict(wallet.grants)
    from_hold: list[Part] = []
    from_free: list[Part] = []
    due = NOTHING
    for project_id, cost in sorted(apply.costs.items()):
        held = first_of(wallet.held.get(project_id, ()), cost)
        free = collect(left.values(), project_id, cost - total_of(held), apply.at)
        _move(left, free, -1)
        from_hold += held
        from_free += free
        due += cost - total_of(held) - total_of(free)
    amount = total_of(from_hold) + total_of(from_free)
    if amount == 0:
        return []
    return [
        CreditApplied(
            tenant_id=apply.tenant_id,
            currency=wallet.currency,
            invoice_id=apply.invoice_id,
            from_hold=_written(from_hold),
            from_free=_written(from_free),
            amount=amount,
            due=max(NOTHING, due),
        )
    ]


def _restored(restore: RestoreCredit, wallet: Wallet) -> CreditRestored:
    paid = wallet.applied.get(restore.invoice_id, ())
    if not NOTHING < restore.amount <= total_of(paid):
        raise Rejected(f"credit paid {total_of(paid):f} for {restore.invoice_id}; at most that can be given back")
    parts = unwind(paid, restore.amount)
    return CreditRestored(
        tenant_id=restore.tenant_id,
        currency=wallet.currency,
        invoice_id=restore.invoice_id,
        document_id=restore.document_id,
        parts=_written(parts),
        amount=total_of(parts),
    )


def _lapsed(tenant_id: str, wallet: Wallet, grant: Grant, reason: str, detail: str | None = None) -> CreditLapsed:
    return CreditLapsed.model_validate(
        {
            "tenant_id": tenant_id,
            "currency": wallet.currency,
            "grant_id": grant.grant_id,
            "amount": grant.left,
            "reason": reason,
            "detail": detail,
        }
    )


def evolve(wallet: Wallet, event: Event) -> Wallet:
    """The wallet after one more event."""
    match event:
        case CreditGranted() as granted:
            grant = _grant_of(granted, wallet.granted)
            grants = {**wallet.grants, granted.grant_id: grant}
            return replace(wallet, currency=granted.currency, grants=grants, granted=wallet.granted + 1)
        case CreditHeld() as changed:
            return _after_hold(wallet, changed)
        case CreditApplied() as applied:
            held, free = _read(applied.from_hold), _read(applied.from_free)
            left = dict(wallet.grants)
            _move(left, free, -1)
            kept = {
                project_id: rest
                for project_id, parts in wallet.held.items()
                if (rest := without(parts, held, newest_first=False))
            }
            paid = {**wallet.applied, applied.invoice_id: joined([*held, *free])}
            return replace(wallet, grants=left, held=kept, applied=paid)
        case CreditRestored() as restored:
            back = _read(restored.parts)
            left = dict(wallet.grants)
            _move(left, back, 1)
            rest = without(wallet.applied[restored.invoice_id], back, newest_first=True)
            return replace(wallet, grants=left, applied={**wallet.applied, restored.invoice_id: rest})
        case CreditLapsed() as lapsed:
            gone = replace(wallet.grants[lapsed.grant_id], left=NOTHING)
            return replace(wallet, grants={**wallet.grants, lapsed.grant_id: gone})
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a wallet")


def _after_hold(wallet: Wallet, changed: CreditHeld) -> Wallet:
    left = dict(wallet.grants)
    back, taken = _read(changed.returned), _read(changed.collected)
    _move(left, back, 1)
    _move(left, taken, -1)
    held: dict[str, tuple[Part, ...]] = {}
    for project_id in sorted(wallet.held.keys() | {part.project_id for part in taken}):
        rest = without(wallet.held.get(project_id, ()), back, newest_first=True)
        own = joined([*rest, *(part for part in taken if part.project_id == project_id)])
        if own:
            held[project_id] = own
    uncovered = {each.project_id: each.amount for each in changed.uncovered}
    return replace(wallet, grants=left, held=held, uncovered=uncovered, covers_until=changed.covers_until)


def _grant_of(granted: CreditGranted, number: int) -> Grant:
    return Grant(
        grant_id=granted.grant_id,
        granted=granted.amount,
        left=granted.amount,
        priority=granted.priority,
        promotional=granted.kind == "promotional",
        number=number,
        effective_from=granted.effective_from,
        expires_at=granted.expires_at,
        project_ids=frozenset(granted.project_ids),
    )


def _move(grants: dict[str, Grant], parts: Iterable[Part], sign: int) -> None:
    """Put the parts back into their grants, or with sign -1 take them out."""
    for part in parts:
        grant = grants[part.grant_id]
        grants[part.grant_id] = replace(grant, left=grant.left + sign * part.amount)


def _written(parts: Iterable[Part]) -> tuple[CreditPart, ...]:
    return tuple(
        CreditPart(grant_id=part.grant_id, project_id=part.project_id, amount=part.amount) for part in joined(parts)
    )


def _read(parts: Sequence[CreditPart]) -> list[Part]:
    return [Part(part.grant_id, part.project_id, part.amount) for part in parts]


WALLET: Final[Decider[Wallet, WalletCommand]] = Decider(initial=Wallet(), decide=decide, evolve=evolve)
