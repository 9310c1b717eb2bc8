"""Usage that sources report: storage, tokens. One law: the same reports in any order are the same quantity.

What a meter counts is a whole number. `sum` adds values up, `max` takes the highest of each subject, `time-weighted` is
a level that holds until the subject's next value, times the milliseconds it held. Tiers and free units are a project's
and a calendar month's (UTC); the amount is the engine's charge for the month's quantity, rounded once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Final

from gpuaas.billing.domain.canonical import sha256_of
from gpuaas.billing.domain.metering import Interval, instant_ms
from gpuaas.billing.domain.price_book import PRICE_DIGITS_MAX, PRICE_MAX, digits_behind_the_point
from gpuaas.billing.domain.prices import Beyond, Converted, Graduated, PerUnit, Price, Tier, Volume, charge, package
from gpuaas.common.clock import rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.common.ids import derived_id
from gpuaas.common.money import minor_digits, rounded
from gpuaas.contracts.billing import MeterDefined, UsageReported

AHEAD_MS_MAX: Final = 5 * 60_000
"""How far the clock of a source may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class DefineMeter:
    """Order the next version of a meter; its own `version` is set here."""

    wanted: MeterDefined


@dataclass(frozen=True, slots=True)
class Meters:
    """The versions of one meter, oldest first."""

    versions: tuple[MeterDefined, ...] = ()

    def in_force(self, at_ms: int) -> MeterDefined | None:
        """The version for an instant; None: before the first."""
        found = [version for version in self.versions if instant_ms(version.effective_from) <= at_ms]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class ReportUsage:
    """Order the record of what a source says. `now_ms`: when it was heard."""

    tenant_id: str
    project_id: str
    meter_id: str
    source: str
    source_event_id: str
    used_at: datetime
    value: int
    subject: str | None
    now_ms: int

    @property
    def report_id(self) -> str:
        """The same for the same (source, id) of a tenant."""
        return f"ur-{derived_id(self.tenant_id, self.source, self.source_event_id)}"


@dataclass(frozen=True, slots=True)
class Value:
    """One reported value, as far as quantities go. `position`: of two of one instant the later one in the log holds."""

    project_id: str
    meter_id: str
    subject: str
    used_ms: int
    value: int
    position: int


def price_of(meter: MeterDefined) -> Price:
    """The meter's price as a function of what it counts."""
    tiers = tuple(
        Tier(
            up_to=None if tier.up_to is None else Fraction(tier.up_to),
            unit=Fraction(tier.unit),
            flat=Fraction(tier.flat or 0),
        )
        for tier in meter.tiers
    )
    free = Fraction(meter.free or 0)
    inner: Price
    match meter.price_model:
        case "per-unit":
            inner = PerUnit(tiers[0].unit)
        case "graduated":
            inner = Graduated(tiers, entered_at_zero=False)
        case "volume":
            inner = Volume(tiers, entered_at_zero=False)
        case "package":
            inner = package(Fraction(meter.package or 1), tiers[0].unit)
    return Converted(divide=Fraction(meter.per_unit), rounding="exact", of=Beyond(free=free, of=inner))


def amount_of(meter: MeterDefined, quantity: int) -> Decimal:
    """What a month's quantity of one project costs, rounded once."""
    return rounded(charge(price_of(meter), Fraction(quantity)), meter.currency)


def quantity_of(aggregation: str, values: Iterable[Value], month: Interval, until_ms: int) -> int:
    """The quantity that one project's values make of `month` up to `until_ms`.

    Args:
        values: in any order; of a level also the last one before the month for each subject.
    """
    by_subject: defaultdict[str, list[Value]] = defaultdict(list)
    for value in values:
        by_subject[value.subject].append(value)
    end_ms = min(until_ms, month.end_ms)
    if aggregation == "time-weighted":
        return sum(_level_time(own, month.start_ms, end_ms) for own in by_subject.values())
    inside = [
        [each.value for each in own if month.start_ms <= each.used_ms < month.end_ms] for own in by_subject.values()
    ]
    together = sum if aggregation == "sum" else max
    return sum(together(own) for own in inside if own)


def _level_time(values: Sequence[Value], start_ms: int, end_ms: int) -> int:
    ordered = sorted(values, key=lambda each: (each.used_ms, each.position))
    total = 0
    for each, ends in zip(ordered, [*(later.used_ms for later in ordered[1:]), end_ms], strict=True):
        total += each.value * max(0, min(ends, end_ms) - max(each.used_ms, start_ms))
    return total


