"""Other prices than the list's: contracts and campaigns. One law: an agreement never changes, it may only be ended.

Time that is billed keeps its prices: no agreement begins or ends before the end of what is billed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeAlias

from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.price_book import PRICE_DIGITS_MAX, PRICE_MAX, digits_behind_the_point
from gpuaas.common.clock import rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.money import minor_digits
from gpuaas.contracts.billing import AgreementKind, PriceAgreementEnded, PriceAgreementMade, PriceBasis, PriceRule

RULES_MAX: Final = 100
EVERYBODY: Final = "platform"
"""The tenant of a campaign for all."""
HUNDRED: Final = 100
PERCENT_DIGITS_MAX: Final = 1
"""Digits of a percentage: a price of 12 digits has 18 after a contract's and a campaign's, and lines hold 18."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A price (`amount`) or a percentage off, for the GPU models, projects and label it names; empty: all."""

    gpu_models: frozenset[str] = frozenset()
    project_ids: frozenset[str] = frozenset()
    label_name: str | None = None
    label_value: str | None = None
    amount: Decimal | None = None
    percent_off: Decimal | None = None

    def fits(self, gpu_model: str, project_id: str, labels: Mapping[str, str]) -> bool:
        """Whether it is for such a use."""
        if self.gpu_models and gpu_model not in self.gpu_models:
            return False
        if self.project_ids and project_id not in self.project_ids:
            return False
        if self.label_name is None:
            return True
        carried = labels.get(self.label_name)
        return carried is not None and self.label_value in (None, carried)


@dataclass(frozen=True, slots=True)
class Agreement:
    """One contract or campaign, for [effective_from, effective_until)."""

    agreement_id: str
    tenant_id: str
    kind: AgreementKind
    currency: str
    effective_from: datetime
    effective_until: datetime | None
    precedence: int
    rules: tuple[Rule, ...]
    reason: str
    calculated_on: PriceBasis = "contract"

    @property
    def rank(self) -> tuple[int, int, str]:
        """Highest goes first."""
        return self.precedence, instant_ms(self.effective_from), self.agreement_id

    def rule_for(self, gpu_model: str, project_id: str, labels: Mapping[str, str]) -> int | None:
        """The number of its first rule that fits, counted from 1; None: it has none."""
        for number, rule in enumerate(self.rules, start=1):
            if rule.fits(gpu_model, project_id, labels):
                return number
        return None


@dataclass(frozen=True, slots=True)
class MakeAgreement:
    """Order an agreement. `billed_until`: end of the newest billed period, as for price books."""

    agreement: Agreement
    billed_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EndAgreement:
    """Order the end of an agreement at `ends_at`."""

    ends_at: datetime
    reason: str
    billed_until: datetime | None = None


AgreementCommand: TypeAlias = MakeAgreement | EndAgreement


def decide(command: AgreementCommand, agreement: Agreement | None) -> list[Event]:
    """What was agreed or ended, or a refusal that says what to change."""
    match agreement, command:
        case None, MakeAgreement() as make:
            return [_made(make)]
        case Agreement(agreement_id=known), MakeAgreement():
            raise Rejected(f"agreement {known} is made already; end it, and make another with its own id")
        case Agreement() as stands, EndAgreement() as end:
            return [_ended(end, stands)]
        case _:
            raise Rejected("there is no such agreement; only one that was made is ended")


def evolve(agreement: Agreement | None, event: Event) -> Agreement | None:
    """The agreement after one more event."""
    match event:
        case PriceAgreementMade() as made:
            return read(made)
        case PriceAgreementEnded() as ended:
            assert agreement is not None
            return replace(agreement, effective_until=ended.ends_at)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of an agreement")


def read(made: PriceAgreementMade) -> Agreement:
    """The agreement that an event tells."""
    return Agreement(
        agreement_id=made.agreement_id,
        tenant_id=made.tenant_id,
        kind=made.kind,
        currency=made.currency,
        effective_from=made.effective_from,
        effective_until=made.effective_until,
        precedence=made.precedence,
        rules=tuple(rule_of(rule) for rule in made.rules),
        reason=made.reason,
        calculated_on=made.calculated_on or "contract",
    )


