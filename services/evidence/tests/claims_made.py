"""Requirements, claims and readbacks for tests. One law: the defaults are a sound claim; a test spoils one thing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.contracts.evidence import ClaimReadBack, ClaimSubmitted, RequirementPublished
from gpuaas.evidence.adapters.ed25519 import PublicKey, SigningKey
from gpuaas.evidence.domain.attestation import Assertion, inspect, signed
from gpuaas.evidence.domain.dsse import Check
from gpuaas.evidence.domain.judgement import ClaimOnFile, Inputs, ReadbackOnFile, RequirementOnFile

NOW = datetime(2026, 8, 5, 12, 0, tzinfo=UTC)
SUBJECT = hashlib.sha256(b"release").hexdigest()
OTHER_SUBJECT = hashlib.sha256(b"another release").hexdigest()
REPORT = b'{"gpu_hours_error": 0, "jobs": 1000}'
OURS = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THEIRS = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
TRUSTED: Mapping[str, Check] = {OURS.key_id: PublicKey(OURS.public_key).check}


def requirement(position: int = 1, **changed: Any) -> RequirementOnFile:
    said = {
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


def assertion(**changed: Any) -> Assertion:
    said = {
        "claim_id": "claim-1",
        "requirement_id": "main-job",
        "subject_sha256": SUBJECT,
        "profile": "demo",
        "result": "passed",
        "procedure": "gpuaas demo",
        "scope": ("meter", "invoice"),
        "artefacts": (
            {
                "name": "run.json",
                "sha256": hashlib.sha256(REPORT).hexdigest(),
                "size_bytes": len(REPORT),
                "media_type": "application/json",
            },
        ),
        "facts": ({"name": "gpu_hours_error", "value": "0", "artefact": "run.json", "pointer": "/gpu_hours_error"},),
        "expires_at": NOW + timedelta(days=1),
    }
    return Assertion(**(said | changed))


def submitted(said: Assertion, statement: bytes) -> ClaimSubmitted:
    return ClaimSubmitted(**said.model_dump(), statement_sha256=hashlib.sha256(statement).hexdigest())


def claim(
    position: int = 2,
    *,
    submitted_at: datetime = NOW - timedelta(minutes=10),
    signer: SigningKey = OURS,
    stored: Any = None,
    missing: Sequence[str] = (),
    **changed: Any,
) -> ClaimOnFile:
    """A claim on file. `stored`: from the sound envelope to what the store gives for it; default: the same."""
    said = assertion(**changed)
    envelope = signed(said, {signer.key_id: signer.sign})
    event = submitted(said, envelope)
    found = envelope if stored is None else stored(envelope)
    return ClaimOnFile(
        position=position,
        submitted_at=submitted_at,
        claim=event,
        fault=inspect(event, found, TRUSTED),
        missing=tuple(missing),
    )


def readback(
    position: int = 3,
    level: str = "R2",
    outcome: str = "confirmed",
    *,
    claim_id: str = "claim-1",
    read_at: datetime = NOW - timedelta(minutes=5),
) -> ReadbackOnFile:
    found: Any = {"level": level, "outcome": outcome, "detail": "as a test says", "read_at": read_at}
    return ReadbackOnFile(position=position, readback=ClaimReadBack(claim_id=claim_id, **found))


def inputs(
    requirements: Sequence[RequirementOnFile] | None = None,
    claims: Sequence[ClaimOnFile] | None = None,
    readbacks: Sequence[ReadbackOnFile] | None = None,
    **changed: Any,
) -> Inputs:
    said: dict[str, Any] = {
        "subject_sha256": SUBJECT,
        "profile": "demo",
        "now": NOW,
        "requirements": tuple([requirement()] if requirements is None else requirements),
        "claims": tuple([claim()] if claims is None else claims),
        "readbacks": tuple([readback()] if readbacks is None else readbacks),
    }
    return Inputs(**(said | changed))
