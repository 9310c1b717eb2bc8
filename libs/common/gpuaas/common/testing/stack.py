"""Real servers for tests: one NATS and one PostgreSQL per run. One law: no test sees what another wrote.

Every log is a NATS account of its own with its own EVENTS stream; every database is a fresh clone.
`GPUAAS_STACK=containers` takes the official images instead of the embedded programs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import nats
from gpuaas.common.embedded.nats_server import (
    MAX_PAYLOAD_BYTES,
    ClusterSeat,
    NatsServer,
    NatsUser,
    accounts_config,
)
from gpuaas.common.embedded.postgres import PostgresServer
from gpuaas.common.embedded.process import free_port
from gpuaas.common.embedded.secrets_file import new_secret, write_private
from gpuaas.common.errors import Unavailable
from gpuaas.common.ids import new_id
from gpuaas.common.provision import KEY_KEEPERS, LogSettings, administrator_of, provision_log
from gpuaas.common.vaults.jetstream import stream_of

ACCOUNTS_PER_SERVER: Final = 128
NATS_IMAGE: Final = "nats:2.15"
POSTGRES_IMAGE: Final = "postgres:18"
CONTAINER_START_TIMEOUT_S: Final = 60.0
TEST_FILE_STORE_BYTES: Final = 8 << 30


@dataclass(frozen=True, slots=True)
class LogAddress:
    """A provisioned, empty log: `url` signs in with every right inside its own account."""

    url: str = field(repr=False)
    incarnation: str


@dataclass(slots=True)
class LogPlace:
    """One NATS server with prepared accounts; each is handed out once."""

    host_port: str
    users: dict[str, NatsUser]
    unused: list[str]

    def take(self) -> str | None:
        """The URL of the next unused account; None when all are used up."""
        if not self.unused:
            return None
        name = self.unused.pop()
        return f"nats://{name}:{self.users[name].password}@{self.host_port}"


class TestStack:
    """The servers of one test run; made by `running_stack()`."""

    __test__ = False  # a class pytest must not collect

    def __init__(self, directory: Path, servers: ExitStack, containers: bool) -> None:
        self._directory = directory
        self._servers = servers
        self._containers = containers
        self._place: LogPlace | None = None
        self._admin_dsn = ""

    @property
    def admin_dsn(self) -> str:
        """A superuser's URL of the run's PostgreSQL, started at the first use."""
        if not self._admin_dsn:
            opened = postgres_container() if self._containers else embedded_postgres(self._directory / "postgres")
            self._admin_dsn = self._servers.enter_context(opened)
        return self._admin_dsn

    @asynccontextmanager
    async def fresh_log(self, settings: LogSettings | None = None) -> AsyncIterator[LogAddress]:
        """An empty, provisioned log that nobody else sees; its disk is freed at the end."""
        url = self._take_account()
        connection = await nats.connect(url)
        try:
            incarnation = await provision_log(connection, settings or LogSettings())
            yield LogAddress(url, incarnation)
            for stream in ("EVENTS", "TELEMETRY", *map(stream_of, KEY_KEEPERS)):
                await connection.request(f"$JS.API.STREAM.DELETE.{stream}", timeout=5)
        finally:
            await connection.close()

    @asynccontextmanager
    async def fresh_database(self, template: str = "template0") -> AsyncIterator[str]:
        """The URL of a new clone of `template`, owned by a role without other rights; dropped at the end."""
        name, password = f"test_{new_id().replace('-', '')}", new_secret()
        administrator = await _administrator(self.admin_dsn)
        try:
            await administrator.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'")
            await administrator.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" OWNER "{name}"')
            yield self._dsn_of(name, password)
            await administrator.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await administrator.execute(f'DROP ROLE "{name}"')
        finally:
            await administrator.close()

    def _dsn_of(self, name: str, password: str) -> str:
        at = urlsplit(self.admin_dsn)
        return f"postgresql://{name}:{password}@{at.hostname}:{at.port}/{name}"

    def _take_account(self) -> str:
        url = self._place.take() if self._place else None
        if url is None:
            self._place = place = self._servers.enter_context(self._open_place())
            url = place.take()
        assert url is not None
        return url

    @contextmanager
    def _open_place(self) -> Iterator[LogPlace]:
        users = {f"{new_id()[-12:]}-{number}": NatsUser() for number in range(ACCOUNTS_PER_SERVER)}
        accounts = {f"A-{name}": {name: user} for name, user in users.items()}
        directory = self._directory / f"nats-{new_id()}"
        opened = nats_container(directory, accounts) if self._containers else embedded_nats(directory, accounts)
        with opened as host_port:
            yield LogPlace(host_port, users, list(users))


@contextmanager
def running_stack() -> Iterator[TestStack]:
    """The servers of one test run, each started at its first use, all stopped and removed at the end."""
    with _shared_directory() as directory, ExitStack() as servers:
        yield TestStack(directory, servers, os.environ.get("GPUAAS_STACK") == "containers")


@contextmanager
def embedded_nats(directory: Path, accounts: Mapping[str, Mapping[str, NatsUser]]) -> Iterator[str]:
    """A nats-server of our own; gives `host:port`."""
    server = NatsServer(directory, accounts, max_file_store_bytes=TEST_FILE_STORE_BYTES)
    server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop()


@contextmanager
def embedded_postgres(directory: Path) -> Iterator[str]:
    """A PostgreSQL of our own, without fsync; gives the superuser's URL."""
    server = PostgresServer(directory, fsync=False, synchronous_commit=False)
    server.start()
    try:
        yield server.dsn()
    finally:
        server.stop()
        server.remove()


