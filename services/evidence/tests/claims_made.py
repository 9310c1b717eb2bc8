"""Requirements, claims and readbacks for tests. One law: the defaults are a sound claim; a test spoils one thing."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.evidence.adapters.ed25519 import SigningKey
from gpuaas.evidence.domain.specimens import NOW, OTHER_SUBJECT, REPORT, SUBJECT, Specimens

__all__ = [
    "NOW",
    "OTHER_SUBJECT",
    "OURS",
    "REPORT",
    "SPECIMENS",
    "SUBJECT",
    "THEIRS",
    "TRUSTED",
    "assertion",
    "claim",
    "inputs",
    "readback",
    "requirement",
    "submitted",
    "waiver",
]

OURS = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THEIRS = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))).signer()
SPECIMENS = Specimens(OURS.signer(), THEIRS)
TRUSTED = SPECIMENS.trusted
requirement, assertion, submitted = SPECIMENS.requirement, SPECIMENS.assertion, SPECIMENS.submitted
claim, readback, waiver, inputs = SPECIMENS.claim, SPECIMENS.readback, SPECIMENS.waiver, SPECIMENS.inputs
