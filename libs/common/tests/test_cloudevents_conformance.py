"""Our envelope against the CloudEvents SDK. One law: what we write it reads alike, and what it writes of ours we read.

Sources: CloudEvents 1.0.2 (attributes §3.1, JSON format), NATS protocol binding 1.0.2 (structured content mode).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import nats
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import OPTIONAL_ATTRIBUTES, REQUIRED_ATTRIBUTES, CloudEvent
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause
from gpuaas.common.envelope import CONTENT_TYPE, Envelope, Recorded, decode, encode, moment
from gpuaas.common.errors import Invalid, Unreadable
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.stack import LogAddress
from gpuaas.contracts.catalogue import BY_TYPE

SCHEMAS = Path(__file__).resolve().parents[3] / "schemas/events"
FULL = Cause(
    id="cause-1",
    actor="mira",
    actor_kind="user",
    correlation_id="first-1",
    project_id="vision",
    on_behalf_of="acme",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
BARE = Cause(id="cause-1", actor="mira", actor_kind="user")
Attributes = dict[str, Any]


def examples() -> list[tuple[str, Mapping[str, Any]]]:
    """(type, data) of every example of every event in the catalogue."""
    found = []
    for path in sorted(SCHEMAS.rglob("*.json")):
        event_type = f"gpuaas.{path.parent.name}.{path.stem}"
        found += [(event_type, example) for example in json.loads(path.read_text("utf-8"))["examples"]]
    return [(event_type, example) for event_type, example in found if event_type in BY_TYPE]


async def said(event_type: str, example: Mapping[str, Any], cause: Cause) -> Recorded:
    """The example as its owner would put it into the log."""
    log = MemoryLog()
    event = BY_TYPE[event_type].model_validate_json(json.dumps(example))
    await tell(log, event, tenant_id="acme", entity_id="it", cause=cause)
    recorded = await log.at(1)
    assert recorded is not None
    return recorded


def read_by_sdk(payload: bytes) -> BaseCloudEvent:
    """The SDK's reading, which must be one of version 1.0."""
    return JSONFormat().read(None, payload)


def attributes_of(payload: bytes) -> Attributes:
    found: Attributes = json.loads(payload)
    del found["data"]
    return found


@pytest.mark.parametrize("cause", [FULL, BARE], ids=["every attribute", "only what must be"])
async def test_the_sdk_reads_every_example_as_we_wrote_it(cause: Cause) -> None:
    assert len(examples()) >= len(BY_TYPE)
    for event_type, example in examples():
        recorded = await said(event_type, example, cause)
        theirs, ours = read_by_sdk(recorded.payload), recorded.envelope()
        assert (theirs.get_specversion(), theirs.get_type(), theirs.get_id()) == ("1.0", event_type, ours.id)
        assert (theirs.get_source(), theirs.get_subject()) == (ours.source, ours.subject)
        assert theirs.get_time() == moment(ours.time)
        assert theirs.get_datacontenttype() == "application/json"
        assert theirs.get_dataschema() == ours.dataschema
        redacted = {name: text for name, text in BY_TYPE[event_type].PERSONAL.items() if name in example}
        assert theirs.get_data() == {**example, **redacted}
        expected = {name: value for name, value in msgspec.structs.asdict(ours).items() if value is not None}
        expected |= {"time": moment(ours.time)}
        del expected["data"]
        assert theirs.get_attributes() == expected


async def test_an_event_made_by_the_sdk_is_read_by_our_decoder() -> None:
    for event_type, example in examples():
        recorded = await said(event_type, example, FULL)
        attributes = attributes_of(recorded.payload)
        attributes["time"] = datetime.fromisoformat(attributes["time"])
        written = JSONFormat().write(CloudEvent(attributes, dict(example)))
        ours = decode(written)
        assert moment(ours.time) == attributes["time"]
        expected = msgspec.structs.replace(recorded.envelope(), time=ours.time, data=ours.data)
        assert ours == expected
        assert json.loads(bytes(ours.data)) == example
        assert read_by_sdk(encode(ours)).get_attributes() == attributes


async def test_what_they_write_of_what_they_read_of_ours_is_still_ours() -> None:
    for event_type, example in examples():
        recorded = await said(event_type, example, BARE)
        again = decode(JSONFormat().write(read_by_sdk(recorded.payload)))
        assert json.loads(encode(again)) == json.loads(recorded.payload)


def test_attribute_names_are_what_the_specification_allows() -> None:
    fields = {field.name: field for field in msgspec.structs.fields(Envelope)}
    assert set(REQUIRED_ATTRIBUTES) <= {name for name, field in fields.items() if field.required}
    assert set(OPTIONAL_ATTRIBUTES) <= fields.keys()
    extensions = fields.keys() - {*REQUIRED_ATTRIBUTES, *OPTIONAL_ATTRIBUTES, "data"}
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in extensions)
    assert {"sequence", "traceparent"} <= extensions  # documented extensions, under their documented names


async def test_attribute_values_are_what_the_specification_allows() -> None:
    for event_type, example in examples():
        attributes = attributes_of((await said(event_type, example, FULL)).payload)
        assert all(isinstance(value, str) and value for value in attributes.values())
        assert urlsplit(attributes["dataschema"]).scheme  # §3.1.2: an absolute URI
        assert attributes["dataschema"] == json.loads((SCHEMAS / BY_TYPE[event_type].SCHEMA).read_text("utf-8"))["$id"]
        assert urlsplit(attributes["source"]).geturl() == attributes["source"]  # §3.1.1: a URI reference
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", attributes["time"])  # RFC 3339
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(attributes.values()))  # §3.1, String


