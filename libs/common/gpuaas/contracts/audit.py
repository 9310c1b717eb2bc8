"""Events of the service `audit`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event
from gpuaas.common.wire import Count64

DivergenceKind = Literal["rewritten", "rewound", "vanished", "recreated"]
"""How the log differs from what was sealed. rewritten: a position holds other bytes; rewound: the log
ends before a sealed position; vanished: a sealed position is empty; recreated: it is another log
under the same name.
"""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""


class DivergenceFound(Event):
    """Divergence found. The event log is not what was sealed. This is never routine: somebody or
    something changed history, and people must look.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.divergence-found.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "divergence"
    SCHEMA: ClassVar[str] = "audit/divergence-found.v1.json"

    kind: DivergenceKind
    """How it differs."""

    position: Count64
    """The first log position where it differs."""

    expected_sha256: Sha256 | None = None
    """Digest of the bytes that were sealed there; absent: nothing was."""

    found_sha256: Sha256 | None = None
    """Digest of the bytes found there; absent: nothing is there."""

    detail: Annotated[str, Field(min_length=1, max_length=1000)]
    """What was found, in a sentence."""


class EpochSealed(Event):
    """Epoch sealed. The audit trail committed to all events up to a position: every event is a leaf of
    its tenant's tree, and this record commits to all these trees at once. An outsider who holds it
    can prove that nothing below it was changed, removed or slipped in.
    """

    TYPE: ClassVar[str] = "gpuaas.audit.epoch-sealed.v1"
    SERVICE: ClassVar[str] = "audit"
    ENTITY: ClassVar[str] = "epoch"
    SCHEMA: ClassVar[str] = "audit/epoch-sealed.v1.json"

    epoch: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Number of the epoch, each one more than the last."""

    first_position: Count64
    """First log position the epoch covers."""

    last_position: Count64
    """Last log position the epoch covers."""

    leaf_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Leaves that the epoch added, over all trees."""

    gap_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Positions of the epoch that hold no event and are explained; leaves and gaps together are the
    positions covered.
    """

    tree_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """Trees there are: one for each tenant and one for the platform."""

    map_root: Sha256
    """Root hash over all trees' heads."""

    platform_checkpoint: Annotated[str, Field(min_length=1, max_length=4096)]
    """Signed checkpoint of the platform's tree: a C2SP signed note, verbatim."""


EVENTS: tuple[type[Event], ...] = (
    DivergenceFound,
    EpochSealed,
)
