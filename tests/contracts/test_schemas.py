"""The laws of a schema file, each with a planted breach."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.contracts.conftest import Change
from tools.contracts.parsing import Refused
from tools.contracts.reading import FILE_BYTES_MAX, catalogue_of

Plant = Callable[[str, Change], dict[str, str]]

STARTED = "allocations/allocation-started.v1.json"
REQUESTED = "allocations/allocation-requested.v1.json"


def _set(*steps: str, to: Any) -> Change:
    def change(schema: dict[str, Any]) -> None:
        node = schema
        for step in steps[:-1]:
            node = node[step]
        node[steps[-1]] = to

    return change


def _drop(*steps: str) -> Change:
    def change(schema: dict[str, Any]) -> None:
        node = schema
        for step in steps[:-1]:
            node = node[step]
        del node[steps[-1]]

    return change


BREACHES: list[tuple[str, Change, str]] = [
    ("no title", _drop("title"), "missing title"),
    ("no description", _drop("description"), "missing description"),
    ("a description nobody learns from", _set("description", to="Started."), "newcomer"),
    ("no examples", _set("examples", to=[]), "at least one"),
    ("no owner", _drop("x-owner"), "missing x-owner"),
    ("another service's event", _set("x-owner", to="billing"), "x-owner"),
    ("no entity", _drop("x-entity"), "missing x-entity"),
    ("an entity that is no token", _set("x-entity", to="Alloc.ation"), "label"),
    ("a subject elsewhere", _set("x-subject", to="events.billing.allocation.{t}.{a}"), "x-subject"),
    ("a subject with a wildcard", _set("x-subject", to="events.allocations.allocation.*.{a}"), "x-subject"),
    ("another id", _set("$id", to="gpuaas:events/allocations/allocation-started.v2"), "$id"),
    ("another dialect", _set("$schema", to="http://json-schema.org/draft-07/schema#"), "$schema"),
    ("an open event", _set("additionalProperties", to=True), "additionalProperties"),
    ("an open structure", _drop("$defs", "Member", "additionalProperties"), "additionalProperties"),
    ("a field nobody described", _drop("properties", "gpu_count", "description"), "description"),
    ("a definition nobody described", _drop("$defs", "Label", "description"), "description"),
    ("a number without limit", _drop("properties", "gpu_count", "maximum"), "a limit on everything"),
    ("a list without limit", _drop("properties", "members", "maxItems"), "a limit on everything"),
    ("a text without limit", _drop("$defs", "Label", "maxLength"), "a limit on everything"),
    ("limits the wrong way round", _set("properties", "gpu_count", "minimum", to=1 << 20), "limits"),
    ("a limit that JSON cannot hold", _set("properties", "gpu_count", "maximum", to=1 << 53), "2^53"),
    ("a number with a point", _set("properties", "gpu_count", "type", to="number"), "not in the subset"),
    ("an unknown keyword", _set("properties", "gpu_count", "multipleOf", to=2), "unknown keyword multipleOf"),
    ("an unknown keyword at the root", _set("if", to={}), "unknown keyword if"),
    ("a default", _set("properties", "gpu_count", "default", to=1), "unknown keyword default"),
    ("an enum without a name", _set("properties", "pool_id", to={"description": "a b", "enum": ["x"]}), "$defs"),
    ("another spelling of a moment", _set("$defs", "Moment", "pattern", to="^.*$"), "must be"),
    ("a format of its own", _set("$defs", "Label", "format", to="hostname"), "$defs"),
    ("a loose pattern", _set("$defs", "Label", "pattern", to="[a-z]+"), "anchored"),
    ("a look-around", _set("$defs", "Label", "pattern", to="^(?!x)[a-z]+$"), "look-around"),
    ("a reference to nowhere", _set("properties", "pool_id", "$ref", to="#/$defs/Pool"), "no definition Pool"),
    ("a reference to another file", _set("properties", "pool_id", "$ref", to="other.json"), "same file"),
    ("a definition that nothing uses", _set("$defs", "Spare", to={"description": "a b c", "type": "boolean"}), "Spare"),
    ("a field Python cannot name", _set("properties", "class", to={"description": "a b", "type": "boolean"}), "snake"),
    (
        "a field that hides pydantic's",
        _set("properties", "copy", to={"description": "a b", "type": "boolean"}),
        "snake",
    ),
    ("a required field that is not there", _set("required", to=["nothing"]), "no such property nothing"),
    (
        "personal data deep inside",
        _set("$defs", "Member", "properties", "node_id", "x-personal-data", to=True),
        "x-pers",
    ),
]


@pytest.mark.parametrize(("change", "told"), [breach[1:] for breach in BREACHES], ids=[each[0] for each in BREACHES])
def test_a_schema_outside_the_subset_is_refused(planted: Plant, change: Change, told: str) -> None:
    with pytest.raises(Refused) as refused:
        catalogue_of(planted(STARTED, change))
    assert told in str(refused.value)
    assert STARTED in str(refused.value)


def test_a_structure_may_not_contain_itself(planted: Plant) -> None:
    inside = {"$ref": "#/$defs/Workload", "description": "itself again"}
    with pytest.raises(Refused, match="contains itself"):
        catalogue_of(planted(REQUESTED, _set("$defs", "Workload", "properties", "inner", to=inside)))


def test_a_map_has_text_keys(planted: Plant) -> None:
    key = {"$ref": "#/$defs/Workload"}
    with pytest.raises(Refused, match="keys of a JSON object are strings"):
        catalogue_of(planted(REQUESTED, _set("properties", "labels", "propertyNames", to=key)))


def test_a_definition_is_no_list(planted: Plant) -> None:
    many = {"description": "a list of things", "type": "array", "maxItems": 3, "items": {"$ref": "#/$defs/Label"}}

    def change(schema: dict[str, Any]) -> None:
        schema["$defs"]["Many"] = many
        schema["properties"]["pool_id"] = {"$ref": "#/$defs/Many", "description": "many pools"}

    with pytest.raises(Refused, match="a single value"):
        catalogue_of(planted(STARTED, change))


def test_a_name_means_the_same_in_every_file(planted: Plant) -> None:
    with pytest.raises(Refused, match=r"\$defs/Member: differs from the one in"):
        catalogue_of(planted(STARTED, _set("$defs", "Member", "properties", "member", "maximum", to=7)))


def test_an_entity_has_one_subject(planted: Plant) -> None:
    change = _set("x-subject", to="events.allocations.allocation.platform.{allocation_id}")
    with pytest.raises(Refused, match="for the same entity"):
        catalogue_of(planted(STARTED, change))


def test_a_structure_is_not_named_like_an_event(planted: Plant) -> None:
    def rename(schema: dict[str, Any]) -> None:
        schema["$defs"]["ClaimGranted"] = schema["$defs"].pop("Topology")
        schema["properties"]["topology"]["$ref"] = "#/$defs/ClaimGranted"

    with pytest.raises(Refused, match="also the name of a definition"):
        catalogue_of(planted("allocations/pool-capacity-added.v1.json", rename))


@pytest.mark.parametrize(
    "path", ["stray.json", "allocations/notes.md", "allocations/started.json", "a/b/c.v1.json", "iam/role.v0.json"]
)
def test_a_stray_file_is_refused(texts: Mapping[str, str], path: str) -> None:
    with pytest.raises(Refused, match="an event schema is"):
        catalogue_of({**texts, path: "{}"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "a schema is an object"),
        ('{"title": "a", "title": "b"}', "the same key stands twice"),
        (json.dumps({"title": "x" * FILE_BYTES_MAX}), "larger than"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(texts: Mapping[str, str], text: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        catalogue_of({**texts, STARTED: text})


def test_no_contract_names_a_provider(texts: Mapping[str, str]) -> None:
    providers = ("kubernetes", "ironic", "keycloak", "maas", "cloudflare", "pomerium", "openstack", "postgres")
    assert [(path, word) for path, text in texts.items() for word in providers if word in text.lower()] == []


def test_every_file_is_written_as_people_read_it(texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        assert text.endswith("}\n"), path
        assert "\t" not in text, path
        assert not any(line != line.rstrip() for line in text.splitlines()), path
