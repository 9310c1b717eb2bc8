"""On what a binding counts: from where, when, how lately signed in. One law: what cannot be evaluated is not met.

A closed vocabulary, as data: every service answers each word of it from the request and from iam's events alone. All
that a condition says must hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Self
from zoneinfo import ZoneInfo

from gpuaas.contracts import iam

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a request brings that a condition can ask about; None: not known, so nothing on it is met.

    `address`: the network address that it came from. `signed_in_at`: when the person behind it showed who they are;
    None where a program's key did. `judged`: of a decision that is answered again, whether conditions were met then.
    """

    address: str | None = None
    signed_in_at: datetime | None = None
    judged: bool | None = None


@dataclass(frozen=True, slots=True)
class Hours:
    """From `begins` up to `ends` (minutes of the day in `zone`) on `days`; over midnight where it ends before it
    begins, and then the day is the one that it began on."""

    zone: str
    days: frozenset[int]
    begins: int
    ends: int

    def hold(self, at: datetime) -> bool:
        """Raises what an unknown zone raises."""
        local = at.astimezone(_zone(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.begins < self.ends:
            return day in self.days and self.begins <= minute < self.ends
        if minute >= self.begins:
            return day in self.days
        return minute < self.ends and (day - 1) % 7 in self.days


@dataclass(frozen=True, slots=True)
class Condition:
    """All of what is named must hold. `said` is it in words."""

    said: str
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    hours: Hours | None = None
    signed_in_within: timedelta | None = None
    broken: bool = False

    @classmethod
    def of(cls, told: iam.BindingCondition) -> Self:
        """As iam says it. What does not make sense here is never met, and freezes nothing."""
        said = in_words(told)
        try:
            hours = None if told.hours is None else _hours(told.hours)
            within = None if told.signed_in_within_s is None else timedelta(seconds=told.signed_in_within_s)
            networks = tuple(ip_network(each) for each in told.networks or ())
        except (ValueError, KeyError, OSError, OverflowError):
            return cls(said, broken=True)
        nothing = hours is None and within is None and not networks
        return cls(said, networks, hours, within, broken=nothing)

    def unmet(self, at: datetime, about: Circumstances) -> str | None:
        """What of it does not hold, as a sentence; None: it is met."""
        if about.judged is not None:
            return None if about.judged else f"it was not met then: {self.said}"
        try:
            return self._unmet(at, about)
        except (ValueError, KeyError, OSError, OverflowError):
            return f"it cannot be evaluated here: {self.said}"

    def _unmet(self, at: datetime, about: Circumstances) -> str | None:
        if self.broken:
            return f"it cannot be evaluated here: {self.said}"
        if self.networks and not _inside(about.address, self.networks):
            return f"the request does not come from {_listed(self.networks)}"
        if self.hours is not None and not self.hours.hold(at):
            return f"it is not the time: {self.said}"
        if self.signed_in_within is not None and not _lately(about.signed_in_at, at, self.signed_in_within):
            return f"it needs a sign-in within the last {self.signed_in_within.total_seconds():.0f} s; sign in again"
        return None


def in_words(told: iam.BindingCondition) -> str:
    """A condition in words."""
    parts = []
    if told.networks:
        parts.append(f"from {', '.join(told.networks)}")
    if (hours := told.hours) is not None:
        parts.append(f"{' '.join(hours.days)} {hours.begins} to {hours.ends} in {hours.time_zone}")
    if told.signed_in_within_s is not None:
        parts.append(f"within {told.signed_in_within_s} s of signing in")
    return ", ".join(parts) or "nothing that is known here"


def minutes(text: str) -> int:
    """`HH:MM` as minutes of the day. Raises ValueError: it is none."""
    hour, _, minute = text.partition(":")
    found = int(hour) * 60 + int(minute)
    if len(text) != 5 or not (0 <= int(minute) < 60 and 0 <= found <= 24 * 60):
        raise ValueError(f"{text!r} is no time of day")
    return found


def _hours(told: iam.Hours) -> Hours:
    _zone(told.time_zone)  # raises here what it would raise later
    days = frozenset(DAYS.index(day) for day in told.days)
    return Hours(told.time_zone, days, minutes(told.begins), minutes(told.ends))


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _inside(address: str | None, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    if address is None:
        return False
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)  # ::ffff:10.0.0.1 is 10.0.0.1
    return any((mapped or found) in network for network in networks)


def _lately(signed_in_at: datetime | None, at: datetime, within: timedelta) -> bool:
    return signed_in_at is not None and at - signed_in_at <= within


def _listed(networks: Sequence[IPv4Network | IPv6Network]) -> str:
    return " or ".join(map(str, networks))
