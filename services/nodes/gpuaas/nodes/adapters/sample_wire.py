"""One utilisation sample as bytes (`schemas/telemetry/node-utilisation.v1.json`). One law: no impossible value."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from gpuaas.common.errors import Invalid

PAYLOAD_BYTES_MAX: Final = 32_768
GPUS_MAX: Final = 64
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Mib = Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]


class GpuReading(msgspec.Struct, frozen=True, omit_defaults=True):
    """One GPU at one moment; units in the names, counters None where the GPU does not count.

    Attributes:
        ecc_uncorrected, nvlink_errors, nvlink_recoveries, pcie_replays: counted since the driver was loaded; the first
            of NVLink are what its links corrected by sending again, the second how often one was trained anew.
        rows_remapped: rows of memory replaced for good because of uncorrectable errors.
        remap_pending: a row waits for a reset to be replaced.
        remap_failed: a row could not be replaced, for there is no spare one left.
    """

    slot: Annotated[int, msgspec.Meta(ge=0, le=63)]
    gpu_percent: Annotated[int, msgspec.Meta(ge=0, le=100)]
    memory_used_mib: _Mib
    memory_total_mib: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    temperature_c: Annotated[int, msgspec.Meta(ge=-20, le=130)]
    power_w: Annotated[int, msgspec.Meta(ge=0, le=3000)]
    ecc_uncorrected: _Count | None = None
    nvlink_errors: _Count | None = None
    nvlink_recoveries: _Count | None = None
    pcie_replays: _Count | None = None
    rows_remapped: _Count | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None


class Sample(msgspec.Struct, frozen=True):
    """The payload."""

    node_id: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    sampled_at: datetime
    source: Literal["nvml", "simulation"]
    gpus: Annotated[tuple[GpuReading, ...], msgspec.Meta(max_length=GPUS_MAX)]


_DECODER: Final = msgspec.json.Decoder(Sample)
_ENCODER: Final = msgspec.json.Encoder()


def sample_subject_of(node_id: str) -> str:
    """Where a node's samples go."""
    return f"telemetry.nodes.{node_id}.utilisation"


def encode_sample(sample: Sample) -> bytes:
    return _ENCODER.encode(sample)


def impossible(reading: GpuReading) -> str | None:
    """Why no GPU can be so, in a sentence; None: it can."""
    try:
        msgspec.convert(msgspec.to_builtins(reading), GpuReading)
    except msgspec.ValidationError as wrong:
        return f"slot {reading.slot}: {wrong}"
    if reading.memory_used_mib > reading.memory_total_mib:
        return f"the GPU in slot {reading.slot} uses more memory than it has"
    return None


def decode_sample(payload: bytes) -> Sample:
    """The sample in `payload`.

    Raises:
        Invalid: too large, no JSON, a field is missing or impossible, or one GPU is there twice.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Invalid(f"a sample has at most {PAYLOAD_BYTES_MAX} bytes, this one {len(payload)}")
    try:
        sample = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Invalid(f"not a sample: {broken}") from broken
    if sample.sampled_at.tzinfo is None:
        raise Invalid("sampled_at has no time zone")
    slots = [gpu.slot for gpu in sample.gpus]
    if len(set(slots)) != len(slots):
        raise Invalid("one GPU is there twice")
    if wrong := [why for gpu in sample.gpus if (why := impossible(gpu))]:
        raise Invalid(wrong[0])
    return sample
