"""One fault as bytes, `schemas/telemetry/node-fault.v1.json`. One law: strict to read, light to import."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from gpuaas.common.errors import Invalid
from gpuaas.nodes.domain.faults import FaultClass

PAYLOAD_BYTES_MAX: Final = 4_096


class FaultReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The payload.

    Attributes:
        fault_id: made by the agent; the same report twice is one.
        slot: index of the GPU in its machine.
        code: raw code such as `XID 79`; None where there is none.
    """

    node_id: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    fault_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    slot: Annotated[int, msgspec.Meta(ge=0, le=63)]
    fault_class: FaultClass
    source: Literal["kernel-log", "nvml", "agent", "simulation"]
    detail: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


_DECODER: Final = msgspec.json.Decoder(FaultReport)
_ENCODER: Final = msgspec.json.Encoder()


def fault_subject_of(node_id: str) -> str:
    """Where a node's faults go."""
    return f"telemetry.nodes.{node_id}.fault"


def encode_fault(report: FaultReport) -> bytes:
    return _ENCODER.encode(report)


def decode_fault(payload: bytes) -> FaultReport:
    """The report in `payload`.

    Raises:
        Invalid: too large, no JSON, or a field is missing or impossible.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Invalid(f"a fault has at most {PAYLOAD_BYTES_MAX} bytes, this one {len(payload)}")
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Invalid(f"not a fault: {broken}") from broken
