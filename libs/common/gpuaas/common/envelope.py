"""The CloudEvents 1.0 envelope in NATS, structured mode. One law: the bytes are the event, made once by the producer.

Spec: CloudEvents 1.0.2, its JSON format and its NATS protocol binding (structured content mode). The `ce-type`
header beside the payload lets a reader skip a message without decoding it; nothing else is read from headers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from gpuaas.common.errors import Invalid, TooLarge, Unreadable
from gpuaas.common.events import Event
from gpuaas.common.ids import is_name

CONTENT_TYPE: Final = "application/cloudevents+json"
CONTENT_TYPE_HEADER: Final = "Content-Type"
TYPE_HEADER: Final = "ce-type"
PAYLOAD_BYTES_MAX: Final = 512 * 1024
"""Largest event in bytes; half of the broker's own limit, so that headers and growth have room."""
PLATFORM: Final = "platform"
"""The tenant token of what belongs to no tenant."""

Attribute = Annotated[str, msgspec.Meta(min_length=1)]
"""CloudEvents 1.0.2 §3.1: an attribute that is there is not empty."""

_TYPE = re.compile(r"^gpuaas\.[a-z0-9-]+\.[a-z0-9-]+\.v[1-9][0-9]*$")


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One CloudEvent. Attribute names are CloudEvents' own; extensions are lower-case letters only (spec §3.1).

    Attributes:
        id: unique with `source`; derived from the cause, so a repeat has the same id.
        time: when it happened, RFC 3339 UTC with microseconds.
        dataschema: the `$id` of the schema of `data`, an absolute URI.
        subject: the entity, `<entity>/<tenant>/<id>`.
        causationid: the id of what caused it: an event's id, or the request's.
        causedigest: of what the request asked, 32 hex digits, where it may be repeated (`Idempotency-Key`).
        sequence: the entity's version after this event, from 1, zero-padded (CloudEvents `sequence` extension).
        sealed: personal fields of `data`, sealed (`sealing`); in `data` stands what their schema puts in their place.
        sealedby: whose key opens them: `<service>/<data subject>`.
        data: the event's own JSON, untouched.
    """

    specversion: Attribute
    id: Attribute
    source: Attribute
    type: Attribute
    subject: Attribute
    time: Attribute
    datacontenttype: Attribute
    dataschema: Attribute
    tenantid: Attribute
    actor: Attribute
    actorkind: Attribute
    causationid: Attribute
    correlationid: Attribute
    sequence: Attribute
    profile: Attribute
    projectid: Attribute | None = None
    onbehalfof: Attribute | None = None
    traceparent: Attribute | None = None
    causedigest: Attribute | None = None
    sealed: Attribute | None = None
    sealedby: Attribute | None = None
    data: msgspec.Raw

    @property
    def version(self) -> int:
        """The entity's version as a number."""
        return int(self.sequence)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Envelope)


def encode(envelope: Envelope) -> bytes:
    """The canonical bytes: field order as declared, no white space.

    Raises:
        TooLarge: more than `PAYLOAD_BYTES_MAX`.
        Invalid: an attribute is empty; nobody could read the event.
    """
    payload = _ENCODER.encode(envelope)
    if b':""' in payload[: payload.index(b',"data":')]:
        raise Invalid(f"an attribute of {envelope.type or 'the event'} is empty; leave it out")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise TooLarge(
            f"{envelope.type} is {len(payload):,} bytes; an event holds at most {PAYLOAD_BYTES_MAX:,}. "
            "Store the bulk elsewhere and carry its digest."
        )
    return payload


def decode(payload: bytes) -> Envelope:
    """The envelope in `payload`.

    Raises:
        Unreadable: not a CloudEvent of ours: not JSON, an attribute missing or of the wrong kind.
    """
    try:
        envelope = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Unreadable(f"not a readable CloudEvent: {broken}") from broken
    if envelope.specversion != "1.0":
        raise Unreadable(f"CloudEvents {envelope.specversion!r} is not supported; 1.0 is")
    if _TYPE.fullmatch(envelope.type) is None:
        raise Unreadable(f"{envelope.type!r} is not an event type of this suite (gpuaas.<service>.<fact>.v<n>)")
    if not envelope.sequence.isdecimal():
        raise Unreadable(f"{envelope.type}: sequence {envelope.sequence!r} is not a number")
    return envelope


def schema_uri(event: Event | type[Event]) -> str:
    """The `$id` of the schema that describes the event's data."""
    return f"gpuaas:events/{event.SCHEMA.removesuffix('.json')}"


def data_of(event: Event) -> msgspec.Raw:
    """The event's own JSON, absent optional fields left out.

    Raises:
        Invalid: a text holds U+0000. No read model could keep it (PostgreSQL has no such text), and an event that is
            in the log once stops every reader for good.
    """
    text = event.model_dump_json(exclude_none=True)
    if "\\u0000" in text and _holds_nul(msgspec.json.decode(text)):
        raise Invalid(f"a text of {event.TYPE} holds the character U+0000; remove it")
    return msgspec.Raw(text.encode())


def _holds_nul(value: Any) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_holds_nul(part) for pair in value.items() for part in pair)
        case list():
            return any(map(_holds_nul, value))
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message of the log as it is stored.

    Attributes:
        position: its sequence in the stream, from 1: the order of the world.
        payload: the exact stored bytes.
        type: the `ce-type` header; a hint for skipping, the payload decides.
        recorded_at: when the log took it (not when it happened).
        decided_on: position of the event before it on its subject, as its writer stated it to the log; 0: there was
            none; None: not stated (a later event of one append).
    """

    position: int
    subject: str
    type: str
    payload: bytes
    recorded_at: datetime
    decided_on: int | None = None

    def envelope(self) -> Envelope:
        """Decode the payload. Raises `Unreadable`, naming the position."""
        try:
            return decode(self.payload)
        except Unreadable as broken:
            raise Unreadable(f"position {self.position} on {self.subject}: {broken.detail}") from broken


@dataclass(frozen=True, slots=True)
class Fact:
    """A decoded event with where it stands: what folds and reactions receive."""

    position: int
    subject: str
    envelope: Envelope
    event: Event

    @property
    def tenant_id(self) -> str:
        return self.envelope.tenantid

    @property
    def time(self) -> datetime:
        """When it happened, aware UTC."""
        return moment(self.envelope.time)


def moment(text: str) -> datetime:
    """An RFC 3339 timestamp of an envelope as an aware UTC datetime. Raises Unreadable: it is none, or has no zone."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError("it has no zone")
        return found.astimezone(UTC)
    except (ValueError, OverflowError) as broken:
        raise Unreadable(f"{text!r} is not an RFC 3339 time") from broken


def subject_of(service: str, entity: str, tenant_id: str, entity_id: str) -> str:
    """The one literal subject that is this entity's history.

    Raises:
        Invalid: a part is not a name and would change the subject's meaning.
    """
    for part, what in ((tenant_id, "tenant id"), (entity_id, f"{entity} id")):
        if not is_name(part):
            raise Invalid(f"{part[:80]!r} cannot be a {what}: use 1 to 63 of a-z, 0-9 and inner hyphens", field=what)
    return f"events.{service}.{entity}.{tenant_id}.{entity_id}"
