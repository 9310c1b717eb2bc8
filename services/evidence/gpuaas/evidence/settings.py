"""What evidence is told from outside. One law: nothing here can make a gate say yes."""

from __future__ import annotations

import json
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
        evidence_look_again_interval_s: pause between two looks at what has passed.
        evidence_controls_interval_s: how old (in the world's time) the newest run of the negative controls may get.
        evidence_procedures: JSON file that lists what may be run again for R3; nothing may be if not given.
        evidence_services: JSON object of service name → base URL: what is observed for R4.
    """

    evidence_artefacts_dir: Path | None = None
    evidence_artefact_bytes_max: int = Field(default=8 << 30, ge=1_024, le=1 << 40)
    evidence_upload_timeout_s: float = Field(default=900.0, gt=0, le=86_400)
    evidence_signing_key: Path | None = None
    evidence_trusted_keys: str = Field(default="", max_length=4_096)
    evidence_scrub_interval_s: float = Field(default=6 * 3_600.0, ge=1)
    evidence_look_again_interval_s: float = Field(default=30.0, ge=0.1, le=86_400)
    evidence_controls_interval_s: float = Field(default=6 * 3_600.0, ge=1, le=43_200)
    evidence_procedures: Path | None = None
    evidence_services: str = Field(default="{}", max_length=65_536)

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

    def services(self) -> dict[str, str]:
        """Service name → base URL of what is observed. Raises Misconfigured."""
        try:
            found = json.loads(self.evidence_services)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
            raise Misconfigured("GPUAAS_EVIDENCE_SERVICES must be a JSON object of service name to URL")
        return {name: url.rstrip("/") for name, url in found.items()}

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
