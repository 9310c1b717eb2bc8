"""Events and the vocabulary a reader knows. One law: an event is a finished fact and never changes.

The concrete classes are generated from `schemas/events` into `gpuaas.contracts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from gpuaas.common.errors import Unreadable
from pydantic import BaseModel, ConfigDict, ValidationError

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Turns the data of a retired version into the data of the next one. Pure."""


class Part(BaseModel):
    """A structure inside an event: frozen, tolerant of fields it does not know (an older reader, a newer writer)."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)


class Event(Part):
    """The data of one versioned event. Class variables come from the schema file.

    Attributes:
        TYPE: CloudEvents type, `gpuaas.<service>.<what-happened>.v<n>`.
        SERVICE, ENTITY: who owns it and whose history it belongs to; they are in the subject.
        SCHEMA: the schema's path below `schemas/events`; `envelope.schema_uri` makes `dataschema` of it.
        PERSONAL: top-level fields that hold personal data, and what stands there for who may not read it.
        DATA_SUBJECT: name of the field with the id of the person whose data that is.
    """

    TYPE: ClassVar[str]
    SERVICE: ClassVar[str]
    ENTITY: ClassVar[str]
    SCHEMA: ClassVar[str]
    PERSONAL: ClassVar[Mapping[str, str]] = MappingProxyType({})
    DATA_SUBJECT: ClassVar[str] = ""


class Vocabulary:
    """The event types a reader knows, and how retired versions read today.

    Args:
        types: every event class this reader understands.
        upcasters: retired type name → (pure function to the next version's data, next type name).
    """

    def __init__(self, *types: type[Event], upcasters: Mapping[str, tuple[Upcaster, str]] | None = None) -> None:
        self._by_type = {t.TYPE: t for t in types}
        self._upcasters = dict(upcasters or {})
        self._facts = {name.rpartition(".")[0] for name in (*self._by_type, *self._upcasters)}

    @property
    def types(self) -> tuple[type[Event], ...]:
        return tuple(self._by_type.values())

    def __contains__(self, event_type: str) -> bool:
        return event_type in self._by_type or event_type in self._upcasters

    def may_skip(self, event_type: str) -> bool:
        """Whether a reader loses nothing by passing over an event of this type, which it does not know.

        Other facts are none of its business. Another version of a fact that it reads is: to skip that would be to
        miss it.
        """
        return event_type.rpartition(".")[0] not in self._facts

    def subjects(self) -> list[str]:
        """NATS subject filters that cover every type known here, sorted and without repeats."""
        return sorted({f"events.{t.SERVICE}.{t.ENTITY}.>" for t in self._by_type.values()})

    def read(self, event_type: str, data: bytes) -> Event:
        """The event in today's version.

        Raises:
            Unreadable: unknown type, or data its class refuses.
        """
        try:
            if (known := self._by_type.get(event_type)) is not None:
                return known.model_validate_json(data)
            return self._upcast(event_type, data)
        except ValidationError as refused:
            raise Unreadable(f"{event_type}: {first_complaint(refused)}", type=event_type) from refused

    def _upcast(self, event_type: str, data: bytes) -> Event:
        import json

        value = json.loads(data)
        steps = 0
        while event_type in self._upcasters:
            step, event_type = self._upcasters[event_type]
            value = step(value)
            steps += 1
            if steps > len(self._upcasters):
                raise Unreadable(f"upcasters of {event_type} run in a circle", type=event_type)
        if (known := self._by_type.get(event_type)) is None:
            raise Unreadable(
                f"no reader here knows the event type {event_type}; deploy a version that does",
                type=event_type,
            )
        return known.model_validate(value)


def first_complaint(refused: ValidationError) -> str:
    """One sentence out of a pydantic error: where, and what was wrong."""
    first = refused.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"]) or "the document"
    return f"{where}: {first['msg']}"


def vocabulary_of(*groups: Iterable[type[Event]]) -> Vocabulary:
    """One vocabulary out of several groups of event classes."""
    return Vocabulary(*(t for group in groups for t in group))
