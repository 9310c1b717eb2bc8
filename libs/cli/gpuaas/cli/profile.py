"""Environments as differences. One law: the schema says everything once, a profile's file only what is different there.

Layers, from the ground: the schema's defaults, the profile that a profile `extends`, its own file, values given with
`--set section.name=value`. `gpuaas up`, `docker-compose.yml` and the manifests are all made from the outcome.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal, get_args

from gpuaas.common.errors import Misconfigured
from gpuaas.common.settings import PREFIX, Settings
from gpuaas.common.settings import Profile as ProfileName
from pydantic import BaseModel, ConfigDict, Field, ValidationError

NAMES: Final[tuple[ProfileName, ...]] = get_args(ProfileName)
SCHEMA: Final = "schema"
GIVEN: Final = "--set"
DEPTH_MAX: Final = 4
"""Profiles a profile may stand on."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServicePart(_Part):
    """What every service is told; each name is a setting of `gpuaas.common.settings` or of the service that has it."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    requests_per_s: int = Field(2_000, ge=1, description="sustained requests of one caller")
    body_bytes_max: int = Field(1_048_576, ge=1_024)
    ready_timeout_s: float = Field(5.0, gt=0, le=60, description="longest wait for a view before 503")
    postgres_pool_max: int = Field(6, ge=2, le=64)
    drain_s: float = Field(10.0, ge=0, le=120, description="time for requests under way when a process is asked to end")
    cors_origins: str = Field("", description="web origins that may call the doors, separated by commas")
    simulated_machines_allowed: bool = False


class LogPart(_Part):
    """The broker and the log on it."""

    servers: Literal[1, 3, 5] = Field(1, description="servers, each with a whole copy of the log")
    sync: Literal["always", "2m"] = Field("2m", description="when a message is on disk; `always`: before its ack")
    file_store_mib: int = Field(16_384, ge=64, description="size at which the log refuses to grow")


class DatabasePart(_Part):
    """PostgreSQL: read models only, so what it loses is folded again."""

    fsync: bool = Field(True, description="off: a power cut ruins the cluster, and it is rebuilt from the log")
    synchronous_commit: bool = Field(False, description="off: a crash may take the newest transactions, never half one")


class TimePart(_Part):
    """The world's time."""

    may_run_fast: bool = Field(False, description="whether GPUAAS_CLOCK_PACE is listened to")


class SecretsPart(_Part):
    """Where passwords and keys come from, and what they travel through."""

    source: Literal["made-here", "given"] = "made-here"
    tls: bool = Field(False, description="broker and doors speak TLS only")


