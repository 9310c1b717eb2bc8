"""Conditions as they are asked for. One law: what could never be met, or never be evaluated, is refused at once."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal
from zoneinfo import available_timezones

from gpuaas.common.conditions import Condition, minutes
from gpuaas.common.errors import Invalid
from gpuaas.common.http import Body
from gpuaas.contracts.iam import BindingCondition, Hours
from pydantic import Field

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TimeOfDay = Annotated[str, Field(pattern="^[0-2][0-9]:[0-5][0-9]$", max_length=5)]


class OfficeHours(Body):
    """A time of the week."""

    time_zone: str = Field(
        description="Its name in the IANA time zone database.", max_length=64, examples=["Europe/Berlin"]
    )
    days: list[Weekday] = Field(
        description="The days on which it begins.",
        min_length=1,
        max_length=7,
        examples=[["mon", "tue", "wed", "thu", "fri"]],
    )
    begins: TimeOfDay = Field(description="The first minute of it, HH:MM.", examples=["08:00"])
    ends: TimeOfDay = Field(
        description="The first minute after it, HH:MM; before `begins`: on the next day.", examples=["18:00"]
    )


class NewCondition(Body):
    """On what a binding counts: all that is named must hold."""

    networks: list[str] | None = Field(
        default=None,
        description="Networks (CIDR) of which the request must come from one.",
        min_length=1,
        max_length=32,
        examples=[["192.0.2.0/24"]],
    )
    hours: OfficeHours | None = Field(default=None, description="When it counts.")
    signed_in_within_s: int | None = Field(
        default=None, ge=60, le=86_400, description="The most seconds since the person signed in; no API key ever did."
    )

    def checked(self) -> BindingCondition:
        """The condition as it is said.

        Raises:
            Invalid: it says nothing, or what no service could evaluate.
        """
        if self.networks is None and self.hours is None and self.signed_in_within_s is None:
            raise Invalid("a condition names networks, hours or signed_in_within_s; leave it out for none")
        told = BindingCondition(
            networks=None if self.networks is None else tuple(_network(each) for each in self.networks),
            hours=None if self.hours is None else _hours(self.hours),
            signed_in_within_s=self.signed_in_within_s,
        )
        if Condition.of(told).broken:
            raise Invalid("that condition could not be evaluated; say it otherwise", field="condition")
        return told


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip()))
    except ValueError:
        raise Invalid(
            f"{text[:60]!r} is no network; write it like 192.0.2.0/24, without bits beyond its prefix", field="networks"
        ) from None


def _hours(asked: OfficeHours) -> Hours:
    if asked.time_zone not in available_timezones():
        raise Invalid(f"{asked.time_zone[:64]!r} is no time zone; write it like Europe/Berlin", field="time_zone")
    try:
        if minutes(asked.begins) == minutes(asked.ends) or minutes(asked.begins) == 24 * 60:
            raise ValueError("no time at all")
    except ValueError:
        raise Invalid("hours begin and end at different times from 00:00 to 24:00", field="hours") from None
    days = tuple(dict.fromkeys(asked.days))
    return Hours(time_zone=asked.time_zone, days=days, begins=asked.begins, ends=asked.ends)