@contextmanager
def nats_cluster(size: int = 3, *, user: NatsUser | None = None) -> Iterator[list[NatsServer]]:
    """`size` servers in one cluster on loopback, one account `CELL` with the user `admin`."""
    routes = [free_port() for _ in range(size)]
    accounts = {"CELL": {"admin": user or NatsUser()}}
    with _shared_directory() as directory:
        servers = [
            NatsServer(
                directory / f"nats-{number}",
                accounts,
                seat=ClusterSeat("cell", route, routes),
                max_file_store_bytes=TEST_FILE_STORE_BYTES,
            )
            for number, route in enumerate(routes)
        ]
        try:
            for server in servers:
                server.start()
            yield servers
        finally:
            for server in servers:
                server.stop()


@contextmanager
def nats_container(directory: Path, accounts: Mapping[str, Mapping[str, NatsUser]]) -> Iterator[str]:
    """The official NATS image; gives `host:port`. The calling test is skipped without a container engine."""
    config: dict[str, Any] = {
        "listen": "0.0.0.0:4222",
        "http": "0.0.0.0:8222",
        "max_payload": MAX_PAYLOAD_BYTES,
        "jetstream": {"store_dir": "/data", "max_file_store": TEST_FILE_STORE_BYTES},
        "accounts": accounts_config(accounts),
        "system_account": "SYS",
    }
    directory.mkdir(parents=True)
    write_private(directory / "nats.json", json.dumps(config))
    (directory / "nats.json").chmod(0o644)  # read by the container's own user; the folder above is private to us
    container = _container(NATS_IMAGE).with_exposed_ports(4222).with_command("--config /etc/nats/nats.json")
    container = container.with_volume_mapping(str(directory), "/etc/nats", "ro")
    with _started(container, "Server is ready") as running:
        yield f"{running.get_container_host_ip()}:{running.get_exposed_port(4222)}"


@contextmanager
def postgres_container() -> Iterator[str]:
    """The official PostgreSQL image; gives the superuser's URL. Skips without a container engine."""
    password = new_secret()
    container = _container(POSTGRES_IMAGE).with_exposed_ports(5432).with_env("POSTGRES_PASSWORD", password)
    with _started(container, "listening on IPv4") as running:
        host, port = running.get_container_host_ip(), running.get_exposed_port(5432)
        yield f"postgresql://postgres:{password}@{host}:{port}/postgres"


def _container(image: str) -> Any:
    import pytest

    # We stop what we start; the reaper would be one more image and would want the engine's socket.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    try:
        from testcontainers.core.container import DockerContainer

        return DockerContainer(image)
    except Exception as refused:  # noqa: BLE001 (the client raises its own, requests' or docker's errors)
        pytest.skip(f"GPUAAS_STACK=containers needs a container engine: {refused}")


@contextmanager
def _started(container: Any, said: str) -> Iterator[Any]:
    with container as running:
        deadline = time.monotonic() + CONTAINER_START_TIMEOUT_S
        while not any(said.encode() in stream for stream in running.get_logs()):
            if time.monotonic() > deadline:
                raise Unavailable(f"the container {running.image} did not say {said!r} in time")
            time.sleep(0.05)
        yield running


async def _administrator(dsn: str) -> asyncpg.Connection:
    async with asyncio.timeout(CONTAINER_START_TIMEOUT_S):
        return await administrator_of(dsn)


@contextmanager
def _shared_directory() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's unprivileged user can cross (but not list)."""
    directory = Path(tempfile.mkdtemp(prefix="gpuaas-test-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
