"""Documents that a schema allows, for Hypothesis. One law: drawn from the shapes alone, corners included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from tools.contracts.shapes import (
    WIRE_TYPES,
    Choice,
    EventSchema,
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

ITEMS_MAX = 4
"""Arrays and maps are drawn up to this size; their limits are tried by the mutations."""


def documents(event: EventSchema) -> st.SearchStrategy[dict[str, Any]]:
    """Documents that the event's schema allows."""
    shapes = {definition.name: definition.shape for definition in event.definitions}
    return _of(event.body, shapes)


def _of(shape: Shape, shapes: Mapping[str, Shape]) -> st.SearchStrategy[Any]:
    match shape:
        case Named(name=name):
            return _of(shapes[name], shapes)
        case Choice(values=values):
            return st.sampled_from(values)
        case Flag():
            return st.booleans()
        case Whole(least=least, most=most):
            return st.integers(least, most)
        case Text() as text:
            return _text(text)
        case Wire(name=name):
            return _wire(name)
        case Listing(item=item, fewest=fewest, most=most, unique=unique):
            size = min(most, fewest + ITEMS_MAX)
            distinct = (lambda value: json.dumps(value, sort_keys=True)) if unique else None
            return st.lists(_of(item, shapes), min_size=fewest, max_size=size, unique_by=distinct)
        case Table(key=key, value=value, most=most):
            return st.dictionaries(_of(key, shapes), _of(value, shapes), max_size=min(most, ITEMS_MAX))
        case Structure(fields=fields):
            return st.fixed_dictionaries(
                {field.name: _of(field.shape, shapes) for field in fields if field.required},
                optional={field.name: _of(field.shape, shapes) for field in fields if not field.required},
            )


def _text(text: Text) -> st.SearchStrategy[str]:
    if text.pattern is None:
        return st.text(min_size=text.shortest, max_size=min(text.longest, text.shortest + 40))
    drawn = st.from_regex(text.pattern.removeprefix("^").removesuffix("$"), fullmatch=True)
    return drawn.filter(lambda value: text.shortest <= len(value) <= text.longest)


def _wire(name: str) -> st.SearchStrategy[str]:
    match name:
        case "Moment":
            return st.datetimes(timezones=st.just(UTC)).map(_rfc3339)
        case "Int64":
            return st.integers(-(2**63), 2**63 - 1).map(str)
        case "Count64":
            return st.integers(0, 2**63 - 1).map(str)
        case _:
            pattern = WIRE_TYPES[name]["pattern"].removeprefix("^").removesuffix("$")
            return st.from_regex(pattern, fullmatch=True)


def _rfc3339(moment: datetime) -> str:
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S.%f}Z"
