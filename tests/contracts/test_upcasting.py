"""A new version comes with an upcaster, and the retired version's examples prove it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from gpuaas.common.events import Upcaster, Vocabulary
from gpuaas.contracts.upcasters import UPCASTERS

from tools.contracts.python_code import module_of
from tools.contracts.reading import catalogue_of
from tools.contracts.shapes import Catalogue
from tools.contracts.upcasting import missing_or_wrong

OLD = "allocations/claim-returned.v1.json"
NEW = "allocations/claim-returned.v2.json"
OLD_TYPE = "gpuaas.allocations.claim-returned.v1"
NEW_TYPE = "gpuaas.allocations.claim-returned.v2"


@pytest.fixture
def two_versions(texts: Mapping[str, str]) -> Catalogue:
    """The catalogue with a second version of claim-returned, which requires `forced`."""
    schema = json.loads(texts[OLD])
    schema["$id"] = schema["$id"].replace(".v1", ".v2")
    schema["properties"]["forced"] = {"description": "Whether it was taken back.", "type": "boolean"}
    schema["required"].append("forced")
    schema["examples"] = [{**schema["examples"][0], "forced": True}]
    return catalogue_of({**texts, NEW: json.dumps(schema)})


def _voluntary(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "forced": False}


def _changing(data: dict[str, Any]) -> dict[str, Any]:
    data["forced"] = False
    return data


def _forgetful(data: dict[str, Any]) -> dict[str, Any]:
    return dict(data)


def test_what_is_committed_can_be_read() -> None:
    from tests.contracts.conftest import ROOT
    from tools.contracts.artefacts import SCHEMAS
    from tools.contracts.reading import read_catalogue

    assert missing_or_wrong(read_catalogue(ROOT / SCHEMAS), UPCASTERS) == []


def test_a_new_version_with_its_upcaster_is_accepted(two_versions: Catalogue) -> None:
    assert missing_or_wrong(two_versions, {OLD_TYPE: (_voluntary, NEW_TYPE)}) == []


@pytest.mark.parametrize(
    ("upcasters", "told"),
    [
        ({}, f"no upcaster from {OLD_TYPE}"),
        ({OLD_TYPE: (_voluntary, OLD_TYPE)}, f"leads to {OLD_TYPE}"),
        ({OLD_TYPE: (_forgetful, NEW_TYPE)}, "'forced' is a required property"),
        ({OLD_TYPE: (_changing, NEW_TYPE)}, "it must be pure"),
        (
            {OLD_TYPE: (_voluntary, NEW_TYPE), "gpuaas.dns.zone-added.v1": (_voluntary, NEW_TYPE)},
            "gpuaas.dns.zone-added.v1, which has no schema",
        ),
    ],
)
def test_a_version_that_cannot_be_reached_is_told(
    two_versions: Catalogue, upcasters: Mapping[str, tuple[Upcaster, str]], told: str
) -> None:
    found = missing_or_wrong(two_versions, upcasters)
    assert len(found) == 1
    assert told in found[0]


def test_versions_have_no_holes(texts: Mapping[str, str]) -> None:
    schema = json.loads(texts[OLD])
    schema["$id"] = schema["$id"].replace(".v1", ".v3")
    catalogue = catalogue_of({**texts, NEW.replace("v2", "v3"): json.dumps(schema)})
    assert missing_or_wrong(catalogue, {}) == [
        "allocations/claim-returned.v3.json: there is no version 2 before it",
    ]


def test_only_the_newest_version_has_a_class_and_reads_the_retired_one(two_versions: Catalogue) -> None:
    scope: dict[str, Any] = {"__name__": "gpuaas.contracts.allocations"}
    exec(module_of(two_versions, "allocations"), scope)
    made = scope["ClaimReturned"]
    made.model_rebuild(_types_namespace=scope)
    assert made.TYPE == NEW_TYPE
    vocabulary = Vocabulary(made, upcasters={OLD_TYPE: (_voluntary, NEW_TYPE)})
    old = json.dumps({"pool_id": "h100", "allocation_id": "a-1", "reason": "completed"}).encode()
    assert vocabulary.read(OLD_TYPE, old) == made(pool_id="h100", allocation_id="a-1", reason="completed", forced=False)
