"""What the audit service is told from outside. One law: in a durable profile name and keys are given, never made up."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from gpuaas.common.settings import Settings
from pydantic import Field, model_validator


class AuditSettings(Settings):
    """Settings of the audit service.

    Attributes:
        audit_log_name: the log's name in every checkpoint, such as `gpuaas.example/production`.
        audit_signing_key: file with the Ed25519 seed (64 hex digits); made on the first start where a profile may.
        audit_previous_signing_key: file with the key that signed before; a new key is announced with its signature.
        audit_map_secret: file with the secret that blinds tenants in the epochs' map; likewise.
        audit_seal_interval_s: seconds between two looks at whether there is something to seal.
        audit_watch_interval_s: seconds after which the log is looked at again even where no epoch was sealed.
        audit_local_witnesses: witnesses in this process, each with a key and a memory of its own in the state folder;
            by default two where keys may be made, none in durable profiles.
        audit_witnesses: file with more of them, a line each: `witness <name> <verifier key> <url>`.
        audit_witness_quorum: cosignatures that the policy we hand out demands; by default more than half.
        audit_witness_timeout_s: longest wait for one witness at one sealing.
        audit_watch_window: positions compared per look at least, besides the newest ones; a look follows every epoch.
        audit_watch_pass_s: seconds within which every position of the log is to be compared again.
    """

    audit_log_name: str = ""
    audit_signing_key: Path | None = None
    audit_previous_signing_key: Path | None = None
    audit_map_secret: Path | None = None
    audit_seal_interval_s: float = Field(default=2.0, gt=0, le=60)
    audit_local_witnesses: int | None = Field(default=None, ge=0, le=5)
    audit_witnesses: Path | None = None
    audit_witness_quorum: int | None = Field(default=None, ge=1, le=20)
    audit_witness_timeout_s: float = Field(default=3.0, gt=0, le=30)
    audit_watch_interval_s: float = Field(default=10.0, gt=0, le=3_600)
    audit_watch_window: int = Field(default=2_500, ge=1, le=1_000_000)
    audit_watch_pass_s: float = Field(default=3_600.0, ge=1, le=31_536_000)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.durable and not (self.audit_log_name and self.audit_signing_key and self.audit_map_secret):
            raise ValueError(
                f"the {self.profile} profile needs AUDIT_LOG_NAME, AUDIT_SIGNING_KEY and AUDIT_MAP_SECRET to be given"
            )
        return self

    @property
    def local_witness_count(self) -> int:
        if self.audit_local_witnesses is None:
            return 0 if self.durable else 2
        return self.audit_local_witnesses

    @property
    def log_name(self) -> str:
        return self.audit_log_name or f"gpuaas.local/{self.profile}"

    @property
    def signing_key_file(self) -> Path:
        return self.audit_signing_key or self.state_dir / "audit-signing.key"

    @property
    def previous_signing_key_file(self) -> Path | None:
        beside = self.state_dir / "audit-signing.key.previous"
        return self.audit_previous_signing_key or (beside if beside.exists() else None)

    @property
    def map_secret_file(self) -> Path:
        return self.audit_map_secret or self.state_dir / "audit-map.secret"
