"""What iam is told from outside. One law: no secret is a setting; the first key arrives as its digest."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from gpuaas.common.settings import Settings
from gpuaas.iam.adapters.outside import Outside
from pydantic import Field, model_validator

_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class IamSettings(Settings):
    """Settings of iam beyond everybody's.

    Attributes:
        iam_signing_keys_file: where the signing keys are; default `<state_dir>/signing-keys.json`.
        iam_bootstrap_key_sha256: SHA-256 (hexadecimal) of the first operator's whole API key; none: no first operator.
        iam_bootstrap_key_id: the id inside that key.
        iam_bootstrap_account: id of the service account it belongs to.
        iam_bootstrap_key_days: how long the key works, from its first start on.
        iam_passwords: whether people sign in with passwords kept here; default: in profiles that are not durable.
        iam_session_hours: how long a person stays signed in at most.
        iam_workload_issuers: origins inside the platform's network, apart by commas, that tenants' workload issuers may
            have (`https://host:port`); none: only public addresses are asked (not looked at in profiles of laptops).
        iam_provider_secrets_file: JSON object of sign-in provider id → client secret (0600); none: there is no secret.
        iam_public_url: where people's browsers reach iam; default: where it listens.
    """

    iam_signing_keys_file: Path | None = None
    iam_bootstrap_key_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    iam_bootstrap_key_id: str = Field(default="bootstrap", pattern=_LABEL)
    iam_bootstrap_account: str = Field(default="operator", pattern=_LABEL)
    iam_bootstrap_key_days: int = Field(default=30, ge=1, le=366)
    iam_passwords: bool | None = None
    iam_session_hours: int = Field(default=12, ge=1, le=168)
    iam_provider_secrets_file: Path | None = None
    iam_workload_issuers: str = ""
    iam_public_url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+$")

    @model_validator(mode="after")
    def _passwords_are_for_laptops(self) -> Self:
        if self.iam_passwords and self.durable:
            raise ValueError(
                f"the {self.profile} profile signs people in through a provider; unset GPUAAS_IAM_PASSWORDS"
            )
        return self

    @property
    def passwords_allowed(self) -> bool:
        return not self.durable if self.iam_passwords is None else self.iam_passwords

    @property
    def outside(self) -> Outside:
        """Where issuers that tenants name may be."""
        named = frozenset(each.strip().lower() for each in self.iam_workload_issuers.split(",") if each.strip())
        return Outside(named, anywhere=not self.durable)

    @property
    def public_url(self) -> str:
        return self.iam_public_url or f"http://{self.http_host}:{self.http_port}"

    @property
    def signing_keys_file(self) -> Path:
        return self.iam_signing_keys_file or self.state_dir / "signing-keys.json"
