"""A sound package of evidence, to be spoiled in one place. One law: as it stands here it passes.

Used by the negative controls, which the service runs for real, and by the tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gpuaas.contracts.evidence import (
    ClaimAbandoned,
    ClaimOpened,
    ClaimReadBack,
    ClaimSubmitted,
    Component,
    Control,
    ControlsRun,
    RequirementPublished,
    WaiverApproved,
    WaiverRequested,
)
from gpuaas.evidence.domain.attestation import Assertion, inspect, signed
from gpuaas.evidence.domain.demanded import DEMANDED
from gpuaas.evidence.domain.dsse import Check, Sign
from gpuaas.evidence.domain.inputs import (
    RULES,
    AbandonedOnFile,
    ClaimOnFile,
    ControlsOnFile,
    Inputs,
    ReadbackOnFile,
    ReleaseOnFile,
    RequirementOnFile,
    WaiverOnFile,
)
from gpuaas.evidence.domain.records import UNSIGNED
from gpuaas.evidence.domain.release import RegisterRelease, registered

NOW: Final = datetime(2026, 8, 5, 12, 0, tzinfo=UTC)
PARTS: Final = (Component(name="gpuaas.whl", kind="wheel", sha256="5a" * 32, size_bytes=1),)
OTHER_SUBJECT: Final = hashlib.sha256(b"another release").hexdigest()
REPORT: Final = b'{"gpu_hours_error": 0, "jobs": 1000}'
_RELEASE: Final = registered(RegisterRelease("gpuaas 0.1.0", None, PARTS, NOW - timedelta(hours=2)))
SUBJECT: Final = _RELEASE.root_sha256


@dataclass(frozen=True, slots=True)
class Signer:
    """A key pair as callables."""

    key_id: str
    sign: Sign
    check: Check


class Specimens:
    """Makes the parts of a sound package. Keywords change single fields of what an event says.

    Args:
        ours: the key whose statements count.
        theirs: another one.
    """

    def __init__(self, ours: Signer, theirs: Signer) -> None:
        self.ours = ours
        self.theirs = theirs
        self.trusted: Mapping[str, Check] = {ours.key_id: ours.check}

    def release(self, position: int = 1) -> ReleaseOnFile:
        return ReleaseOnFile(position=position, registered=_RELEASE)

    def controls(self, **changed: Any) -> ControlsOnFile:
        said: dict[str, Any] = {
            "run_id": "controls-1",
            "rules": RULES,
            "controls": tuple(Control(name=name, expected=word, found=word) for name, word in DEMANDED.items()),
            "not_refused": 0,
            "ran_at": NOW - timedelta(hours=1),
            "statement_sha256": UNSIGNED,
        }
        return ControlsOnFile(position=1, ran=ControlsRun(**(said | changed)))

    def requirement(self, position: int = 1, **changed: Any) -> RequirementOnFile:
        said: dict[str, Any] = {
            "requirement_id": "main-job",
            "version": 1,
            "kind": "release",
            "title": "The main job bills what it ran",
            "predicate": "gpu_hours_error == 0",
            "minimum_readback": "R2",
            "max_age_s": 3_600,
            "profiles": ("demo",),
        }
        return RequirementOnFile(position=position, published=RequirementPublished(**(said | changed)))

    def assertion(self, **changed: Any) -> Assertion:
        report = {
            "name": "run.json",
            "sha256": hashlib.sha256(REPORT).hexdigest(),
            "size_bytes": len(REPORT),
            "media_type": "application/json",
        }
        said: dict[str, Any] = {
            "claim_id": "claim-1",
            "requirement_id": "main-job",
            "subject_sha256": SUBJECT,
            "profile": "demo",
            "result": "passed",
            "procedure": "gpuaas demo",
            "scope": ("meter", "invoice"),
            "artefacts": (report,),
            "facts": (
                {"name": "gpu_hours_error", "value": "0", "artefact": "run.json", "pointer": "/gpu_hours_error"},
            ),
            "expires_at": NOW + timedelta(days=1),
        }
        return Assertion(**(said | changed))

    def submitted(self, said: Assertion, statement: bytes) -> ClaimSubmitted:
        return ClaimSubmitted(**said.model_dump(), statement_sha256=hashlib.sha256(statement).hexdigest())

    def opened(self, said: Assertion, **changed: Any) -> ClaimOpened:
        same = ("claim_id", "requirement_id", "subject_sha256", "profile", "procedure", "procedure_id", "scope")
        fixed: dict[str, Any] = {
            **{name: getattr(said, name) for name in same},
            "requirement_version": 1,
            "opened_at": NOW - timedelta(hours=1),
            "closes_at": NOW + timedelta(hours=1),
            "statement_sha256": UNSIGNED,
        }
        return ClaimOpened(**(fixed | changed))

    def claim(
        self,
        position: int = 3,
        *,
        opened_position: int = 2,
        submitted_at: datetime = NOW - timedelta(minutes=10),
        submitted_by: str = "claimer",
        signer: Signer | None = None,
        stored: Callable[[bytes], bytes | None] = lambda envelope: envelope,
        missing: Sequence[str] = (),
        opened: Mapping[str, Any] | None = None,
        **changed: Any,
    ) -> ClaimOnFile:
        """A claim on file. `stored`: from the sound envelope to what the store gives for it."""
        said, by = self.assertion(**changed), signer or self.ours
        envelope = signed(said, {by.key_id: by.sign})
        event = self.submitted(said, envelope)
        return ClaimOnFile(
            position=position,
            submitted_at=submitted_at,
            submitted_by=submitted_by,
            claim=event,
            opened=self.opened(said, **(opened or {})) if opened_position else None,
            opened_position=opened_position,
            fault=inspect(event, stored(envelope), self.trusted),
            missing=tuple(missing),
        )

    def abandoned(self, position: int = 4, *, opened_position: int = 3, **changed: Any) -> AbandonedOnFile:
        """A run that gave nothing."""
        said = self.assertion(**changed)
        end = ClaimAbandoned(
            claim_id=said.claim_id,
            abandoned_by="claimer",
            reason="no network",
            abandoned_at=NOW - timedelta(minutes=5),
            statement_sha256=UNSIGNED,
        )
        return AbandonedOnFile(position=position, opened=self.opened(said), opened_position=opened_position, said=end)

    def readback(
        self,
        position: int = 4,
        level: str = "R2",
        outcome: str = "confirmed",
        *,
        claim_id: str = "claim-1",
        read_at: datetime = NOW - timedelta(minutes=5),
    ) -> ReadbackOnFile:
        found: dict[str, Any] = {"level": level, "outcome": outcome, "detail": "as was found", "read_at": read_at}
        return ReadbackOnFile(position=position, readback=ClaimReadBack(claim_id=claim_id, **found))

    def waiver(
        self,
        position: int = 5,
        *,
        approved_by: Sequence[str] = ("second",),
        kind: str = "user",
        withdrawn: bool = False,
        **changed: Any,
    ) -> WaiverOnFile:
        """A waiver asked for by `first` and approved by `approved_by`."""
        said: dict[str, Any] = {
            "waiver_id": "waiver-1",
            "requirement_id": "main-job",
            "requirement_version": 1,
            "subject_sha256": SUBJECT,
            "profile": "demo",
            "reason": "The machine it runs on is being repaired.",
            "requested_by": "first",
            "requested_by_kind": kind,
            "requested_at": NOW - timedelta(hours=1),
            "expires_at": NOW + timedelta(hours=1),
            "statement_sha256": UNSIGNED,
        }
        yes: dict[str, Any] = {"waiver_id": "waiver-1", "approved_by_kind": kind, "statement_sha256": UNSIGNED}
        at = NOW - timedelta(minutes=30)
        return WaiverOnFile(
            position=position,
            requested=WaiverRequested(**(said | changed)),
            approvals=tuple(WaiverApproved(**yes, approved_by=by, approved_at=at) for by in approved_by),
            withdrawn=withdrawn,
        )

    def inputs(
        self,
        requirements: Sequence[RequirementOnFile] | None = None,
        claims: Sequence[ClaimOnFile] | None = None,
        readbacks: Sequence[ReadbackOnFile] | None = None,
        waivers: Sequence[WaiverOnFile] = (),
        **changed: Any,
    ) -> Inputs:
        said: dict[str, Any] = {
            "subject_sha256": SUBJECT,
            "profile": "demo",
            "kinds": (),
            "now": NOW,
            "log_position": 100,
            "release": self.release(),
            "controls": self.controls(),
            "requirements": tuple([self.requirement()] if requirements is None else requirements),
            "claims": tuple([self.claim()] if claims is None else claims),
            "readbacks": tuple([self.readback()] if readbacks is None else readbacks),
            "waivers": tuple(waivers),
        }
        return Inputs(**(said | changed))
