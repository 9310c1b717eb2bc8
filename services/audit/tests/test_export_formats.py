"""Copies in forms that others read. One law: OCSF is held against its whole published schema, closed objects too."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from gpuaas.audit.domain.export_formats import OCSF_VERSION, csv_head, csv_line, json_line, ocsf_line
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema  # type: ignore[import-untyped]

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
ROW: dict[str, Any] = {
    "position": 7,
    "tree": "acme",
    "leaf_index": 3,
    "time": "2026-05-01T12:00:00.000000Z",
    "happened_at": NOON,
    "recorded_at": NOON,
    "type": "gpuaas.iam.project-created.v1",
    "subject": "events.iam.project.acme.ml",
    "event_id": "e-1",
    "actor": "mira",
    "actor_kind": "user",
    "on_behalf_of": None,
    "project_id": "ml",
    "correlation_id": "c-1",
    "causation_id": "e-0",
    "outcome": "success",
    "payload_sha256": "00" * 32,
}
UNREADABLE = {name: None for name in ROW if name not in ("position", "tree", "leaf_index", "recorded_at", "subject")}


@cache
def api_activity() -> Draft202012Validator:
    """The class with every object that it refers to, closed: no member that the schema does not know."""
    published = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=OCSF_VERSION))
    schema = published.get_class_schema(published.lookup_class_name_from_uid(class_uid=6003), profiles=[])
    assert schema["additionalProperties"] is False
    return Draft202012Validator(schema)


def complaints(document: dict[str, Any]) -> list[str]:
    return [f"{list(each.absolute_path)}: {each.message}" for each in api_activity().iter_errors(document)]


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"outcome": "failure", "actor_kind": "service"},
        {"actor_kind": "service-account", "project_id": None, "correlation_id": None},
        {**UNREADABLE, "outcome": "unknown", "payload_sha256": "ff" * 32},
        {**UNREADABLE, "subject": "events.\ufffd", "outcome": "unknown", "payload_sha256": ""},
        {"actor": '\u00fc\u4e2d\u6587 "', "happened_at": datetime(1, 1, 2, tzinfo=UTC)},
    ],
)
def test_a_row_of_any_kind_satisfies_the_whole_ocsf_schema(other: dict[str, Any]) -> None:
    assert complaints(json.loads(ocsf_line({**ROW, **other}, "gpuaas.example/dev"))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("time",), "2026-05-01"),
        (("metadata", "product"), {}),
        (("actor", "user", "type_id"), 12_345),
        (("resources", 0, "colour"), "red"),
        (("invented",), 1),
        (("status_id",), None),
    ],
)
def test_the_ocsf_schema_that_we_hold_against_says_no(path: tuple[Any, ...], value: Any) -> None:
    document: Any = json.loads(ocsf_line(ROW, "gpuaas.example/dev"))
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert complaints(document)


def test_a_cell_that_a_spreadsheet_would_run_is_harmless() -> None:
    row = {**ROW, "actor": "=cmd|'/c calc'!A1", "subject": 'with "quotes", commas\nand lines'}
    head, cells = csv.reader(io.StringIO((csv_head() + csv_line(row)).decode()))
    told = dict(zip(head, cells, strict=True))
    assert told["actor"] == "'=cmd|'/c calc'!A1"
    assert told["subject"] == row["subject"]
    assert told["on_behalf_of"] == ""


def test_a_line_of_json_is_the_row() -> None:
    assert json.loads(json_line(ROW)) == {**ROW, "happened_at": NOON.isoformat(), "recorded_at": NOON.isoformat()}
