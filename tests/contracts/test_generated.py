"""What is generated is committed, complete and repeatable; whoever edits it is found out."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from gpuaas.contracts.catalogue import ALL, BY_TYPE

from tests.contracts.conftest import ROOT
from tools.contracts.__main__ import main
from tools.contracts.artefacts import MODULES, SCHEMAS, artefacts, drift, write
from tools.contracts.reading import read_catalogue


def test_what_is_committed_is_what_the_schemas_say() -> None:
    assert drift(ROOT) == []
    assert main(["check"], ROOT) == 0


def test_generating_twice_gives_the_same_bytes(copy: Path) -> None:
    assert artefacts(copy) == artefacts(ROOT)
    assert write(copy) == []


def test_an_edit_of_a_generated_file_is_seen_and_undone(copy: Path) -> None:
    edited = MODULES / "billing.py"
    text = (copy / edited).read_text("utf-8")
    (copy / edited).write_text(text.replace("le=65536", "le=65537"))
    assert drift(copy) == [edited]
    assert main(["check"], copy) == 1
    assert write(copy) == [edited]
    assert (copy / edited).read_text("utf-8") == text


def test_a_changed_schema_is_seen_in_everything_that_follows_from_it(copy: Path) -> None:
    path = copy / SCHEMAS / "billing/usage-metered.v1.json"
    path.write_text(path.read_text("utf-8").replace('"GPUs held."', '"How many GPUs were held."'))
    assert drift(copy) == [MODULES / "billing.py", Path("docs/contracts/events.md")]


def test_a_file_left_over_from_a_deleted_service_is_seen_and_removed(copy: Path) -> None:
    left_over = MODULES / "dns.py"
    (copy / left_over).write_text("")
    assert drift(copy) == [left_over]
    write(copy)
    assert not (copy / left_over).exists()


def test_a_missing_file_is_seen(copy: Path) -> None:
    (copy / "schemas/asyncapi.json").unlink()
    assert drift(copy) == [Path("schemas/asyncapi.json")]


def test_a_schema_outside_the_subset_stops_the_command_with_a_sentence(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / SCHEMAS / "iam/role-bound.v1.json"
    path.write_text(path.read_text("utf-8").replace('"type": "object"', '"type": "object", "not": {}'))
    assert main(["generate"], copy) == 1
    assert "unknown keyword not" in capsys.readouterr().err


def test_the_catalogue_holds_every_newest_event_once() -> None:
    catalogue = read_catalogue(ROOT / SCHEMAS)
    newest = [event.type for event in catalogue.events if catalogue.is_newest(event)]
    assert sorted(newest) == sorted(event.TYPE for event in ALL)
    assert len(BY_TYPE) == len(ALL)


def test_the_permissions_are_in_the_installed_package_and_in_the_deployment() -> None:
    packaged = (resources.files("gpuaas.contracts") / "nats_permissions.json").read_text("utf-8")
    assert packaged == (ROOT / "deploy/base/nats/permissions.json").read_text("utf-8")
    assert set(json.loads(packaged)["users"]) >= {event.SERVICE for event in ALL}


def test_the_page_has_every_event_with_all_its_fields() -> None:
    page = (ROOT / "docs/contracts/events.md").read_text("utf-8")
    for event in read_catalogue(ROOT / SCHEMAS).events:
        _, _, after = page.partition(f'<a id="{event.service}-{event.name}-v{event.version}">')
        section = after.partition("\n### ")[0]
        assert event.description in section
        assert event.subject in section
        for field in event.body.fields:
            assert f"| `{field.name}` |" in section, (event.path, field.name)
        for link in (event.path, event.type, event.class_name):
            assert link in section
