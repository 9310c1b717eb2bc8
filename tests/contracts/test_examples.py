"""Every example says what its schema says, to the schema and to the class alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gpuaas.common.events import Event
from gpuaas.contracts.catalogue import ALL, BY_TYPE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.contracts.documents import documents
from tests.contracts.mutations import mutations
from tools.contracts.artefacts import SCHEMAS
from tools.contracts.reading import read_catalogue
from tools.contracts.shapes import EventSchema
from tools.contracts.validating import complaints, wrong_examples

CATALOGUE = read_catalogue(Path(__file__).resolve().parents[2] / SCHEMAS)
EXAMPLES = [
    pytest.param(event, example, id=f"{event.path}#{index}")
    for event in CATALOGUE.events
    for index, example in enumerate(event.examples)
]


def _class_of(event: EventSchema) -> type[Event]:
    return BY_TYPE[event.type]


def _refuses(made: type[Event], document: Any) -> bool:
    try:
        made.model_validate_json(json.dumps(document))
    except ValidationError:
        return True
    return False


@pytest.mark.parametrize(("event", "example"), EXAMPLES)
def test_an_example_is_valid_and_comes_back_as_it_was(event: EventSchema, example: dict[str, Any]) -> None:
    assert complaints(event.raw, example) == []
    fact = _class_of(event).model_validate_json(json.dumps(example))
    assert json.loads(fact.model_dump_json(exclude_none=True)) == example
    assert _class_of(event).model_validate(example) == fact
    assert hash(fact) == hash(fact.model_copy(deep=True))


@pytest.mark.parametrize(("event", "example"), EXAMPLES)
def test_a_document_wrong_in_one_place_is_refused_by_schema_and_class(
    event: EventSchema, example: dict[str, Any]
) -> None:
    tried = 0
    for what, document in mutations(event.raw, example):
        tried += 1
        assert complaints(event.raw, document), f"the schema takes it: {what}"
        assert _refuses(_class_of(event), document), f"the class takes it: {what}"
    assert tried >= 5 * len(example)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_the_schema_allows_the_class_reads_and_writes_back(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(CATALOGUE.events))
    document = data.draw(documents(event))
    assert complaints(event.raw, document) == []
    fact = _class_of(event).model_validate_json(json.dumps(document))
    assert json.loads(fact.model_dump_json(exclude_none=True)) == document


@pytest.mark.parametrize("event", CATALOGUE.events, ids=lambda event: event.path)
def test_writers_are_closed_and_readers_tolerant(event: EventSchema) -> None:
    newer = {**event.examples[0], "a_field_of_next_year": {"deep": [1]}}
    assert complaints(event.raw, newer)
    fact = _class_of(event).model_validate_json(json.dumps(newer))
    assert json.loads(fact.model_dump_json(exclude_none=True)) == event.examples[0]


@pytest.mark.parametrize("event", CATALOGUE.events, ids=lambda event: event.path)
def test_each_field_is_shown_and_each_optional_field_also_left_out(event: EventSchema) -> None:
    for field in event.body.fields:
        shown = [field.name in example for example in event.examples]
        assert any(shown), f"no example shows {field.name}"
        assert field.required or not all(shown), f"every example has the optional {field.name}"


@pytest.mark.parametrize("event", CATALOGUE.events, ids=lambda event: event.path)
def test_the_class_says_what_the_schema_says_of_itself(event: EventSchema) -> None:
    made = _class_of(event)
    assert (event.type, event.service, event.entity) == (made.TYPE, made.SERVICE, made.ENTITY)
    assert event.path == made.SCHEMA
    assert {field.name: field.redacted for field in event.body.fields if field.personal} == made.PERSONAL
    assert list(made.model_fields) == [field.name for field in event.body.fields]


def test_a_fact_cannot_be_changed() -> None:
    for event in CATALOGUE.events:
        fact = _class_of(event).model_validate(event.examples[0])
        with pytest.raises(ValidationError):
            setattr(fact, event.body.fields[0].name, "other")


def test_names_and_addresses_of_people_are_marked() -> None:
    personal = {made.TYPE: made.PERSONAL for made in ALL if made.PERSONAL}
    assert {kind: set(fields) for kind, fields in personal.items()} == {
        "gpuaas.iam.directory-user-described.v1": {"attributes"},
        "gpuaas.iam.identity-linked.v1": {"subject"},
        "gpuaas.iam.invitation-sent.v1": {"email"},
        "gpuaas.iam.user-registered.v1": {"email", "display_name"},
    }


def test_an_example_that_its_schema_refuses_is_seen(copy: Path) -> None:
    path = copy / SCHEMAS / "iam/tenant-created.v1.json"
    path.write_text(path.read_text("utf-8").replace('"billing_currency": "EUR"', '"billing_currency": "euro"'))
    assert any(
        "iam/tenant-created.v1.json example 0" in text for text in wrong_examples(read_catalogue(copy / SCHEMAS))
    )