def decide_meter(command: DefineMeter, meters: Meters) -> list[Event]:
    """The next version, or a refusal that says what to change."""
    wanted = command.wanted
    minor_digits(wanted.currency)
    first = wanted.effective_from.astimezone(UTC)
    if (first.day, first.hour, first.minute, first.second, first.microsecond) != (1, 0, 0, 0, 0):
        raise Invalid("a meter's prices hold for calendar months (UTC): let effective_from be the start of one")
    _check_tiers(wanted)
    if meters.versions:
        newest = meters.versions[-1]
        if (newest.unit, newest.aggregation, newest.currency) != (wanted.unit, wanted.aggregation, wanted.currency):
            raise Rejected("a meter keeps its unit, aggregation and currency; define another meter")
        if wanted.effective_from <= newest.effective_from:
            raise Rejected(
                f"version {newest.version} holds from {rfc3339(newest.effective_from)} on; let the next begin later"
            )
    return [wanted.model_copy(update={"version": len(meters.versions) + 1})]


def _check_tiers(wanted: MeterDefined) -> None:
    if wanted.per_unit < 1 or (wanted.package is not None and wanted.package < 1):
        raise Invalid("a unit and a package hold at least one")
    if wanted.price_model in ("per-unit", "package") and len(wanted.tiers) > 1:
        raise Invalid(f"a price {wanted.price_model} has one tier; use graduated or volume for more")
    if (wanted.price_model == "package") != (wanted.package is not None):
        raise Invalid("say how many units a package has, and only if they are sold in packages")
    if wanted.tiers[-1].up_to is not None:
        raise Invalid("the last tier has no end: leave its up_to out")
    ends = [tier.up_to or 0 for tier in wanted.tiers[:-1]]
    if any(later <= earlier for earlier, later in pairwise([0, *ends])):
        raise Invalid("the ends of tiers rise from above zero")
    for amount in [amount for tier in wanted.tiers for amount in (tier.unit, tier.flat) if amount is not None]:
        if not 0 <= amount < PRICE_MAX or digits_behind_the_point(amount) > PRICE_DIGITS_MAX:
            raise Invalid(f"a price is zero or more, below {PRICE_MAX:f}, with {PRICE_DIGITS_MAX} digits")


def evolve_meter(meters: Meters, event: Event) -> Meters:
    """One more version."""
    assert isinstance(event, MeterDefined)
    return replace(meters, versions=(*meters.versions, event))


def decide_report(command: ReportUsage, report: UsageReported | None) -> list[Event]:
    """The record; nothing if it stands already; a refusal if its source said something else under this id."""
    if instant_ms(command.used_at) > command.now_ms + AHEAD_MS_MAX:
        raise Invalid(f"{rfc3339(command.used_at)} has not come yet; usage is reported when it happened")
    told = {
        "tenant_id": command.tenant_id,
        "project_id": command.project_id,
        "meter_id": command.meter_id,
        "source": command.source,
        "source_event_id": command.source_event_id,
        "used_at": rfc3339(command.used_at),
        "value": str(command.value),
        **({} if command.subject is None else {"subject": command.subject}),
    }
    digest = sha256_of({"report_id": command.report_id, **told})
    if report is not None:
        if report.body_sha256 == digest:
            return []
        raise Rejected(
            f"{command.source} said {command.source_event_id!r} before, with another content; what was said stands: "
            "give a correction an id of its own"
        )
    return [
        UsageReported(
            report_id=command.report_id,
            tenant_id=command.tenant_id,
            project_id=command.project_id,
            meter_id=command.meter_id,
            source=command.source,
            source_event_id=command.source_event_id,
            used_at=command.used_at,
            value=command.value,
            subject=command.subject,
            body_sha256=digest,
        )
    ]


def evolve_report(report: UsageReported | None, event: Event) -> UsageReported | None:
    """What was said."""
    assert isinstance(event, UsageReported)
    return event


METER: Final[Decider[Meters, DefineMeter]] = Decider(initial=Meters(), decide=decide_meter, evolve=evolve_meter)
REPORT: Final[Decider[UsageReported | None, ReportUsage]] = Decider(
    initial=None, decide=decide_report, evolve=evolve_report
)