def rule_of(told: PriceRule) -> Rule:
    """A rule out of its contract."""
    return Rule(
        gpu_models=frozenset(told.gpu_models or ()),
        project_ids=frozenset(told.project_ids or ()),
        label_name=told.label_name,
        label_value=told.label_value,
        amount=told.amount,
        percent_off=told.percent_off,
    )


def _made(make: MakeAgreement) -> PriceAgreementMade:
    wanted = make.agreement
    minor_digits(wanted.currency)
    if wanted.kind == "contract" and wanted.tenant_id == EVERYBODY:
        raise Invalid("a contract is with one tenant; a campaign can be for all")
    if wanted.effective_until is not None and instant_ms(wanted.effective_until) <= instant_ms(wanted.effective_from):
        raise Invalid("an agreement must end after it begins; set effective_until later than effective_from")
    _refuse_billed(wanted.effective_from, make.billed_until, "begin")
    _check_rules(wanted.rules)
    return PriceAgreementMade(
        agreement_id=wanted.agreement_id,
        tenant_id=wanted.tenant_id,
        kind=wanted.kind,
        currency=wanted.currency,
        effective_from=wanted.effective_from,
        effective_until=wanted.effective_until,
        precedence=wanted.precedence,
        calculated_on=wanted.calculated_on if wanted.kind == "campaign" else None,
        rules=tuple(_written(rule) for rule in wanted.rules),
        reason=wanted.reason,
    )


def _ended(end: EndAgreement, stands: Agreement) -> PriceAgreementEnded:
    if instant_ms(end.ends_at) < instant_ms(stands.effective_from):
        raise Invalid(f"{stands.agreement_id} begins at {rfc3339(stands.effective_from)}; end it then or later")
    if stands.effective_until is not None and instant_ms(end.ends_at) >= instant_ms(stands.effective_until):
        raise Rejected(
            f"{stands.agreement_id} ends at {rfc3339(stands.effective_until)} already; it is not made longer"
        )
    _refuse_billed(end.ends_at, end.billed_until, "end")
    return PriceAgreementEnded(
        agreement_id=stands.agreement_id, tenant_id=stands.tenant_id, ends_at=end.ends_at, reason=end.reason
    )


def _refuse_billed(moment: datetime, billed_until: datetime | None, verb: str) -> None:
    if billed_until is not None and moment < billed_until:
        raise Rejected(
            f"time before {rfc3339(billed_until)} is already billed; let the agreement {verb} then or later, and "
            "correct what was billed with a correction"
        )


def _check_rules(rules: Sequence[Rule]) -> None:
    if not 1 <= len(rules) <= RULES_MAX:
        raise Invalid(f"an agreement has 1 to {RULES_MAX} rules, not {len(rules)}")
    for number, rule in enumerate(rules, start=1):
        if (rule.amount is None) == (rule.percent_off is None):
            raise Invalid(f"rule {number} needs either an amount or a percentage off, and not both")
        if rule.label_value is not None and rule.label_name is None:
            raise Invalid(f"rule {number} has the value of a label and not its name")
        if rule.amount is not None and not _is_price(rule.amount):
            raise Invalid(
                f"rule {number}: a price is zero or more, below {PRICE_MAX:f}, with {PRICE_DIGITS_MAX} digits"
            )
        if rule.percent_off is not None and not _is_percentage(rule.percent_off):
            raise Invalid(f"rule {number}: {rule.percent_off:f} is no percentage off; use 0 to 100 with one digit")


def _is_price(amount: Decimal) -> bool:
    return amount.is_finite() and 0 <= amount < PRICE_MAX and digits_behind_the_point(amount) <= PRICE_DIGITS_MAX


def _is_percentage(percent: Decimal) -> bool:
    in_range = percent.is_finite() and 0 <= percent <= HUNDRED
    return in_range and digits_behind_the_point(percent.normalize()) <= PERCENT_DIGITS_MAX


def _written(rule: Rule) -> PriceRule:
    return PriceRule(
        gpu_models=tuple(sorted(rule.gpu_models)) or None,
        project_ids=tuple(sorted(rule.project_ids)) or None,
        label_name=rule.label_name,
        label_value=rule.label_value,
        amount=rule.amount,
        percent_off=rule.percent_off,
    )


AGREEMENT: Final[Decider[Agreement | None, AgreementCommand]] = Decider(initial=None, decide=decide, evolve=evolve)
