"""Whether retired versions can still be read. One law: a new version has an upcaster, and examples prove it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from gpuaas.common.events import Upcaster

from tools.contracts.shapes import Catalogue, EventSchema
from tools.contracts.validating import complaints

Upcasters = Mapping[str, tuple[Upcaster, str]]


def missing_or_wrong(catalogue: Catalogue, upcasters: Upcasters) -> list[str]:
    """One sentence for every version that cannot be reached from the one before it."""
    by_type = {event.type: event for event in catalogue.events}
    wrong = [f"an upcaster from {name}, which has no schema" for name in upcasters if name not in by_type]
    for event in catalogue.events:
        if event.version == 1:
            continue
        retired = by_type.get(f"{event.type.rpartition('.v')[0]}.v{event.version - 1}")
        if retired is None:
            wrong.append(f"{event.path}: there is no version {event.version - 1} before it")
        else:
            wrong += _step(retired, event, upcasters)
    return wrong


def _step(retired: EventSchema, event: EventSchema, upcasters: Upcasters) -> list[str]:
    found = upcasters.get(retired.type)
    if found is None:
        return [f"{event.path}: no upcaster from {retired.type}; write one in gpuaas.contracts.upcasters"]
    upcast, target = found
    if target != event.type:
        return [f"{event.path}: the upcaster of {retired.type} leads to {target}"]
    wrong = []
    for index, example in enumerate(retired.examples):
        given = deepcopy(dict(example))
        made = upcast(given)
        where = f"{retired.path} example {index}"
        if given != example:
            wrong.append(f"{where}: its upcaster changes what it is given; it must be pure")
        wrong += [f"{where}: upcast, {event.path} refuses it: {text}" for text in complaints(event.raw, made)]
    return wrong