class RunPart(_Part):
    """How processes are run by an orchestrator."""

    instances: int = Field(1, ge=1, le=16, description="processes of each service")
    image_tag: str = Field("local", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    cpu_request_m: int = Field(100, ge=10)
    memory_request_mib: int = Field(160, ge=64)
    memory_limit_mib: int = Field(512, ge=128)
    spread_zones: bool = Field(False, description="copies of one thing never in one zone")


class Profile(_Part):
    """One environment, whole."""

    name: ProfileName
    description: str
    service: ServicePart = ServicePart()
    log: LogPart = LogPart()
    database: DatabasePart = DatabasePart()
    time: TimePart = TimePart()
    secrets: SecretsPart = SecretsPart()
    run: RunPart = RunPart()

    @property
    def durable(self) -> bool:
        """Whether it promises that an acknowledged event survives a power cut."""
        return Settings.model_construct(profile=self.name).durable

    def flat(self) -> dict[str, Any]:
        """`section.name` → value, in order of the schema."""
        return {f"{section}.{name}": value for section, part in self if isinstance(part, _Part) for name, value in part}

    def service_environment(self) -> dict[str, str]:
        """The variables every service gets: its profile, and what differs from the service's own defaults."""
        defaults = ServicePart()
        return {f"{PREFIX}PROFILE": self.name} | {
            f"{PREFIX}{name.upper()}": _as_variable(value)
            for name, value in self.service
            if value != getattr(defaults, name)
        }


@dataclass(frozen=True, slots=True)
class Layered:
    """A profile and where each of its values comes from."""

    profile: Profile
    origins: Mapping[str, str]
    repeated: tuple[str, ...]
    """Sentences about values that a file says although the layer below says the same."""


def load(name: str, given: Sequence[str] = ()) -> Profile:
    """The profile called `name` with the values `given` as `section.name=value`, checked.

    Raises:
        Misconfigured: there is none, a value is wrong, or together they are unsafe; one sentence.
    """
    profile = layered(name, given).profile
    for sentence in unsafe(profile):
        raise Misconfigured(sentence)
    return profile


def layered(name: str, given: Sequence[str] = ()) -> Layered:
    """The profile and its origins, not yet checked for safety. Raises Misconfigured for what is not in the schema."""
    files = _files(name)
    layers = [*((each, _flattened(document)) for each, document in reversed(files)), (GIVEN, _given(given))]
    origins: dict[str, str] = {}
    values: dict[str, Any] = {}
    below = Profile(name="dev", description="").flat()
    repeated: list[str] = []
    for layer, differences in layers:
        for key, value in differences.items():
            if layer != GIVEN and values.get(key, below.get(key)) == value:
                repeated.append(f"{layer}.toml says {key} = {json.dumps(value)} as the layer below does; remove it")
            values[key] = value
            origins[key] = layer
    profile = _built(name, str(files[0][1].get("description", "")), values)
    return Layered(profile, {key: origins.get(key, SCHEMA) for key in profile.flat()}, tuple(repeated))


def differences(one: Profile, other: Profile) -> dict[str, tuple[Any, Any]]:
    """`section.name` → both values, where they differ."""
    left, right = one.flat(), other.flat()
    return {key: (left[key], right[key]) for key in left if left[key] != right[key]}


WEAK_TAGS: Final = frozenset({"local", "latest", "main"})


def unsafe(profile: Profile) -> list[str]:
    """Why this combination must not run, a sentence each; empty when it may."""
    name, said = profile.name, []
    origins = [origin.strip() for origin in profile.service.cors_origins.split(",") if origin.strip()]
    if profile.time.may_run_fast and name not in ("demo", "dev"):
        said.append(f"{name} bills real time: set time.may_run_fast = false, or use the demo profile")
    if "*" in origins and name != "dev":
        said.append(f"{name} lets any web page call the doors: name the origins in service.cors_origins")
    if not profile.durable:
        return said
    rules = (
        (profile.log.sync != "always", "loses acknowledged events in a power cut: set log.sync = always"),
        (profile.log.servers < 3, "loses the log with one disk: set log.servers = 3"),
        (not profile.database.fsync, "ruins its databases in a power cut: set database.fsync = true"),
        (profile.secrets.source != "given", "must not make up its own secrets: set secrets.source = given"),
        (not profile.secrets.tls, "sends passwords in clear: set secrets.tls = true"),
        (profile.service.log_level == "DEBUG", "may write callers' data into logs: set service.log_level = INFO"),
        (profile.run.instances < 2, "refuses requests at every roll-out: set run.instances = 2"),
        (profile.run.image_tag in WEAK_TAGS, "must say which build it runs: give run.image_tag a release"),
        (profile.service.drain_s < 5, "cuts requests off when it rolls: set service.drain_s to 5 or more"),
        (any(origin.startswith("http://") for origin in origins), "trusts a web origin without TLS: use https://"),
    )
    return said + [f"{name} {why}" for broken, why in rules if broken]


def _files(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The profile's file and those it stands on, from the top."""
    found: list[tuple[str, dict[str, Any]]] = []
    wanted: str | None = name
    while wanted is not None:
        if wanted not in NAMES:
            raise Misconfigured(f"there is no profile {wanted!r}; there are {', '.join(NAMES)}")
        if len(found) == DEPTH_MAX:
            raise Misconfigured(f"the profile {name} stands on more than {DEPTH_MAX} others, or on itself")
        text = resources.files("gpuaas.cli").joinpath("data", "profiles", f"{wanted}.toml").read_text("utf-8")
        document = tomllib.loads(text)
        found.append((wanted, document))
        wanted = document.get("extends")
    return found


def _flattened(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, part in document.items()
        if isinstance(part, dict)
        for name, value in part.items()
    }


def _given(pairs: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or "." not in key:
            raise Misconfigured(f"{pair!r} sets nothing; write section.name=value, such as log.servers=3")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def _built(name: str, description: str, values: Mapping[str, Any]) -> Profile:
    document: dict[str, Any] = {"name": name, "description": description}
    for key, value in values.items():
        section, _, field = key.partition(".")
        document.setdefault(section, {})[field] = value
    try:
        return Profile.model_validate(document)
    except ValidationError as refused:
        first = refused.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise Misconfigured(f"profile {name}: {where}: {first['msg']}; see `gpuaas profile show {name}`") from None


def _as_variable(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