Spoil = Callable[[Attributes], object]


def without(name: str) -> Spoil:
    return lambda event: event.pop(name)


def given(name: str, value: object) -> Spoil:
    return lambda event: event.update({name: value})


SPOILED: list[tuple[str, Spoil]] = [
    *[(f"no {name}", without(name)) for name in ("source", "type")],
    *[(f"{name} is a number", given(name, 7)) for name in ("id", "source", "type", "specversion", "subject")],
    *[(f"{name} is null", given(name, None)) for name in ("id", "source", "type", "specversion", "dataschema")],
    *[(f"{name} is empty", given(name, "")) for name in ("id", "source", "type", "subject", "datacontenttype")],
    *[(f"{name} is an object", given(name, {})) for name in ("id", "type", "datacontenttype")],
    ("an older version", given("specversion", "0.3")),
    ("a version to come", given("specversion", "2.0")),
    ("a time without a zone", given("time", "2026-08-05T09:00:00.000000")),
    ("a time that is none", given("time", "yesterday")),
    ("a time of no calendar", given("time", "2026-02-30T09:00:00.000000Z")),
]


@pytest.mark.parametrize(("spoil"), [spoil for _, spoil in SPOILED], ids=[what for what, _ in SPOILED])
async def test_a_malformed_event_is_refused_by_both(spoil: Spoil) -> None:
    event = json.loads((await said(*examples()[0], FULL)).payload)
    decode(json.dumps(event).encode())
    spoil(event)
    spoiled = json.dumps(event).encode()
    with pytest.raises((CloudEventValidationError, ValueError, TypeError, AttributeError)):
        _strictly(spoiled)
    with pytest.raises(Unreadable):
        moment(decode(spoiled).time)


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Envelope) if field.required])
async def test_what_the_specification_leaves_open_and_we_need_is_demanded(name: str) -> None:
    event = json.loads((await said(*examples()[0], BARE)).payload)
    del event[name]
    with pytest.raises(Unreadable, match=name):
        decode(json.dumps(event).encode())


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Envelope) if field.name != "data"])
async def test_what_could_not_be_read_again_is_not_written(name: str) -> None:
    envelope = (await said(*examples()[0], FULL)).envelope()
    with pytest.raises(Invalid, match="is empty"):
        encode(msgspec.structs.replace(envelope, **{name: ""}))
    empty_inside = msgspec.structs.replace(envelope, actor='a:"",b', data=msgspec.Raw(b'{"text":""}'))
    assert decode(encode(empty_inside)).actor == 'a:"",b'


def _strictly(payload: bytes) -> BaseCloudEvent:
    """As version 1.0 whatever the event says of itself: the SDK would read an older version as such."""
    return JSONFormat().read(CloudEvent, payload)


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"7", b"null", b'"event"', b"\xff\xfe", b'{"id": "a"'])
def test_what_is_no_event_at_all_is_refused_by_both(payload: bytes) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        _strictly(payload)
    with pytest.raises(Unreadable):
        decode(payload)


async def test_extensions_of_others_are_read_over_by_both() -> None:
    event = json.loads((await said(*examples()[0], FULL)).payload) | {"partitionkey": "a", "severitynumber": 9}
    payload = json.dumps(event).encode()
    assert read_by_sdk(payload).get_extension("partitionkey") == "a"
    assert decode(payload).id == event["id"]


def test_a_time_in_another_zone_is_the_same_moment_for_both() -> None:
    for text in ("2026-08-05T11:00:00.5+02:00", "2026-08-05T09:00:00.500000Z", "2026-08-05T09:00:00.500000000Z"):
        attributes = {"id": "1", "source": "s", "type": "t", "specversion": "1.0", "time": text}
        theirs = _strictly(json.dumps(attributes).encode()).get_time()
        assert theirs == moment(text) == datetime(2026, 8, 5, 9, 0, 0, 500_000, UTC)
    assert moment("2026-08-05T09:00:00Z") - moment("2026-08-05T09:00:00+00:01") == timedelta(minutes=1)


async def test_on_nats_an_event_is_in_structured_mode(log_address: LogAddress) -> None:
    """NATS binding §3.2: the content type names the event format and the payload is the whole event."""
    connection = await nats.connect(log_address.url)
    try:
        log = JetStreamLog(lambda: connection)
        event_type, example = examples()[0]
        event = BY_TYPE[event_type].model_validate_json(json.dumps(example))
        await tell(log, event, tenant_id="acme", entity_id="it", cause=FULL, clock=WallClock())
        await tell(log, event, event, tenant_id="acme", entity_id="others")
        for position in (1, 2, 3):
            stored = await connection.jetstream().get_msg("EVENTS", position)
            headers = {name.lower(): value for name, value in (stored.headers or {}).items()}
            assert headers["content-type"] == CONTENT_TYPE == JSONFormat().get_content_type()
            assert headers["ce-type"] == event_type  # beside the payload, so that readers may skip; nothing else
            assert {name for name in headers if name.startswith("ce-")} == {"ce-type"}
            assert stored.data is not None
            assert read_by_sdk(stored.data).get_type() == event_type
    finally:
        await connection.close()
