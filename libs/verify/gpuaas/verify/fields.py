"""Reading members of untrusted JSON objects. One law: a member has its exact kind, or the document is unusable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from gpuaas.verify.refusals import Unusable

_INT64 = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?", re.ASCII)
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Fields:
    """Typed access to one object's members; `what` names it in refusals."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise Unusable("malformed", f"{what} is not an object")
        self.raw: Mapping[str, Any] = value
        self.what = what

    def text(self, name: str) -> str:
        value = self._member(name)
        if not isinstance(value, str):
            raise self._wrong(name, "text")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self.raw.get(name) is None else self.text(name)

    def integer(self, name: str) -> int:
        """A JSON integer."""
        value = self._member(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "an integer")
        return value

    def int64(self, name: str) -> int:
        """A 64-bit integer, which is written as text."""
        value = self.text(name)
        if _INT64.fullmatch(value) is None or not -(2**63) <= int(value) < 2**63:
            raise self._wrong(name, "a 64-bit integer as text")
        return int(value)

    def decimal(self, name: str) -> Fraction:
        """An exact decimal, which is written as text."""
        value = self.text(name)
        if _DECIMAL.fullmatch(value) is None:
            raise self._wrong(name, "a decimal number as text")
        return Fraction(value)

    def instant_ns(self, name: str) -> int:
        """An RFC 3339 time as nanoseconds since 1970, exact."""
        value = self.text(name)
        parts = _INSTANT.fullmatch(value)
        if parts is None:
            raise self._wrong(name, "an RFC 3339 time")
        day, clock, fraction, zone = parts.groups()
        try:
            whole = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
        except ValueError:
            raise self._wrong(name, "an RFC 3339 time") from None
        elapsed = whole - _EPOCH
        seconds = elapsed.days * 86_400 + elapsed.seconds
        return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))

    def items(self, name: str) -> list[Any]:
        value = self._member(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value

    def inner(self, name: str) -> Fields:
        return Fields(self._member(name), f"{self.what}.{name}")

    def only(self, *names: str) -> Fields:
        """Refuse members that are not named here."""
        if extra := sorted(set(self.raw) - set(names)):
            raise Unusable("malformed", f"{self.what} has an unknown member {extra[0][:80]!r}")
        return self

    def _member(self, name: str) -> Any:
        try:
            return self.raw[name]
        except KeyError:
            raise Unusable("malformed", f"{self.what} lacks {name!r}") from None

    def _wrong(self, name: str, kind: str) -> Unusable:
        return Unusable("malformed", f"{self.what}.{name} is not {kind}")
