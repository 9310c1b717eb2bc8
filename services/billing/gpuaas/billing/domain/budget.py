"""A budget for a calendar month. One law: each threshold is said once a month, on the amounts that were known then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeAlias

from gpuaas.billing.domain.metering import Interval
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.money import minor_digits
from gpuaas.contracts.billing import (
    BudgetAction,
    BudgetMeasure,
    BudgetSet,
    BudgetThreshold,
    BudgetThresholdCrossed,
    BudgetWithdrawn,
)

THRESHOLDS_MAX: Final = 20
Threshold: TypeAlias = tuple[int, BudgetMeasure]
"""percent of the amount, and of what"""


@dataclass(frozen=True, slots=True)
class SetBudget:
    """Order a budget, or another in its place. `label`: name and value that the allocations which count carry."""

    budget_id: str
    tenant_id: str
    project_id: str | None
    label: tuple[str, str] | None
    currency: str
    amount: Decimal
    thresholds: tuple[Threshold, ...]
    action: BudgetAction


@dataclass(frozen=True, slots=True)
class WeighBudget:
    """Order to say which thresholds `spent` and `forecast` have reached in `month`."""

    month: str
    spent: Decimal
    forecast: Decimal


@dataclass(frozen=True, slots=True)
class WithdrawBudget:
    """Order its end."""

    budget_id: str
    tenant_id: str
    reason: str


BudgetCommand: TypeAlias = SetBudget | WeighBudget | WithdrawBudget


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget as set last; None: never set, or withdrawn. `crossed`: what was said, in the newest month."""

    set_as: BudgetSet | None = None
    month: str = ""
    crossed: Mapping[Threshold, bool] = field(default_factory=dict)


def month_of(moment: datetime) -> tuple[str, Interval]:
    """The calendar month (UTC) of a moment: its name and its bounds."""
    first = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ends = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return f"{first.year:04d}-{first.month:02d}", Interval.between(first, ends)


def reached(thresholds: Sequence[Threshold], amount: Decimal, spent: Decimal, forecast: Decimal) -> list[Threshold]:
    """The thresholds that these amounts reach."""
    measured = {"actual": spent, "forecast": forecast}
    return [(percent, of) for percent, of in thresholds if measured[of] * 100 >= amount * percent]


def decide(command: BudgetCommand, budget: Budget) -> list[Event]:
    """What follows, by state and command."""
    match budget.set_as, command:
        case _, SetBudget() as order:
            return [_set(order)]
        case None, _:
            raise Rejected("there is no such budget; set it first")
        case BudgetSet() as current, WeighBudget() as weighed:
            said = budget.crossed if budget.month == weighed.month else {}
            thresholds = [(each.percent, each.of) for each in current.thresholds]
            found = reached(thresholds, current.amount, weighed.spent, weighed.forecast)
            return [_crossed(current, weighed, each) for each in found if each not in said]
        case BudgetSet(), WithdrawBudget() as end:
            return [BudgetWithdrawn(budget_id=end.budget_id, tenant_id=end.tenant_id, reason=end.reason)]
        case _:
            raise Rejected("a budget is set, weighed or withdrawn")


def evolve(budget: Budget, event: Event) -> Budget:
    """The budget after one more event."""
    match event:
        case BudgetSet() as order:
            return replace(budget, set_as=order, crossed={})
        case BudgetThresholdCrossed() as crossed:
            said = budget.crossed if budget.month == crossed.month else {}
            return replace(budget, month=crossed.month, crossed={**said, (crossed.percent, crossed.of): True})
        case BudgetWithdrawn():
            return Budget()
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a budget")


def _set(order: SetBudget) -> BudgetSet:
    if order.amount <= 0 or order.amount % Decimal(1).scaleb(-minor_digits(order.currency)):
        raise Invalid(f"a budget is more than nothing and in whole minor units of {order.currency}")
    if not 1 <= len(order.thresholds) <= THRESHOLDS_MAX or len(set(order.thresholds)) != len(order.thresholds):
        raise Invalid(f"a budget has 1 to {THRESHOLDS_MAX} thresholds, each once")
    return BudgetSet(
        budget_id=order.budget_id,
        tenant_id=order.tenant_id,
        project_id=order.project_id,
        label_name=order.label[0] if order.label else None,
        label_value=order.label[1] if order.label else None,
        currency=order.currency,
        amount=order.amount,
        thresholds=tuple(BudgetThreshold(percent=percent, of=of) for percent, of in order.thresholds),
        action=order.action,
    )


def _crossed(current: BudgetSet, weighed: WeighBudget, threshold: Threshold) -> BudgetThresholdCrossed:
    return BudgetThresholdCrossed(
        budget_id=current.budget_id,
        tenant_id=current.tenant_id,
        month=weighed.month,
        percent=threshold[0],
        of=threshold[1],
        currency=current.currency,
        amount=current.amount,
        spent=weighed.spent,
        forecast=weighed.forecast,
    )


BUDGET: Final[Decider[Budget, BudgetCommand]] = Decider(initial=Budget(), decide=decide, evolve=evolve)
