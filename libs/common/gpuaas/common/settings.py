"""What a process is told from outside. One law: read once, at the start, from variables that begin with `GPUAAS_`.

Combinations that would be unsafe in a profile are refused here, in a sentence.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import unquote, urlsplit

from gpuaas.common.clock import Clock, Pace, PacedClock, WallClock
from gpuaas.common.errors import Misconfigured
from gpuaas.common.events import first_complaint
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PREFIX: Final = "GPUAAS_"
Profile = Literal["kind", "dev", "demo", "staging", "production"]
DURABLE_PROFILES: Final = frozenset({"staging", "production"})
PASSWORD_LENGTH_MIN: Final = 16
HERE: Final = frozenset({None, "", "localhost", "127.0.0.1", "::1"})
"""Hosts that are this machine; none: a socket in the file system."""
KNOWN_PASSWORDS: Final = ("password", "postgres", "changeme", "secret", "gpuaas", "admin", "nats", "default", "test")
"""What a made-up password is not, however often it is repeated or numbered."""


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """Addresses without, and the name and password beside them.

    Beside, because a cluster tells its clients of its other members: a client that knows its password only as a part of
    one address turns up at the next member as nobody, is refused, and closes for good.
    """

    servers: list[str]
    user: str | None
    password: str | None = field(repr=False)


def login_of(nats_url: str) -> BrokerLogin:
    """`nats://user:password@host:port`, several separated by commas, taken apart; the first one's name counts."""
    places = [urlsplit(url.strip()) for url in nats_url.split(",") if url.strip()]
    first = places[0] if places else urlsplit("")
    return BrokerLogin(
        servers=[place._replace(netloc=place.netloc.rpartition("@")[2]).geturl() for place in places],
        user=None if first.username is None else unquote(first.username),
        password=None if first.password is None else unquote(first.password),
    )


def trusting(ca_file: Path) -> ssl.SSLContext:
    """A client's TLS that believes who `ca_file` vouches for, and nobody else.

    Raises:
        Misconfigured: the file is no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file))
    except OSError as refused:
        raise Misconfigured(f"{ca_file} is no certificate to trust: {refused}") from refused
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Settings(BaseModel):
    """The settings every service understands. A service adds its own by subclassing.

    Attributes:
        nats_url: broker address with this service's own user and password; several servers separated by commas.
        nats_monitor_url: where to see how full the broker's storage is and, for staging and production, whether it
            syncs every write.
        log_headroom: share of the log's room that is kept for what ends work (release, stop, revoke).
        log_replicas_min: copies of the log without which staging and production do not serve.
        postgres_dsn: this service's own database.
        clock_pace: `<unix s>/<ISO time>/<rate>`: the world's time, demo and dev profiles only.
        state_dir: where this service may keep what is not in the log (keys, artefacts).
        ready_timeout_s: longest wait for a view to reach a position before a question answers 503.
        requests_per_s: sustained requests per second one caller may make; bursts of twice that pass.
        nats_ca_file: who may vouch for the broker; given, the connection is TLS or none.
        postgres_ca_file: the same for PostgreSQL.
        http_cert_file, http_key_file: given, the door speaks TLS only.
        cors_origins: web origins whose pages may call this door, separated by commas; none by default.
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
    cors_origins: str = Field(default="", max_length=4_096)
    nats_ca_file: Path | None = None
    postgres_ca_file: Path | None = None
    http_cert_file: Path | None = None
    http_key_file: Path | None = None

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.clock_pace is not None and self.profile not in ("demo", "dev"):
            raise ValueError(
                f"the {self.profile} profile runs on real time; unset {PREFIX}CLOCK_PACE or use the demo profile"
            )
        if "*" in self.web_origins and self.profile != "dev":
            raise ValueError(
                f"the {self.profile} profile lets no page of just anybody call its doors; name them in "
                f"{PREFIX}CORS_ORIGINS instead of *"
            )
        if (self.http_cert_file is None) != (self.http_key_file is None):
            raise ValueError(f"give both {PREFIX}HTTP_CERT_FILE and {PREFIX}HTTP_KEY_FILE, or neither")
        for address in (*self.nats_urls, self.postgres_dsn):
            self._refuse_known_password(address)
        self._refuse_clear_text()
        return self

    def _refuse_clear_text(self) -> None:
        if not self.durable:
            return
        for name, addresses, ca_file in (
            ("NATS", self.nats_urls, self.nats_ca_file),
            ("POSTGRES", [self.postgres_dsn], self.postgres_ca_file),
        ):
            far = [host for address in addresses if (host := urlsplit(address).hostname) not in HERE]
            if far and ca_file is None:
                raise ValueError(
                    f"the {self.profile} profile sends nothing in clear to another machine ({far[0]}); "
                    f"say who vouches for it in {PREFIX}{name}_CA_FILE"
                )

    def _refuse_known_password(self, address: str) -> None:
        at = urlsplit(address)
        if not self.durable or at.password is None:
            return
        plain = unquote(at.password).lower().strip("0123456789!-_.")
        known = any(plain and not plain.replace(word, "") for word in KNOWN_PASSWORDS)
        if known or len(at.password) < PASSWORD_LENGTH_MIN:
            raise ValueError(
                f"the {self.profile} profile does not start on a default or short password for {at.username} at "
                f"{at.hostname}; give it one of {PASSWORD_LENGTH_MIN} characters or more that a program made"
            )

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
    def nats_urls(self) -> list[str]:
        """The broker's servers."""
        return [url.strip() for url in self.nats_url.split(",") if url.strip()]

    def broker_tls(self) -> ssl.SSLContext | None:
        """How the broker is proved to be the broker; None: in clear.

        Raises:
            Misconfigured: the file is no certificate.
        """
        return None if self.nats_ca_file is None else trusting(self.nats_ca_file)

    def database_tls(self) -> ssl.SSLContext | None:
        """How PostgreSQL is proved to be ours; None: as the address says.

        Raises:
            Misconfigured: the file is no certificate.
        """
        return None if self.postgres_ca_file is None else trusting(self.postgres_ca_file)

    @property
    def web_origins(self) -> list[str]:
        """Origins of pages that may call this door."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]

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
