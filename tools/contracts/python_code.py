"""Writes the Python classes of the contracts. One law: the same schemas give the same bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Final

from tools.contracts.parsing import Refused
from tools.contracts.shapes import (
    Catalogue,
    Choice,
    Definition,
    EventSchema,
    Field,
    Flag,
    Listing,
    Named,
    Shape,
    Structure,
    Table,
    Text,
    Whole,
    Wire,
)

HEADER: Final = "Generated from schemas/events by `python -m tools.contracts generate`; do not edit."
_WIDTH: Final = 106


def module_of(catalogue: Catalogue, service: str) -> str:
    """Source of `gpuaas.contracts.<service>`: the newest version of each event the service owns."""
    events = [event for event in catalogue.of(service) if catalogue.is_newest(event)]
    definitions = _definitions(events)
    wire = sorted(d.name for d in definitions if isinstance(d.shape, Wire))
    aliases = [_alias(d) for d in definitions if not isinstance(d.shape, Wire | Structure)]
    parts = [_part(d, d.shape) for d in _parts_in_order(definitions)]
    classes = [_event(event) for event in events]
    names = "".join(f"    {event.class_name},\n" for event in events)
    body = "\n\n\n".join([*parts, *classes, f"EVENTS: tuple[type[Event], ...] = (\n{names})"])
    return (
        f'"""Events of the service `{service}`. {HEADER}"""\n\n'
        + _imports(wire, "\n".join([*aliases, body]))
        + "\n"
        + "\n".join(aliases)
        + "\n\n"
        + body
        + "\n"
    )


def catalogue_module(catalogue: Catalogue) -> str:
    """Source of `gpuaas.contracts.catalogue`: every event class of the suite."""
    imports = "".join(f"from gpuaas.contracts import {service}\n" for service in catalogue.services)
    groups = "".join(f"    *{service}.EVENTS,\n" for service in catalogue.services)
    return (
        f'"""All events of the suite. {HEADER}"""\n\n'
        "from __future__ import annotations\n\n"
        "from collections.abc import Mapping\n"
        "from types import MappingProxyType\n\n"
        "from gpuaas.common.events import Event\n"
        f"{imports}\n"
        f"ALL: tuple[type[Event], ...] = (\n{groups})\n"
        '"""The newest version of every event, by service."""\n\n'
        "BY_TYPE: Mapping[str, type[Event]] = MappingProxyType({event.TYPE: event for event in ALL})\n"
        '"""CloudEvents type → class."""\n'
    )


def _definitions(events: Iterable[EventSchema]) -> list[Definition]:
    by_name: dict[str, Definition] = {}
    for event in events:
        for definition in event.definitions:
            if by_name.setdefault(definition.name, definition) != definition:
                raise Refused(f"{event.path} $defs/{definition.name}: differs from another event's of this service")
    return [by_name[name] for name in sorted(by_name)]


def _parts_in_order(definitions: list[Definition]) -> list[Definition]:
    """Structures, each after those it is made of."""
    by_name = {d.name: d for d in definitions if isinstance(d.shape, Structure)}
    done: dict[str, Definition] = {}

    def place(definition: Definition) -> None:
        for field in _fields(definition):
            for name in _names(field.shape):
                if name in by_name and name not in done:
                    place(by_name[name])
        done[definition.name] = definition

    for definition in by_name.values():
        if definition.name not in done:
            place(definition)
    return list(done.values())


def _fields(definition: Definition) -> tuple[Field, ...]:
    return definition.shape.fields if isinstance(definition.shape, Structure) else ()


def _names(shape: Shape) -> list[str]:
    match shape:
        case Named(name=name):
            return [name]
        case Listing(item=item):
            return _names(item)
        case Table(key=key, value=value):
            return _names(key) + _names(value)
        case _:
            return []


def _imports(wire: list[str], body: str) -> str:
    typing = [name for name in ("Annotated", "ClassVar", "Literal") if f"{name}[" in body]
    helpers = [name for name in ("AsObject", "Frozen", "Unique") if f", {name}" in body]
    mapping = "from collections.abc import Mapping\n" if "Mapping[" in body else ""
    part = ", Part" if "(Part)" in body else ""
    proxy = "from types import MappingProxyType\n" if "MappingProxyType(" in body else ""
    field = "from pydantic import Field\n\n" if "Field(" in body else ""
    ours = ", ".join(sorted([*wire, *helpers]))
    return (
        "from __future__ import annotations\n\n"
        f"{mapping}{proxy}from typing import {', '.join(typing)}\n\n"
        f"{field}"
        f"from gpuaas.common.events import Event{part}\n" + (f"from gpuaas.common.wire import {ours}\n" if ours else "")
    )


def _alias(definition: Definition) -> str:
    return f"{definition.name} = {annotation(definition.shape)}\n{_docstring(definition.description, 0)}\n"


def _part(definition: Definition, shape: Shape) -> str:
    assert isinstance(shape, Structure)
    return (
        f"class {definition.name}(Part):\n{_docstring(definition.description, 4)}\n\n"
        + "\n".join(_attribute(field) for field in shape.fields)
    ).rstrip("\n")


def _event(event: EventSchema) -> str:
    redacted = {field.name: field.redacted for field in event.body.fields if field.redacted is not None}
    variables = [
        f'TYPE: ClassVar[str] = "{event.type}"',
        f'SERVICE: ClassVar[str] = "{event.service}"',
        f'ENTITY: ClassVar[str] = "{event.entity}"',
        f'SCHEMA: ClassVar[str] = "{event.path}"',
    ]
    if redacted:
        listed = [f'        "{name}": {_quoted(redacted[name])},' for name in sorted(redacted)]
        variables += [
            "PERSONAL: ClassVar[Mapping[str, str]] = MappingProxyType(",
            "    {",
            *listed,
            "    }",
            ")",
            f'DATA_SUBJECT: ClassVar[str] = "{event.raw["x-data-subject"]}"',
        ]
    return (
        f"class {event.class_name}(Event):\n{_docstring(f'{event.title}. {event.description}', 4)}\n\n"
        + "".join(f"    {line}\n" for line in variables)
        + "\n"
        + "\n".join(_attribute(field) for field in event.body.fields)
    ).rstrip("\n")


def _attribute(field: Field) -> str:
    kind = annotation(field.shape)
    default = "" if field.required else " | None = None"
    return f"    {field.name}: {kind}{default}\n{_docstring(field.description, 4)}\n"


def annotation(shape: Shape) -> str:
    """The Python annotation of a shape."""
    match shape:
        case Named(name=name) | Wire(name=name):
            return name
        case Choice(values=values):
            return f"Literal[{', '.join(_quoted(value) for value in values)}]"
        case Flag():
            return "Annotated[bool, Field(strict=True)]"
        case Text(shortest=shortest, longest=longest, pattern=pattern):
            limit = f', pattern=r"{_raw(pattern)}"' if pattern else ""
            return f"Annotated[str, Field(min_length={shortest}, max_length={longest}{limit})]"
        case Whole(least=least, most=most):
            return f"Annotated[int, Field(strict=True, ge={least}, le={most})]"
        case Listing(item=item, fewest=fewest, most=most, unique=unique):
            limit = f"Field(min_length={fewest}, max_length={most})" if fewest else f"Field(max_length={most})"
            return f"Annotated[tuple[{annotation(item)}, ...], {limit}{', Unique' if unique else ''}]"
        case Table(key=key, value=value, most=most):
            inner = f"Mapping[{annotation(key)}, {annotation(value)}]"
            return f"Annotated[{inner}, Field(max_length={most}), Frozen, AsObject]"
        case Structure():
            raise Refused("a structure without a name")


def _quoted(value: str) -> str:
    if not value.isascii() or not value.isprintable() or '"' in value or "\\" in value:
        raise Refused(f"{value!r} in an enum: plain ASCII only")
    return f'"{value}"'


def _raw(pattern: str) -> str:
    if '"' in pattern or pattern.endswith("\\"):
        raise Refused(f"pattern {pattern}: not writable as a raw string")
    return pattern


def _docstring(text: str, indent: int) -> str:
    pad = " " * indent
    safe = text.replace("\\", "\\\\").replace('"""', "'''")
    if safe.endswith('"'):
        safe += " "
    lines = textwrap.wrap(safe, _WIDTH - indent - 6, break_long_words=False, break_on_hyphens=False)
    if len(lines) == 1:
        return f'{pad}"""{lines[0]}"""'
    return f'{pad}"""' + f"\n{pad}".join(lines) + f'\n{pad}"""'
