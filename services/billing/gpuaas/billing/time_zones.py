"""A place's offsets from UTC, read once. One law: they are written into what needs them, and never looked up again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gpuaas.billing.domain.bands import Offsets
from gpuaas.billing.domain.metering import instant_ms
from gpuaas.common.errors import Invalid

YEARS_MAX: Final = 20
"""How far ahead a version without an end is given its changes of the clock; behind that the last offset stays."""
_STEP: Final = timedelta(days=7)
_MS: Final = timedelta(milliseconds=1)


def offsets_of(time_zone: str, since: datetime, until: datetime | None) -> Offsets:
    """The zone's offsets over [since, until), the first one from `since` on.

    Raises:
        Invalid: no such zone.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise Invalid(f"{time_zone[:64]!r} is no time zone; use a name such as Europe/Berlin") from None
    at = since.astimezone(UTC)
    end = until or at + timedelta(days=366 * YEARS_MAX)
    found = [(instant_ms(at), _ahead(zone, at))]
    while at < end:
        # No zone changes its clock twice within a week, so between two looks there is one change at most.
        later = min(at + _STEP, end)
        if _ahead(zone, later) != found[-1][1]:
            changed = _change_between(zone, at, later)
            if changed < end:
                found.append((instant_ms(changed), _ahead(zone, changed)))
        at = later
    return tuple(found)


def _change_between(zone: ZoneInfo, before: datetime, behind: datetime) -> datetime:
    """The first instant at which the offset is no longer the one of `before`: changes are at whole seconds."""
    old = _ahead(zone, before)
    low, high = int(before.timestamp()), int(behind.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _ahead(zone, datetime.fromtimestamp(middle, UTC)) == old:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _ahead(zone: ZoneInfo, at: datetime) -> int:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return offset // _MS
