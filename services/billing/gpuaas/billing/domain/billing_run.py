"""A billing run. One law: what it depends on is pinned when it starts, so running it again gives the same bytes.

It bills exactly the usage records that stand in the log above `since_position` (where the last run for the same
period stopped reading, else 0) and up to `log_position`, as far as they lie inside [period_start, period_end).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeAlias

from gpuaas.billing.domain.metering import Interval
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.billing import BillingRunCompleted, BillingRunStarted


@dataclass(frozen=True, slots=True)
class StartRun:
    """Order a run over [period_start, period_end), with everything it depends on."""

    run_id: str
    period_start: datetime
    period_end: datetime
    log_position: int
    price_book_sha256: str
    code_version: str
    correction_id: str | None = None


@dataclass(frozen=True, slots=True)
class CompleteRun:
    """Order the end of a run: how many invoices it wrote and what they sum to."""

    run_id: str
    invoices: int
    total_by_currency: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Unstarted:
    """No such run yet."""


@dataclass(frozen=True, slots=True)
class Running:
    """Writing invoices."""

    pinned: BillingRunStarted


@dataclass(frozen=True, slots=True)
class Completed:
    """All its invoices are written."""

    pinned: BillingRunStarted


RunState: TypeAlias = Unstarted | Running | Completed
RunCommand: TypeAlias = StartRun | CompleteRun


def decide(command: RunCommand, state: RunState) -> list[Event]:
    """What follows, by state and command."""
    match state, command:
        case Unstarted(), StartRun() as start:
            if Interval.between(start.period_start, start.period_end).length_ms == 0:
                raise Invalid("a billing period has a length; set period_end later than period_start")
            return [
                BillingRunStarted(
                    run_id=start.run_id,
                    period_start=start.period_start,
                    period_end=start.period_end,
                    log_position=start.log_position,
                    price_book_sha256=start.price_book_sha256,
                    code_version=start.code_version,
                    correction_id=start.correction_id,
                )
            ]
        case ((Running() | Completed()), StartRun() as start):
            raise Rejected(f"run {start.run_id} has been started already; choose another id, or none")
        case Running(), CompleteRun() as complete:
            return [
                BillingRunCompleted(
                    run_id=complete.run_id,
                    invoices=complete.invoices,
                    total_by_currency=dict(complete.total_by_currency),
                )
            ]
        case Completed(), CompleteRun():
            return []
        case _:
            raise Rejected(f"run {command.run_id} has not been started")


def evolve(state: RunState, event: Event) -> RunState:
    """The run after one more event."""
    match state, event:
        case _, BillingRunStarted() as started:
            return Running(pinned=started)
        case ((Running(pinned=pinned) | Completed(pinned=pinned)), BillingRunCompleted()):
            return Completed(pinned=pinned)
        case _:
            raise AssertionError(f"{type(event).__name__} does not follow {type(state).__name__}")


BILLING_RUN: Final[Decider[RunState, RunCommand]] = Decider(initial=Unstarted(), decide=decide, evolve=evolve)
