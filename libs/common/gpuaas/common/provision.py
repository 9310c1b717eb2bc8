"""What must exist before any service starts: the streams, one database per service.

One law: it creates what is absent and refuses what is different; it never changes a log that exists.
Run `python -m gpuaas.common.provision` once per installation; running it again does nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import nats
from gpuaas.common.errors import GpuaasError, Misconfigured, Unavailable
from gpuaas.common.ids import new_id
from gpuaas.common.scram import scram_verifier
from gpuaas.common.settings import trusting
from gpuaas.common.vaults.jetstream import stream_of
from nats.aio.client import Client
from nats.errors import Error as NatsError

EVENTS: Final = "EVENTS"
KEY_KEEPERS: Final = ("iam",)
"""Services whose events hold personal data; each has a stream of keys (`vaults.jetstream`). The contracts say which."""
TELEMETRY: Final = "TELEMETRY"
INCARNATION: Final = "incarnation"
"""Metadata key of the id a log gets when it is made: a log made again has another one."""

FORBIDDEN: Final = ("sources", "mirror", "subject_transform", "republish", "placement")
NS_PER_S: Final = 1_000_000_000
REQUEST_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 60.0
CONNECT_PAUSE_S: Final = 0.2
CONNECTIONS_PER_SERVICE_MAX: Final = 40
_NOT_FOUND: Final = 10059
_SERVICE: Final = re.compile(r"^[a-z][a-z0-9_]{0,40}$")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How large and how safe the log is.

    Attributes:
        replicas: 1, 3 or 5 servers hold each message.
        events_max_bytes: size at which EVENTS refuses to grow; -1 = only the server's own limit.
        telemetry_max_bytes, telemetry_max_age_s: TELEMETRY forgets its oldest beyond either.
    """

    replicas: int = 1
    events_max_bytes: int = -1
    telemetry_max_bytes: int = 256 << 20
    telemetry_max_age_s: int = 24 * 3600
    duplicate_window_s: int = 120


