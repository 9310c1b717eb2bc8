"""The closed subset of JSON Schema that a contract may use, as data. One law: what is not named here does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LABEL: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""RFC 1123 label: what can be a token of a subject."""

WIRE_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "Moment": {
        "type": "string",
        "format": "date-time",
        "minLength": 27,
        "maxLength": 27,
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
    },
    "Int64": {
        "type": "string",
        "format": "int64",
        "minLength": 1,
        "maxLength": 20,
        "pattern": r"^(0|-?[1-9][0-9]{0,18})$",
    },
    "Count64": {
        "type": "string",
        "format": "int64",
        "minLength": 1,
        "maxLength": 19,
        "pattern": r"^(0|[1-9][0-9]{0,18})$",
    },
    "ExactDecimal": {
        "type": "string",
        "format": "decimal",
        "minLength": 1,
        "maxLength": 38,
        "pattern": r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$",
    },
    "NonNegativeDecimal": {
        "type": "string",
        "format": "decimal",
        "minLength": 1,
        "maxLength": 37,
        "pattern": r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$",
    },
}
"""Definitions that stand for a type of `gpuaas.common.wire`; a schema spells them exactly so, description aside."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string of `shortest` to `longest` characters."""

    shortest: int
    longest: int
    pattern: str | None


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer from `least` to `most`."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed vocabulary."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wire:
    """A string that is a moment, a 64-bit integer or a decimal; `name` is a key of `WIRE_TYPES`."""

    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """What the definition of this name is."""

    name: str


@dataclass(frozen=True, slots=True)
class Listing:
    """An array of `item`."""

    item: Text | Whole | Named
    fewest: int
    most: int
    unique: bool


@dataclass(frozen=True, slots=True)
class Table:
    """An object with free keys."""

    key: Text | Named
    value: Text | Whole | Named
    most: int


@dataclass(frozen=True, slots=True)
class Field:
    """One property: `shape` and what it means; `redacted` stands in the place of personal data on the log."""

    name: str
    description: str
    shape: Shape
    required: bool
    redacted: str | None = None

    @property
    def personal(self) -> bool:
        return self.redacted is not None


@dataclass(frozen=True, slots=True)
class Structure:
    """An object with fixed properties."""

    fields: tuple[Field, ...]


Shape = Text | Whole | Flag | Choice | Wire | Named | Listing | Table | Structure


@dataclass(frozen=True, slots=True)
class Definition:
    """A shape with a name that fields refer to."""

    name: str
    description: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class EventSchema:
    """One file below `schemas/events`."""

    service: str
    name: str
    version: int
    entity: str
    subject: str
    title: str
    description: str
    body: Structure
    definitions: tuple[Definition, ...]
    examples: tuple[Mapping[str, Any], ...]
    raw: Mapping[str, Any] = field(hash=False, compare=False)

    @property
    def type(self) -> str:
        """CloudEvents type."""
        return f"gpuaas.{self.service}.{self.name}.v{self.version}"

    @property
    def path(self) -> str:
        """Path below `schemas/events`."""
        return f"{self.service}/{self.name}.v{self.version}.json"

    @property
    def class_name(self) -> str:
        return "".join(word.capitalize() for word in self.name.split("-"))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every event file, ordered by service, entity, name and version."""

    events: tuple[EventSchema, ...]

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(sorted({event.service for event in self.events}))

    def of(self, service: str) -> tuple[EventSchema, ...]:
        return tuple(event for event in self.events if event.service == service)

    def is_newest(self, event: EventSchema) -> bool:
        """Whether no later version of the same event is there; only the newest has a class."""
        return not any(
            (other.service, other.name) == (event.service, event.name) and other.version > event.version
            for other in self.events
        )
