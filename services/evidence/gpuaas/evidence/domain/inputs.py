"""Everything a judgement rests on, in one spelling. One law: what is not in here cannot move a verdict."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from gpuaas.common.events import Part
from gpuaas.common.wire import Count64, Moment
from gpuaas.contracts.evidence import (
    ClaimAbandoned,
    ClaimOpened,
    ClaimReadBack,
    ClaimSubmitted,
    ControlsRun,
    Profile,
    ReadbackLevel,
    ReleaseRegistered,
    RequirementKind,
    RequirementPublished,
    Sha256,
    WaiverApproved,
    WaiverRequested,
)
from gpuaas.evidence.domain.attestation import Fault
from gpuaas.evidence.domain.strict_json import read_json, write_json

RULES: Final = 3
"""Which edition of the rules decided; it goes up when the same inputs would be judged differently."""


class ReleaseOnFile(Part):
    """The release that is judged; `position` is where the log holds it."""

    position: Count64
    registered: ReleaseRegistered


class RequirementOnFile(Part):
    """A requirement's newest version."""

    position: Count64
    published: RequirementPublished


class ReadbackOnFile(Part):
    """A readback."""

    position: Count64
    readback: ClaimReadBack


class ClaimOnFile(Part):
    """A claim with what was found about it when the gate was asked.

    Attributes:
        submitted_by: the principal who submitted it.
        opened, opened_position: what was said before the run, if anything.
        fault: what is wrong with its signed statement, if anything.
        missing: names of artefacts that the store does not hold with their declared size.
    """

    position: Count64
    submitted_at: Moment
    submitted_by: str
    claim: ClaimSubmitted
    opened: ClaimOpened | None = None
    opened_position: Count64 = 0
    fault: Fault | None = None
    missing: tuple[str, ...]


class AbandonedOnFile(Part):
    """A run about the subject that gave nothing: how it was opened, and why it was given up."""

    position: Count64
    opened: ClaimOpened
    opened_position: Count64
    said: ClaimAbandoned


class WaiverOnFile(Part):
    """A waiver with everybody who approved it; `position` is where the last word about it was said."""

    position: Count64
    requested: WaiverRequested
    approvals: tuple[WaiverApproved, ...]
    withdrawn: bool

    @property
    def people(self) -> frozenset[str]:
        """Who asked for it or approved it."""
        return frozenset({self.requested.requested_by, *(one.approved_by for one in self.approvals)})


class ControlsOnFile(Part):
    """The newest run of the negative controls."""

    position: Count64
    ran: ControlsRun


class Inputs(Part):
    """Everything a judgement rests on.

    Attributes:
        now: the time of judging.
        kinds: the kinds of requirement asked for, sorted; none: all.
        log_position: the end of the log when this was gathered; everything up to there was looked at.
    """

    rules: Literal[3] = RULES
    subject_sha256: Sha256
    profile: Profile
    kinds: tuple[RequirementKind, ...]
    now: Moment
    log_position: Count64
    release: ReleaseOnFile | None = None
    controls: ControlsOnFile | None = None
    requirements: tuple[RequirementOnFile, ...]
    claims: tuple[ClaimOnFile, ...]
    abandoned: tuple[AbandonedOnFile, ...] = ()
    readbacks: tuple[ReadbackOnFile, ...]
    waivers: tuple[WaiverOnFile, ...]

    def encode(self) -> bytes:
        """One spelling: equal inputs, equal bytes, equal digest."""
        return write_json(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def decode(cls, data: bytes) -> Inputs:
        """The inputs in `data`. Raises Invalid or pydantic's ValidationError: not inputs of this edition."""
        return cls.model_validate_json(write_json(read_json(data)))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.encode()).hexdigest()

    def newest_position(self) -> int:
        """The newest position of anything in here; 0 when there is nothing."""
        positions = [0]
        positions += [one.position for one in self.requirements] + [one.position for one in self.claims]
        positions += [one.position for one in self.abandoned]
        positions += [one.position for one in self.readbacks] + [one.position for one in self.waivers]
        positions += [one.position for one in (self.release,) if one] + [
            one.position for one in (self.controls,) if one
        ]
        return max(positions)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a requirement demands in one profile."""

    predicate: str
    minimum_readback: ReadbackLevel
    max_age_s: int
    waivable: bool


def demand_of(published: RequirementPublished, profile: str) -> Demand:
    """The general words of a requirement, with what differs in `profile`."""
    other = next((one for one in published.strengths or () if one.profile == profile), None)
    waivable = other.waivable if other is not None and other.waivable is not None else published.waivable
    return Demand(
        predicate=(other and other.predicate) or published.predicate,
        minimum_readback=(other and other.minimum_readback) or published.minimum_readback,
        max_age_s=(other and other.max_age_s) or published.max_age_s,
        waivable=waivable is not False,
    )
