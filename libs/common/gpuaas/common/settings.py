"""What a process is told from outside. One law: read once, at the start, from variables that begin with `GPUAAS_`.

Combinations that would be unsafe in a profile are refused here, in a sentence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self

from gpuaas.common.clock import Clock, Pace, PacedClock, WallClock
from gpuaas.common.errors import Misconfigured
from gpuaas.common.events import first_complaint
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PREFIX: Final = "GPUAAS_"
Profile = Literal["kind", "dev", "demo", "staging", "production"]
DURABLE_PROFILES: Final = frozenset({"staging", "production"})


class Settings(BaseModel):
    """The settings every service understands. A service adds its own by subclassing.

    Attributes:
        nats_url: broker address with this service's own user and password.
        nats_monitor_url: where to see how full the broker's storage is and, for staging and production, whether it
            syncs every write.
        log_headroom: share of the log's room that is kept for what ends work (release, stop, revoke).
        log_replicas_min: copies of the log without which staging and production do not serve.
        postgres_dsn: this service's own database.
        clock_pace: `<unix s>/<ISO time>/<rate>`: the world's time, demo and dev profiles only.
        state_dir: where this service may keep what is not in the log (keys, artefacts).
        ready_timeout_s: longest wait for a view to reach a position before a question answers 503.
        requests_per_s: sustained requests per second one caller may make; bursts of twice that pass.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    profile: Profile = "dev"
    nats_url: str = "nats://127.0.0.1:4222"
    nats_monitor_url: str = ""
    log_replicas_min: int = Field(default=3, ge=1, le=5)
    log_headroom: float = Field(default=0.05, ge=0, le=0.5)
    postgres_dsn: str = ""
    postgres_pool_max: int = Field(default=6, ge=2, le=64)
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=0, ge=0, le=65535)
    state_dir: Path = Path(".state")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    clock_pace: str | None = None
    ready_timeout_s: float = Field(default=5.0, gt=0, le=60)
    requests_per_s: int = Field(default=2_000, ge=1)
    body_bytes_max: int = Field(default=1_048_576, ge=1_024)
    drain_s: float = Field(default=10.0, ge=0, le=120)

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.clock_pace is not None and self.profile not in ("demo", "dev"):
            raise ValueError(
                f"the {self.profile} profile runs on real time; unset {PREFIX}CLOCK_PACE or use the demo profile"
            )
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read `GPUAAS_<FIELD>` for every field.

        Raises:
            Misconfigured: a value is wrong; names the variable.
        """
        source = os.environ if environment is None else environment
        given = {name: source[PREFIX + name.upper()] for name in cls.model_fields if PREFIX + name.upper() in source}
        try:
            return cls.model_validate(given)
        except ValidationError as refused:
            said = first_complaint(refused)
            raise Misconfigured(f"settings: {said}; set the matching {PREFIX}* variable") from None

    @property
    def durable(self) -> bool:
        """Whether an acknowledged event must survive a power cut in this profile."""
        return self.profile in DURABLE_PROFILES

    def clock(self) -> Clock:
        """The clock this process lives by."""
        if self.clock_pace is None:
            return WallClock()
        try:
            return PacedClock(Pace.decode(self.clock_pace))
        except ValueError:
            example = Pace(0.0, datetime.fromisoformat("2026-01-01T00:00:00+00:00"), 60.0).encode()
            raise Misconfigured(f"{PREFIX}CLOCK_PACE is {self.clock_pace!r}; write it like {example}") from None
