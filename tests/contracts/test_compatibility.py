"""Inside a version only an optional field may be added: each other change is planted and must be told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
from gpuaas.common.events import Event
from gpuaas.contracts.catalogue import BY_TYPE

from tests.contracts.conftest import Change
from tools.contracts.compatibility import breaches, second_opinion
from tools.contracts.python_code import module_of
from tools.contracts.reading import catalogue_of

Plant = Callable[[str, Change], dict[str, str]]

REQUESTED = "allocations/allocation-requested.v1.json"
NOTE = {"description": "what the asker wants to add", "type": "string", "minLength": 1, "maxLength": 80}


def _add_note(schema: dict[str, Any]) -> None:
    schema["properties"]["note"] = NOTE


def _add_required(schema: dict[str, Any]) -> None:
    _add_note(schema)
    schema["required"].append("note")


def _remove(schema: dict[str, Any]) -> None:
    del schema["properties"]["labels"]
    schema["required"].remove("labels")


def _rename(schema: dict[str, Any]) -> None:
    schema["properties"]["lease_seconds"] = schema["properties"].pop("lease_s")
    schema["required"] = ["lease_seconds" if name == "lease_s" else name for name in schema["required"]]


def _require(schema: dict[str, Any]) -> None:
    schema["required"].append("gpu_model")


def _release(schema: dict[str, Any]) -> None:
    schema["required"].remove("labels")


def _widen(schema: dict[str, Any]) -> None:
    schema["properties"]["priority"]["maximum"] = 2000


def _narrow(schema: dict[str, Any]) -> None:
    schema["properties"]["priority"]["maximum"] = 10


def _new_word(schema: dict[str, Any]) -> None:
    schema["$defs"]["TopologyLevel"]["enum"].append("row")


def _word_gone(schema: dict[str, Any]) -> None:
    schema["$defs"]["TopologyLevel"]["enum"].remove("pod")


def _pattern(schema: dict[str, Any]) -> None:
    schema["$defs"]["Label"]["pattern"] = "^[a-z]+$"


def _type(schema: dict[str, Any]) -> None:
    schema["properties"]["priority"] = {"description": "as a word", "type": "string", "minLength": 1, "maxLength": 9}


def _deep(schema: dict[str, Any]) -> None:
    schema["$defs"]["Workload"]["required"].remove("command")


def _open(schema: dict[str, Any]) -> None:
    schema["additionalProperties"] = True


def _format(schema: dict[str, Any]) -> None:
    schema["$defs"]["Label"]["format"] = "hostname"


def _personal(schema: dict[str, Any]) -> None:
    schema["properties"]["project_id"]["x-personal-data"] = True


def _entity(schema: dict[str, Any]) -> None:
    schema["x-entity"] = "request"


BREACHES: list[tuple[str, Change, str]] = [
    ("a new field is required", _add_required, "$.note is new and required"),
    ("a field is removed", _remove, "$.labels was removed or renamed"),
    ("a field is renamed", _rename, "$.lease_s was removed or renamed"),
    ("an optional field becomes required", _require, "$.gpu_model became required"),
    ("a required field becomes optional", _release, "$.labels became optional"),
    ("a limit is widened", _widen, "$.priority.maximum changed from 1000 to 2000"),
    ("a limit is narrowed", _narrow, "$.priority.maximum changed from 1000 to 10"),
    ("a vocabulary grows", _new_word, "$.topology_level.enum changed"),
    ("a vocabulary shrinks", _word_gone, "$.topology_level.enum changed"),
    ("a pattern changes", _pattern, "$.allocation_id.pattern changed"),
    ("a type changes", _type, '$.priority.type changed from "integer" to "string"'),
    ("a structure inside changes", _deep, "$.workload.command became optional"),
    ("an event is opened", _open, "$.additionalProperties changed"),
    ("a format is added", _format, "now says format"),
    ("a field becomes personal", _personal, "$.project_id now says x-personal-data"),
    ("an event moves to another entity", _entity, "$.x-entity changed"),
]


@pytest.mark.parametrize(("change", "told"), [each[1:] for each in BREACHES], ids=[each[0] for each in BREACHES])
def test_a_broken_promise_is_told(texts: Mapping[str, str], planted: Plant, change: Change, told: str) -> None:
    found = breaches(texts, planted(REQUESTED, change))
    assert any(told in text for text in found), found
    assert all(text.startswith(REQUESTED) for text in found)


def test_the_same_schemas_keep_all_promises(texts: Mapping[str, str]) -> None:
    assert breaches(texts, texts) == []
    assert breaches({}, texts) == []


def test_an_optional_field_may_be_added(texts: Mapping[str, str], planted: Plant) -> None:
    assert breaches(texts, planted(REQUESTED, _add_note)) == []


def test_an_optional_field_may_be_added_deep_inside(texts: Mapping[str, str], planted: Plant) -> None:
    def change(schema: dict[str, Any]) -> None:
        schema["$defs"]["Workload"]["properties"]["note"] = NOTE

    assert breaches(texts, planted(REQUESTED, change)) == []


def test_words_may_be_said_better(texts: Mapping[str, str], planted: Plant) -> None:
    def change(schema: dict[str, Any]) -> None:
        schema["title"] = "GPUs asked for"
        schema["properties"]["priority"]["description"] = "The higher, the sooner."
        schema["examples"].pop()

    assert breaches(texts, planted(REQUESTED, change)) == []


def test_text_may_move_into_a_definition(texts: Mapping[str, str], planted: Plant) -> None:
    def change(schema: dict[str, Any]) -> None:
        field = schema["properties"]["lease_s"]
        schema["properties"]["lease_s"] = {"$ref": "#/$defs/LeaseSeconds", "description": field.pop("description")}
        schema["$defs"]["LeaseSeconds"] = {**field, "description": "How long GPUs are lent."}

    assert breaches(texts, planted(REQUESTED, change)) == []


def test_a_field_called_description_is_a_field(texts: Mapping[str, str], planted: Plant) -> None:
    def change(schema: dict[str, Any]) -> None:
        schema["properties"]["description"]["maxLength"] = 9

    path = "billing/ledger-transfer-posted.v1.json"
    assert breaches(texts, planted(path, change)) == [f"{path}: $.description.maxLength changed from 500 to 9"]


def test_an_event_file_is_never_deleted(texts: Mapping[str, str]) -> None:
    rest = {path: text for path, text in texts.items() if path != REQUESTED}
    assert breaches(texts, rest) == [f"{REQUESTED}: deleted, but the log holds events that only it describes"]


@pytest.mark.parametrize(
    "change", [_add_required, _remove, _require, _release, _widen, _narrow, _new_word, _type, _deep]
)
def test_the_second_opinion_alone_sees_it_too(texts: Mapping[str, str], planted: Plant, change: Change) -> None:
    assert second_opinion(json.loads(texts[REQUESTED]), json.loads(planted(REQUESTED, change)[REQUESTED]))


def _classes(texts: Mapping[str, str], name: str) -> Mapping[str, type[Event]]:
    """The classes of the allocations service as `texts` would generate them."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(module_of(catalogue_of(texts), "allocations"), module.__dict__)
    return {made.TYPE: made for made in module.__dict__["EVENTS"]}


def test_old_and_new_programs_run_side_by_side(texts: Mapping[str, str], planted: Plant) -> None:
    newer = _classes(planted(REQUESTED, _add_note), "contracts_of_tomorrow")
    known = "gpuaas.allocations.allocation-requested.v1"
    example = json.loads(texts[REQUESTED])["examples"][0]
    old_event = BY_TYPE[known].model_validate(example).model_dump_json(exclude_none=True)
    new_event = newer[known].model_validate({**example, "note": "before noon"}).model_dump_json(exclude_none=True)
    assert json.loads(newer[known].model_validate_json(old_event).model_dump_json(exclude_none=True)) == example
    assert json.loads(BY_TYPE[known].model_validate_json(new_event).model_dump_json(exclude_none=True)) == example
