"""One heartbeat as bytes, `schemas/telemetry/node-heartbeat.v1.json`. One law: strict to read, light to import."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from gpuaas.common.errors import Invalid

PAYLOAD_BYTES_MAX: Final = 1_024
SEQUENCE_MAX: Final = 2**53 - 1


class Heartbeat(msgspec.Struct, frozen=True):
    """The payload.

    Attributes:
        node_id: the node that lives; the same as in the subject.
        boot_id: made anew whenever the agent starts.
        sequence: heartbeats of this agent since its start, from 1.
        sent_at: the agent's own clock, aware; shown and never trusted.
    """

    node_id: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    boot_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    sequence: Annotated[int, msgspec.Meta(ge=1, le=SEQUENCE_MAX)]
    sent_at: Annotated[datetime, msgspec.Meta(tz=True)]


_DECODER: Final = msgspec.json.Decoder(Heartbeat)
_ENCODER: Final = msgspec.json.Encoder()


def subject_of(node_id: str) -> str:
    """Where a node's heartbeats go."""
    return f"telemetry.nodes.{node_id}.heartbeat"


def encode(node_id: str, boot_id: str, sequence: int, sent_s: float) -> bytes:
    """A heartbeat sent at Unix time `sent_s`."""
    return _ENCODER.encode(Heartbeat(node_id, boot_id, sequence, datetime.fromtimestamp(sent_s, UTC)))


def decode(payload: bytes) -> Heartbeat:
    """The heartbeat in `payload`.

    Raises:
        Invalid: too large, no JSON, or a field is missing or impossible.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Invalid(f"a heartbeat has at most {PAYLOAD_BYTES_MAX} bytes, this one {len(payload)}")
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Invalid(f"not a heartbeat: {broken}") from broken
