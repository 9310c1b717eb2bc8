"""What iam is told from outside. One law: no secret is a setting; the first key arrives as its digest."""

from __future__ import annotations

from pathlib import Path

from gpuaas.common.settings import Settings
from pydantic import Field

_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class IamSettings(Settings):
    """Settings of iam beyond everybody's.

    Attributes:
        iam_signing_keys_file: where the signing keys are; default `<state_dir>/signing-keys.json`.
        iam_bootstrap_key_sha256: SHA-256 (hexadecimal) of the first operator's whole API key; none: no first operator.
        iam_bootstrap_key_id: the id inside that key.
        iam_bootstrap_account: id of the service account it belongs to.
        iam_bootstrap_key_days: how long the key works, from its first start on.
    """

    iam_signing_keys_file: Path | None = None
    iam_bootstrap_key_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    iam_bootstrap_key_id: str = Field(default="bootstrap", pattern=_LABEL)
    iam_bootstrap_account: str = Field(default="operator", pattern=_LABEL)
    iam_bootstrap_key_days: int = Field(default=30, ge=1, le=366)

    @property
    def signing_keys_file(self) -> Path:
        return self.iam_signing_keys_file or self.state_dir / "signing-keys.json"
