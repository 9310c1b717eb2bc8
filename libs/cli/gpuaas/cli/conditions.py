"""On what a binding counts, as options of a command. One law: all that is named must hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_WEEK: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def on_condition(command: Command) -> Callable[..., Any]:
    """Options that become one argument `condition` (empty: none)."""

    @click.option("--from-network", "networks", multiple=True, help="Counts for requests from this network (CIDR).")
    @click.option("--hours", help="Counts in these hours: DAYS/HH:MM-HH:MM, days like mon-fri or sat,sun.")
    @click.option("--time-zone", help="The time zone of --hours, like Europe/Berlin.")
    @click.option("--signed-in-within", type=click.IntRange(60, 86_400), help="Most seconds since signing in.")
    @wraps(command)
    def with_condition(
        *given: Any,
        networks: tuple[str, ...],
        hours: str | None,
        time_zone: str | None,
        signed_in_within: int | None,
        **named: Any,
    ) -> Any:
        if (hours is None) != (time_zone is None):
            raise click.UsageError("--hours and --time-zone go together")
        condition: dict[str, Any] = {"networks": list(networks)} if networks else {}
        if hours is not None:
            condition["hours"] = {"time_zone": time_zone, **_hours(hours)}
        if signed_in_within is not None:
            condition["signed_in_within_s"] = signed_in_within
        return command(*given, condition=condition, **named)

    return with_condition


def _hours(text: str) -> dict[str, Any]:
    days, _, span = text.partition("/")
    begins, _, ends = span.partition("-")
    if not (days and begins and ends):
        raise click.UsageError(f"{text!r} is not DAYS/HH:MM-HH:MM; write it like mon-fri/08:00-18:00")
    return {"days": [day for part in days.lower().split(",") for day in _days(part)], "begins": begins, "ends": ends}


def _days(text: str) -> tuple[str, ...]:
    first, _, last = text.partition("-")
    if first not in _WEEK or (last or first) not in _WEEK:
        raise click.UsageError(f"{text!r} is not a day; the days are {', '.join(_WEEK)}")
    if not last:
        return (first,)
    begin, end = _WEEK.index(first), _WEEK.index(last)
    return _WEEK[begin : end + 1] if begin <= end else (*_WEEK[begin:], *_WEEK[: end + 1])
