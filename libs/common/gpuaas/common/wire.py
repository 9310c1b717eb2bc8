"""Values with one exact spelling in JSON. One law: what is written here is read back equal, all else is refused.

JSON numbers lose digits and JSON knows no time, so moments, 64-bit integers and decimals travel as strings. The
generated contracts are built from these types; an API may use them too. Texts are taken in their wire spelling
only, wherever they come from; Python values are taken as `datetime`, `int` and `Decimal`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import (
    AfterValidator,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    WrapSerializer,
)

_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
_INT64_END: Final = 1 << 63

Key = TypeVar("Key")
Value = TypeVar("Value")


class FrozenMap(Mapping[Key, Value], Generic[Key, Value]):
    """A mapping that cannot be changed and can be hashed, as everything inside an event."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[Key, Value]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: Key) -> Value:
        return self._items[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenMap({self._items!r})"


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("a moment needs its offset from UTC; make the datetime aware")
        return value.astimezone(UTC)
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return datetime.fromisoformat(value)
    raise ValueError("a moment is written like 2026-08-05T09:00:00.000000Z")


def _moment_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _integer(least: int) -> Callable[[object, ValidationInfo], int]:
    def read(value: object, info: ValidationInfo) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        elif type(value) is not int or info.mode == "json":
            raise ValueError('a 64-bit integer is written as a string, like "42"')
        if not least <= value < _INT64_END:
            raise ValueError(f"the integer must be between {least} and {_INT64_END - 1}")
        return value

    return read


def _decimal(least: Decimal | None) -> Callable[[object], Decimal]:
    def read(value: object) -> Decimal:
        text = format(value, "f") if isinstance(value, Decimal) and value.is_finite() else value
        if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
            raise ValueError('a decimal is a plain string like "12.50", with at most 18 digits on each side')
        exact = Decimal(text)
        if least is not None and (exact < least or exact.is_signed()):
            raise ValueError(f"the decimal must be at least {least} and carry no sign")
        return exact

    return read


def _plain(value: Decimal) -> str:
    return format(value, "f")


def _without_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("the same item appears twice")
    return values


def _written_as_dict(value: Mapping[str, Any], write: SerializerFunctionWrapHandler) -> Any:
    return write(dict(value))


def _shown(schema: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


_AS_TEXT: Final = PlainSerializer(str, return_type=str, when_used="json")
_AS_PLAIN: Final = PlainSerializer(_plain, return_type=str, when_used="json")

Moment = Annotated[
    datetime,
    PlainValidator(_moment),
    PlainSerializer(_moment_text, return_type=str, when_used="json"),
    _shown({"format": "date-time"}),
]
"""An aware datetime in UTC; in JSON `2026-08-05T09:00:00.000000Z`, always with microseconds."""

Int64 = Annotated[int, PlainValidator(_integer(-_INT64_END)), _AS_TEXT, _shown({"format": "int64"})]
"""An integer from -2^63 to 2^63 - 1; in JSON a string of its digits."""

Count64 = Annotated[int, PlainValidator(_integer(0)), _AS_TEXT, _shown({"format": "int64"})]
"""An integer from 0 to 2^63 - 1; in JSON a string of its digits."""

ExactDecimal = Annotated[Decimal, PlainValidator(_decimal(None)), _AS_PLAIN, _shown({"format": "decimal"})]
"""A finite decimal, ≤ 18 digits on each side of the point; in JSON a string without exponent, digits kept."""

NonNegativeDecimal = Annotated[Decimal, PlainValidator(_decimal(Decimal(0))), _AS_PLAIN, _shown({"format": "decimal"})]
"""An `ExactDecimal` of zero or more."""

Unique: Final = AfterValidator(_without_repeats)
"""Refuses a tuple in which an item appears twice."""

Frozen: Final = AfterValidator(FrozenMap)
"""Turns a validated mapping into a `FrozenMap`; stands with `AsObject`, which writes it as a JSON object."""

AsObject: Final = WrapSerializer(_written_as_dict)
