"""The AsyncAPI document says what is really on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from gpuaas.common.clock import rfc3339
from gpuaas.common.envelope import Envelope, data_of, encode
from gpuaas.contracts.catalogue import BY_TYPE
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.contracts.conftest import ROOT
from tools.contracts.artefacts import SCHEMAS
from tools.contracts.reading import read_catalogue
from tools.contracts.shapes import EventSchema
from tools.contracts.validating import FORMATS

DOCUMENT: dict[str, Any] = json.loads((ROOT / "schemas/asyncapi.json").read_text("utf-8"))
CATALOGUE = read_catalogue(ROOT / SCHEMAS)
HOME = "gpuaas:asyncapi.json"


def _message(event: EventSchema) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["components"]["messages"][f"{event.service}.{event.class_name}"]
    return found


def _validator(event: EventSchema) -> Draft202012Validator:
    """The message's payload schema with its references resolved as from the document's own folder."""
    registry: Registry[Any] = Registry().with_resource(HOME, Resource.from_contents(DOCUMENT, DRAFT202012))
    registry = registry.with_resource(f"events/{event.path}", DRAFT202012.create_resource(dict(event.raw)))
    where = f"{event.service}.{event.class_name}"
    schema = json.loads(json.dumps(_message(event)["payload"]["schema"]).replace('"#/', f'"{HOME}#/'))
    assert where in DOCUMENT["components"]["messages"]
    return Draft202012Validator(schema, registry=registry, format_checker=FORMATS)


def _envelope(event: EventSchema) -> dict[str, Any]:
    fact = BY_TYPE[event.type].model_validate(event.examples[0])
    sent = encode(
        Envelope(
            specversion="1.0",
            id="0198f2c4-1f0e-7a52-9d6b-7f3c5e1a9b10",
            source=f"gpuaas/{event.service}",
            type=event.type,
            subject=f"{event.entity}/acme/x",
            time=rfc3339(datetime(2026, 8, 5, tzinfo=UTC)),
            datacontenttype="application/json",
            dataschema=event.path,
            tenantid="acme",
            actor="u-1",
            actorkind="user",
            causationid="c-1",
            correlationid="c-1",
            sequence="1",
            profile="dev",
            data=data_of(fact),
        )
    )
    read: dict[str, Any] = json.loads(sent)
    return read


@pytest.mark.parametrize("event", CATALOGUE.events, ids=lambda event: event.path)
def test_what_the_encoder_sends_is_what_the_document_says(event: EventSchema) -> None:
    validator = _validator(event)
    sent = _envelope(event)
    assert [error.message for error in validator.iter_errors(sent)] == []
    assert list(validator.iter_errors({**sent, "type": "gpuaas.other.thing.v1"}))
    assert list(validator.iter_errors({**sent, "data": {}}))
    assert list(validator.iter_errors({key: value for key, value in sent.items() if key != "causationid"}))


def test_the_envelope_has_the_same_attributes_as_the_code() -> None:
    described = DOCUMENT["components"]["schemas"]["CloudEvent"]["schema"]
    assert set(described["properties"]) == set(Envelope.__struct_fields__)
    optional = {"projectid", "onbehalfof", "traceparent", "causedigest", "sealed", "sealedby"}
    assert set(described["required"]) == set(Envelope.__struct_fields__) - optional


def test_every_event_is_in_the_channel_of_its_entity_and_nowhere_else() -> None:
    placed = {name: channel["address"] for channel in DOCUMENT["channels"].values() for name in channel["messages"]}
    assert placed == {event.class_name: event.subject for event in CATALOGUE.events}
    for event in CATALOGUE.events:
        assert event.class_name in DOCUMENT["channels"][f"{event.service}.{event.entity}"]["messages"]


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        path, _, pointer = reference.partition("#")
        target: Any = json.loads((ROOT / "schemas" / path).read_text("utf-8")) if path else DOCUMENT
        for step in filter(None, pointer.split("/")):
            target = target[step]


def test_every_placeholder_of_an_address_is_a_parameter() -> None:
    for channel in DOCUMENT["channels"].values():
        named = {token[1:-1] for token in channel["address"].split(".") if token.startswith("{")}
        assert named == set(channel.get("parameters", {}))


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from _references(value)
