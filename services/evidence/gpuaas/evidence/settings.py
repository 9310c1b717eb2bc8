"""What evidence is told from outside. One law: nothing here can make a gate say yes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gpuaas.common.errors import Misconfigured
from gpuaas.common.settings import Settings
from pydantic import Field

KEY_BYTES: Final = 32


class EvidenceSettings(Settings):
    """Settings of this service, read from `GPUAAS_EVIDENCE_*`.

    Attributes:
        evidence_artefacts_dir: where artefacts lie; below `state_dir` if not given.
        evidence_artefact_bytes_max: largest artefact.
        evidence_upload_timeout_s: longest time one upload may take.
        evidence_signing_key: PEM file of the Ed25519 key that signs statements; below `state_dir` if not given.
        evidence_trusted_keys: raw public keys in hex, comma-separated, whose earlier signatures still count.
        evidence_scrub_interval_s: pause between two readings of the whole store.
    """

    evidence_artefacts_dir: Path | None = None
    evidence_artefact_bytes_max: int = Field(default=8 << 30, ge=1_024, le=1 << 40)
    evidence_upload_timeout_s: float = Field(default=900.0, gt=0, le=86_400)
    evidence_signing_key: Path | None = None
    evidence_trusted_keys: str = Field(default="", max_length=4_096)
    evidence_scrub_interval_s: float = Field(default=6 * 3_600.0, ge=1)

    @property
    def artefacts_dir(self) -> Path:
        return self.evidence_artefacts_dir or self.state_dir / "artefacts"

    @property
    def signing_key(self) -> Path:
        return self.evidence_signing_key or self.state_dir / "evidence-signing-key.pem"

    @property
    def makes_keys(self) -> bool:
        """Whether a missing signing key is made here; in production somebody has to provide it."""
        return self.profile != "production"

    def trusted_keys(self) -> list[bytes]:
        """Earlier public keys, 32 raw bytes each. Raises Misconfigured."""
        keys: list[bytes] = []
        for text in filter(None, (part.strip() for part in self.evidence_trusted_keys.split(","))):
            try:
                key = bytes.fromhex(text)
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES:
                raise Misconfigured(
                    f"GPUAAS_EVIDENCE_TRUSTED_KEYS holds {text[:16]!r}; write each public key as 64 hex digits"
                )
            keys.append(key)
        return keys