def events_config(settings: LogSettings) -> dict[str, Any]:
    """The EVENTS stream: append-only, atomic batches, no age, no compression, refuses when full."""
    return {
        "name": EVENTS,
        "description": "Everything that happened. The order of this stream is the order of the world.",
        "subjects": ["events.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_bytes": settings.events_max_bytes,
        "max_msg_size": -1,
        "num_replicas": settings.replicas,
        "duplicate_window": settings.duplicate_window_s * NS_PER_S,
        "compression": "none",
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "allow_direct": True,
        "allow_atomic": True,
        "allow_msg_ttl": False,
    }


def telemetry_config(settings: LogSettings) -> dict[str, Any]:
    """The TELEMETRY stream: high-rate samples that may be forgotten."""
    return {
        "name": TELEMETRY,
        "description": "Heartbeats and utilisation samples; what they mean becomes an event.",
        "subjects": ["telemetry.>"],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_age": settings.telemetry_max_age_s * NS_PER_S,
        "max_bytes": settings.telemetry_max_bytes,
        "num_replicas": settings.replicas,
        "duplicate_window": settings.duplicate_window_s * NS_PER_S,
        "allow_direct": True,
    }


def keys_config(service: str, settings: LogSettings) -> dict[str, Any]:
    """The stream of one service's keys: one message per person, never replaced, and destroyed for good."""
    return {
        "name": stream_of(service),
        "description": f"Keys to personal data in the events of {service}. Back it up apart from the log.",
        "subjects": [f"keys.{service}.*"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": 1,
        "max_age": 0,
        "num_replicas": settings.replicas,
        "compression": "none",
        "deny_delete": False,
        "deny_purge": True,
        "allow_direct": True,
    }


async def provision_log(
    connection: Client, settings: LogSettings = LogSettings(), *, incarnation: str | None = None
) -> str:
    """Make the streams EVENTS and TELEMETRY, and those of keys, where they are absent.

    Args:
        connection: signed in as a user with rights on `$JS.API.STREAM.>`.
        incarnation: of the log that is about to be restored into it, event by event; None: a new log.

    Returns:
        The incarnation id of EVENTS, new or found.

    Raises:
        Misconfigured: EVENTS exists with other guarded settings, or the server refuses.
        Unavailable: JetStream does not answer.
    """
    found = await _stream(connection, EVENTS)
    if found is None:
        metadata = {INCARNATION: incarnation or new_id()}
        found = await _create(connection, {**events_config(settings), "metadata": metadata})
    differences = guarded_differences(found, events_config(settings))
    if differences:
        raise Misconfigured(
            f"the stream {EVENTS} is not as the log must be: {'; '.join(differences)}. "
            "Nothing was changed; restore the log from a copy or correct the setting it was made with"
        )
    if await _stream(connection, TELEMETRY) is None:
        await _create(connection, telemetry_config(settings))
    for service in KEY_KEEPERS:
        if await _stream(connection, stream_of(service)) is None:
            await _create(connection, keys_config(service, settings))
    return str(found["metadata"][INCARNATION])


def guarded_differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What makes the stream configuration `found` another log than `wanted`, one short sentence each.

    Sizes, description and replicas may differ: they change what it holds, not what it promises.
    """
    free = {"description", "max_bytes", "num_replicas", "duplicate_window"}
    absent = {"max_age": 0, "compression": "none"}
    wrong = [
        f"{name} is {json.dumps(found.get(name, absent.get(name, False)))} and must be {json.dumps(value)}"
        for name, value in wanted.items()
        if name not in free and found.get(name, absent.get(name, False)) != value
    ]
    wrong += [f"{name} is set and must not be" for name in FORBIDDEN if found.get(name)]
    wrong += ["it is sealed"] if found.get("sealed") else []
    if INCARNATION not in (found.get("metadata") or {}):
        wrong.append(f"its metadata has no {INCARNATION}")
    return wrong


async def provision_database(administrator: asyncpg.Connection, service: str, password: str) -> str:
    """Make the role and the database of one service, both called `gpuaas_<service>`; set the role's password.

    The role owns its database, may connect to no other, and may make neither roles nor databases.

    Returns:
        The database's name.

    Raises:
        Misconfigured: `service` cannot be a name.
    """
    if _SERVICE.fullmatch(service) is None:
        raise Misconfigured(f"{service!r} cannot name a database; use a-z, 0-9 and _, beginning with a letter")
    name = f"gpuaas_{service}"
    verb = "ALTER" if await administrator.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name) else "CREATE"
    await administrator.execute(
        f'{verb} ROLE "{name}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS '
        f"CONNECTION LIMIT {CONNECTIONS_PER_SERVICE_MAX} PASSWORD '{scram_verifier(password)}'"
    )
    if not await administrator.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        await administrator.execute(f'GRANT "{name}" TO CURRENT_USER')
        await administrator.execute(f'CREATE DATABASE "{name}" OWNER "{name}" TEMPLATE template0 ENCODING UTF8')
    for database in (name, "postgres", "template1"):
        await administrator.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
    return name


@dataclass(frozen=True, slots=True)
class ProvisionSettings:
    """What the one-shot program reads from the environment.

    Attributes:
        nats_url: GPUAAS_NATS_URL, signing in as the provisioner.
        nats_ca_file: GPUAAS_NATS_CA_FILE, who may vouch for the broker; none: in clear.
        admin_dsn: GPUAAS_POSTGRES_ADMIN_DSN, a PostgreSQL superuser.
        postgres_ca_file: GPUAAS_POSTGRES_CA_FILE, who may vouch for PostgreSQL; none: as the address says.
        passwords: database password by service: for every name in GPUAAS_PROVISION_SERVICES (separated by commas)
            GPUAAS_PROVISION_PASSWORD_<NAME>, or the file `<name>.postgres` in GPUAAS_SECRETS_DIR.
        log: GPUAAS_LOG_REPLICAS, GPUAAS_LOG_MAX_BYTES, GPUAAS_TELEMETRY_MAX_BYTES.
    """

    nats_url: str = field(repr=False)
    nats_ca_file: Path | None
    admin_dsn: str = field(repr=False)
    postgres_ca_file: Path | None
    passwords: Mapping[str, str] = field(repr=False)
    log: LogSettings

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> ProvisionSettings:
        """The settings in `environment`.

        Raises:
            Misconfigured: one is absent or not a number.
        """
        try:
            services = filter(None, environment["GPUAAS_PROVISION_SERVICES"].split(","))
            return cls(
                nats_url=environment["GPUAAS_NATS_URL"],
                nats_ca_file=_file(environment, "GPUAAS_NATS_CA_FILE"),
                admin_dsn=environment["GPUAAS_POSTGRES_ADMIN_DSN"],
                postgres_ca_file=_file(environment, "GPUAAS_POSTGRES_CA_FILE"),
                passwords={service: _password(service, environment) for service in services},
                log=LogSettings(
                    replicas=int(environment.get("GPUAAS_LOG_REPLICAS", "1")),
                    events_max_bytes=int(environment.get("GPUAAS_LOG_MAX_BYTES", "-1")),
                    telemetry_max_bytes=int(environment.get("GPUAAS_TELEMETRY_MAX_BYTES", str(256 << 20))),
                ),
            )
        except KeyError as absent:
            raise Misconfigured(f"the environment variable {absent.args[0]} is not set") from None
        except ValueError as refused:
            raise Misconfigured(f"a size or count in the environment is not a number: {refused}") from refused


def _file(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(given) if (given := environment.get(name)) else None


def _password(service: str, environment: Mapping[str, str]) -> str:
    if given := environment.get(f"GPUAAS_PROVISION_PASSWORD_{service.upper()}"):
        return given
    path = Path(environment["GPUAAS_SECRETS_DIR"]) / f"{service}.postgres"
    try:
        return path.read_text("utf-8").strip()
    except OSError as refused:
        raise Misconfigured(f"the password file {path} cannot be read: {refused.strerror}") from refused


async def provision(settings: ProvisionSettings) -> str:
    """Provision the log and every service's database, waiting for both servers to come up.

    Returns:
        The incarnation id of the log.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        trusted = trusting(settings.postgres_ca_file) if settings.postgres_ca_file else None
        administrator = await administrator_of(settings.admin_dsn, trusted)
    try:
        for service, password in settings.passwords.items():
            await provision_database(administrator, service, password)
    finally:
        await administrator.close()
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        tls = trusting(settings.nats_ca_file) if settings.nats_ca_file else None
        servers = settings.nats_url.split(",")
        connection = await nats.connect(servers, max_reconnect_attempts=-1, name="provisioner", tls=tls)
    try:
        return await provision_log(connection, settings.log)
    finally:
        await connection.close()


async def administrator_of(dsn: str, tls: ssl.SSLContext | None = None) -> asyncpg.Connection:
    """A superuser's connection; waits while PostgreSQL is not there yet, so bound it with a timeout.

    Args:
        tls: who may vouch for the server; None: as the address says.
    """
    while True:
        try:
            return await asyncpg.connect(dsn, ssl=tls)
        except ssl.SSLCertVerificationError as stranger:
            raise Misconfigured(f"PostgreSQL is not who it should be: {stranger.verify_message}") from stranger
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(CONNECT_PAUSE_S)


async def _stream(connection: Client, name: str) -> dict[str, Any] | None:
    answer = await _ask(connection, f"$JS.API.STREAM.INFO.{name}", {})
    if answer.get("error", {}).get("err_code") == _NOT_FOUND:
        return None
    return _config_in(answer, f"reading the stream {name}")


async def _create(connection: Client, config: Mapping[str, Any]) -> dict[str, Any]:
    name = config["name"]
    answer = await _ask(connection, f"$JS.API.STREAM.CREATE.{name}", config)
    return _config_in(answer, f"creating the stream {name}")


def _config_in(answer: Mapping[str, Any], doing: str) -> dict[str, Any]:
    if (error := answer.get("error")) is not None:
        raise Misconfigured(f"{doing}: {error.get('description')} (JetStream error {error.get('err_code')})")
    config: dict[str, Any] = answer["config"]
    return config


async def _ask(connection: Client, subject: str, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        reply = await connection.request(subject, json.dumps(body).encode(), timeout=REQUEST_TIMEOUT_S)
    except (NatsError, TimeoutError) as failed:
        raise Unavailable(
            f"JetStream does not answer {subject} ({type(failed).__name__}); "
            "check that the server runs and that this user may use it"
        ) from failed
    answer: dict[str, Any] = json.loads(reply.data)
    return answer


def main() -> None:
    """Provision once, by the environment; exit status 1 and one sentence when it cannot."""
    try:
        incarnation = asyncio.run(provision(ProvisionSettings.read(os.environ)))
    except TimeoutError:
        sys.exit(f"PostgreSQL or NATS did not answer within {CONNECT_TIMEOUT_S:g} s; check their addresses")
    except GpuaasError as refused:
        sys.exit(refused.detail)
    print(f"provisioned; the log's incarnation is {incarnation}")


if __name__ == "__main__":
    main()
