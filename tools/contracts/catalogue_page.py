"""The event catalogue for people. One law: every event stands there with who says it, where, and an example."""

from __future__ import annotations

import json
from typing import Final

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

_PREFACE: Final = """\
<!-- Generated from schemas/events by `python -m tools.contracts generate`; do not edit. -->

# Event catalogue

Everything that happens in GPUaaS is one of these facts, appended once to the log and never changed. An event belongs
to the history of one entity: its NATS subject is `events.<service>.<entity>.<tenant>.<id>`, with the tenant `platform`
for what belongs to no tenant. On the wire it is the `data` of a CloudEvent. In Python it is a frozen class:
`from gpuaas.contracts.<service> import <Class>`.

How values are written: an **id** is 1 to 63 of a–z, 0–9 and inner hyphens. A **moment** is RFC 3339 in UTC with six
digits of microseconds, an interval is half open (its end is the first instant behind it). **64-bit counts** and
**decimals** are strings, because JSON numbers are not exact. A field that may be absent is marked *optional* and is
left out, never `null`. Fields marked *personal* hold personal data.

## To add or change an event

1. Write or change the file in `schemas/events/<service>/` first. A file that exists may only gain optional fields;
   anything else is a new file `<name>.v<n+1>.json` with an upcaster in `gpuaas.contracts.upcasters`.
2. `python -m tools.contracts generate`, and commit what it wrote.
3. `python -m tools.contracts check` (nothing drifted) and `python -m tools.contracts compat` (nobody's reader broke).
"""


def catalogue_page(catalogue: Catalogue) -> str:
    """The page as Markdown."""
    overview = [
        f"\n## Services\n\n| service | events | entities |\n|---|---|---|\n{_services(catalogue)}\n",
    ]
    return _PREFACE + "".join(overview) + "".join(_service(catalogue, service) for service in catalogue.services)


def _services(catalogue: Catalogue) -> str:
    rows = []
    for service in catalogue.services:
        events = catalogue.of(service)
        entities = ", ".join(f"`{name}`" for name in dict.fromkeys(event.entity for event in events))
        rows.append(f"| [{service}](#{service}) | {len(events)} | {entities} |")
    return "\n".join(rows)


def _service(catalogue: Catalogue, service: str) -> str:
    events = catalogue.of(service)
    rows = "\n".join(
        f"| [{event.class_name}](#{_anchor(event)}) | `{event.entity}` | `{event.subject}` |" for event in events
    )
    return (
        f"\n## {service}\n\n| event | entity | subject |\n|---|---|---|\n{rows}\n"
        + "".join(_event(event, catalogue.is_newest(event)) for event in events)
        + _vocabulary(service, tuple(event for event in events if catalogue.is_newest(event)))
    )


def _anchor(event: EventSchema) -> str:
    return f"{event.service}-{event.name}-v{event.version}"


def _event(event: EventSchema, newest: bool) -> str:
    retired = (
        "" if newest else "\n\n**Retired:** nobody writes this version any more; readers get it as the newest one."
    )
    examples = "".join(
        f"\n```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n" for example in event.examples
    )
    return (
        f'\n### <a id="{_anchor(event)}"></a>{event.title}\n\n'
        f"{event.description}{retired}\n\n"
        f"type `{event.type}` · class `{event.class_name}` · owner `{event.service}` · entity `{event.entity}` · "
        f"subject `{event.subject}` · schema [`{event.path}`](../../schemas/events/{event.path})\n\n"
        f"{_fields(event.body)}{examples}"
    )


def _fields(structure: Structure) -> str:
    rows = "\n".join(f"| `{each.name}` | {_kind(each)} | {_cell(each.description)} |" for each in structure.fields)
    return f"| field | kind | meaning |\n|---|---|---|\n{rows}\n"


def _vocabulary(service: str, events: tuple[EventSchema, ...]) -> str:
    """The definitions that the service's events share: structures as tables, the rest as lines."""
    known: dict[str, Definition] = {each.name: each for event in events for each in event.definitions}
    parts = []
    for name in sorted(known):
        parts.append(f"\n#### {name}\n\n{known[name].description}\n")
        match known[name].shape:
            case Structure() as structure:
                parts.append(f"\n{_fields(structure)}")
            case Choice(values=values):
                parts.append(f"\nOne of {', '.join(f'`{value}`' for value in values)}.\n")
            case _:
                pass
    return f"\n### Structures and vocabularies of {service}\n" + "".join(parts)


def _kind(field: Field) -> str:
    marks = ("" if field.required else " · *optional*") + (" · *personal*" if field.personal else "")
    return _cell(_shape(field.shape)) + marks


def _shape(shape: Shape) -> str:
    match shape:
        case Named(name=name) | Wire(name=name):
            return name
        case Text(shortest=shortest, longest=longest, pattern=pattern):
            like = f" like `{pattern}`" if pattern else ""
            return f"text of {shortest}–{longest}{like}"
        case Whole(least=least, most=most):
            return f"integer {least}–{most}"
        case Flag():
            return "boolean"
        case Listing(item=item, fewest=fewest, most=most, unique=unique):
            return f"{fewest}–{most} × {_shape(item)}{', no repeats' if unique else ''}"
        case Table(key=key, value=value, most=most):
            return f"object of ≤ {most}: {_shape(key)} → {_shape(value)}"
        case Choice() | Structure():
            raise AssertionError("enums and structures have names")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
