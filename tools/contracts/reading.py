"""Reads the event schemas. One law: whatever a file says outside the closed subset is refused, with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tools.contracts.parsing import Node, Refused, definition_of, equal, structure_of, words
from tools.contracts.shapes import (
    LABEL,
    Catalogue,
    Choice,
    Definition,
    EventSchema,
    Named,
    Structure,
    Table,
    Text,
    Wire,
)

_FILE: Final = re.compile(r"(?P<name>[a-z][a-z0-9-]*)\.v(?P<version>[1-9][0-9]{0,3})\.json")
_SUBJECT_TOKEN: Final = re.compile(r"[a-z0-9-]+|\{[a-z0-9_]+\}")
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_OBJECT_KEYS: Final = ("type", "additionalProperties", "required", "properties")
_ROOT_KEYS: Final = frozenset(
    [
        "$schema",
        "$id",
        "title",
        "description",
        "x-owner",
        "x-entity",
        "x-subject",
        "x-data-subject",
        "$defs",
        "examples",
        *_OBJECT_KEYS,
    ]
)
_TITLE_WORDS_MIN: Final = 2
_DESCRIPTION_WORDS_MIN: Final = 5
FILE_BYTES_MAX: Final = 64 * 1024
"""Largest schema file in bytes."""


def read_catalogue(root: Path) -> Catalogue:
    """Every `<service>/<name>.v<n>.json` below `root`.

    Raises:
        Refused: a file that is no event schema, or one outside the closed subset.
    """
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return catalogue_of({str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in files})


def catalogue_of(texts: Mapping[str, str]) -> Catalogue:
    """The catalogue of schema files given as path below `schemas/events` → text.

    Raises:
        Refused: as `read_catalogue`.
    """
    events = [read_event(Path(path), text) for path, text in texts.items()]
    catalogue = Catalogue(tuple(sorted(events, key=lambda e: (e.service, e.entity, e.name, e.version))))
    _one_meaning_for_one_name([event for event in catalogue.events if catalogue.is_newest(event)])
    _one_subject_for_one_entity(catalogue.events)
    return catalogue


def read_event(path: Path, text: str) -> EventSchema:
    """One schema file; `path` is relative to `schemas/events`.

    Raises:
        Refused: it is outside the closed subset.
    """
    found = _FILE.fullmatch(path.name)
    if found is None or len(path.parts) != 2 or not re.fullmatch(LABEL, path.parts[0]):
        raise Refused(f"{path}: an event schema is <service>/<what-happened>.v<n>.json")
    service, name, version = path.parts[0], found["name"], int(found["version"])
    where = str(path)
    raw = _json(text, where)
    _check_root(raw, where)
    equal(raw["$id"], f"gpuaas:events/{service}/{name}.v{version}", f"{where} $id")
    equal(raw["x-owner"], service, f"{where} x-owner")
    definitions = tuple(definition_of(key, node, where) for key, node in raw.get("$defs", {}).items())
    body = structure_of({key: raw[key] for key in _OBJECT_KEYS}, where, True)
    _check_references(raw, where)
    event = EventSchema(
        service=service,
        name=name,
        version=version,
        entity=raw["x-entity"],
        subject=raw["x-subject"],
        title=raw["title"],
        description=raw["description"],
        body=body,
        definitions=definitions,
        examples=tuple(raw["examples"]),
        raw=raw,
    )
    _check_subject(event, where)
    _check_map_keys(event, where)
    _check_personal(event, where)
    return event


def _json(text: str, where: str) -> Mapping[str, Any]:
    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise Refused(f"{where}: the same key stands twice in one object")
        return dict(pairs)

    if len(text.encode()) > FILE_BYTES_MAX:
        raise Refused(f"{where}: larger than {FILE_BYTES_MAX:,} bytes")
    try:
        raw = json.loads(text, object_pairs_hook=without_repeats)
    except json.JSONDecodeError as broken:
        raise Refused(f"{where}: not JSON: {broken}") from None
    if not isinstance(raw, dict):
        raise Refused(f"{where}: a schema is an object")
    return raw


def _check_root(raw: Node, where: str) -> None:
    if missing := _ROOT_KEYS - {"$defs", "x-data-subject"} - raw.keys():
        raise Refused(f"{where}: missing {', '.join(sorted(missing))}")
    if unknown := raw.keys() - _ROOT_KEYS:
        raise Refused(f"{where}: unknown keyword {', '.join(sorted(unknown))}")
    equal(raw["$schema"], _DIALECT, f"{where} $schema")
    words(raw["title"], f"{where} title", _TITLE_WORDS_MIN)
    words(raw["description"], f"{where} description", _DESCRIPTION_WORDS_MIN)
    if not isinstance(raw["x-entity"], str) or not re.fullmatch(LABEL, raw["x-entity"]):
        raise Refused(f"{where} x-entity: an entity is an RFC 1123 label")
    examples = raw["examples"]
    if not isinstance(examples, list) or not examples or not all(isinstance(each, dict) for each in examples):
        raise Refused(f"{where} examples: at least one, and each an object")


def _check_subject(event: EventSchema, where: str) -> None:
    prefix = f"events.{event.service}.{event.entity}."
    tokens = str(event.subject).removeprefix(prefix).split(".")
    wrong = not str(event.subject).startswith(prefix) or len(tokens) != 2
    if wrong or not all(_SUBJECT_TOKEN.fullmatch(token) for token in tokens):
        raise Refused(f"{where} x-subject: write {prefix}<tenant>.<id>, each a word or a {{field}}")


def _check_personal(event: EventSchema, where: str) -> None:
    """Who owns the personal data is said by a required field, or nobody could ask for it to be forgotten."""
    named = event.raw.get("x-data-subject")
    if (named is not None) != any(field.personal for field in event.body.fields):
        raise Refused(f"{where} x-data-subject: where a field is personal, and only there")
    if named is not None and not any(field.name == named and field.required for field in event.body.fields):
        raise Refused(f"{where} x-data-subject: a required field that holds the id of the person")


def _check_references(raw: Node, where: str) -> None:
    """Every reference has its definition, every definition is used, none contains itself."""
    definitions: Node = raw.get("$defs", {})
    seen: set[str] = set()

    def visit(node: object, path: tuple[str, ...]) -> None:
        for name in _targets(node):
            if name not in definitions:
                raise Refused(f"{where}: no definition {name}")
            if name in path:
                raise Refused(f"{where}: {name} contains itself")
            seen.add(name)
            visit(definitions[name], (*path, name))

    visit(raw["properties"], ())
    if unused := definitions.keys() - seen:
        raise Refused(f"{where}: definitions that nothing uses: {', '.join(sorted(unused))}")


def _targets(node: object) -> Iterator[str]:
    """Names of the definitions that `node` refers to."""
    if isinstance(node, Mapping):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/$defs/")
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _check_map_keys(event: EventSchema, where: str) -> None:
    texts = {each.name for each in event.definitions if isinstance(each.shape, Text | Choice | Wire)}
    structures = [event.body, *(each.shape for each in event.definitions if isinstance(each.shape, Structure))]
    for field in (field for structure in structures for field in structure.fields):
        match field.shape:
            case Table(key=Named(name=name)) if name not in texts:
                raise Refused(f"{where} {field.name} propertyNames: the keys of a JSON object are strings")
            case _:
                pass


def _one_meaning_for_one_name(events: Sequence[EventSchema]) -> None:
    """A name means the same in all files, whoever owns them, so that readers of several need not ask whose it is."""
    first: dict[str, tuple[Definition, str]] = {}
    for event in events:
        for definition in event.definitions:
            known, path = first.setdefault(definition.name, (definition, event.path))
            if known != definition:
                raise Refused(f"{event.path} $defs/{definition.name}: differs from the one in {path}")
    for event in events:
        if event.class_name in first:
            other = first[event.class_name][1]
            raise Refused(f"{event.path}: {event.class_name} is also the name of a definition in {other}")


def _one_subject_for_one_entity(events: Sequence[EventSchema]) -> None:
    first: dict[tuple[str, str], EventSchema] = {}
    for event in events:
        known = first.setdefault((event.service, event.entity), event)
        if known.subject != event.subject:
            raise Refused(f"{event.path} x-subject: {known.path} says {known.subject} for the same entity")
