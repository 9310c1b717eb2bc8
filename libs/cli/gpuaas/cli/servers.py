"""The two servers under the suite on one machine: NATS and PostgreSQL, provisioned. One law: own user per service."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import asyncpg
import nats
from gpuaas.cli.service_table import SERVICES, ServiceEntry
from gpuaas.cli.state import OPERATOR_KEY, StateFolder
from gpuaas.common.apikeys import ApiKey, new_api_key, read_api_key
from gpuaas.common.embedded.nats_server import (
    ACCOUNT,
    SYNC_ALWAYS,
    SYNC_LAPTOP,
    NatsServer,
    NatsUser,
    UserPermissions,
)
from gpuaas.common.embedded.postgres import PostgresServer
from gpuaas.common.embedded.secrets_file import write_private
from gpuaas.common.errors import Misconfigured
from gpuaas.common.provision import administrator_of, provision_database, provision_log

SERVER_NAMES: Final = ("nats", "postgres")
PROVISIONER: Final = "provisioner"
OPERATOR: Final = "operator"
BOOTSTRAP_KEY_ID: Final = "bootstrap"
DURABLE_PROFILES: Final = frozenset({"staging", "production"})
PROVISION_TIMEOUT_S: Final = 30.0


def nats_permissions() -> dict[str, UserPermissions]:
    """User name → what it may do, generated from the contracts."""
    text = resources.files("gpuaas.contracts").joinpath("nats_permissions.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return {name: UserPermissions.parse(user["permissions"]) for name, user in document["users"].items()}


class Servers:
    """NATS and PostgreSQL on one state folder. Methods that start processes belong in the main thread.

    Args:
        folder: taken by the caller.
        profile: staging and production write every message and transaction to disk before they acknowledge it.
    """

    def __init__(self, folder: StateFolder, profile: str) -> None:
        self._folder = folder
        self._durable = profile in DURABLE_PROFILES
        self._profile = profile
        self.users: dict[str, NatsUser] = {}
        self.nats: NatsServer | None = None
        self.postgres: PostgresServer | None = None

    async def start_nats(self) -> None:
        """Start NATS and make the log where there is none."""
        self.users = {
            name: NatsUser(self._folder.secret(f"{name}.nats"), permissions)
            for name, permissions in nats_permissions().items()
        }
        self.nats = server = NatsServer(
            self._folder.path / "nats",
            {ACCOUNT: self.users},
            sync_interval=SYNC_ALWAYS if self._durable else SYNC_LAPTOP,
            port=self._folder.port("nats", None, os.environ),
            monitor_port=self._folder.port("nats_monitor", None, os.environ),
        )
        await _brought_up(server)
        connection = await nats.connect(server.url(PROVISIONER), name=PROVISIONER)
        try:
            self._folder.check_incarnation(await provision_log(connection))
        finally:
            await connection.close()

    async def start_postgres(self) -> None:
        """Start PostgreSQL and make every service's database where there is none."""
        self.postgres = server = PostgresServer(
            self._folder.path / "postgres",
            fsync=self._profile != "demo",
            synchronous_commit=self._durable,
            port=self._folder.port("postgres", None, os.environ),
        )
        await _brought_up(server)
        try:
            async with asyncio.timeout(PROVISION_TIMEOUT_S):
                await self._provision_databases(server.dsn())
        except asyncpg.InvalidPasswordError:
            raise Misconfigured(
                f"{server.directory / 'password'} does not open the databases beside it; put the old file back, "
                f"or remove {server.directory} to have every read model rebuilt from the log"
            ) from None

    def url_of(self, name: str) -> str:
        """The broker's URL for one user."""
        return self.running()[0].url(name)

    def environment_of(self, entry: ServiceEntry, http_port: int) -> dict[str, str]:
        """The variables that tell one service who and where it is."""
        environment = {
            "GPUAAS_PROFILE": self._profile,
            "GPUAAS_NATS_URL": self.url_of(entry.name),
            "GPUAAS_NATS_MONITOR_URL": f"http://127.0.0.1:{self.running()[0].monitor_port}",
            "GPUAAS_POSTGRES_DSN": self.dsn_of(entry),
            "GPUAAS_HTTP_HOST": "127.0.0.1",
            "GPUAAS_HTTP_PORT": str(http_port),
            "GPUAAS_STATE_DIR": str(self._folder.service_dir(entry.name)),
        }
        if entry.name == "iam":
            key = self.operator_key()
            environment["GPUAAS_IAM_BOOTSTRAP_KEY_SHA256"] = key.sha256
            environment["GPUAAS_IAM_BOOTSTRAP_KEY_ID"] = key.key_id
        return environment

    def operator_key(self) -> ApiKey:
        """The first operator's API key, made on first use."""
        path = self._folder.secret_path(OPERATOR_KEY)
        if not path.exists():
            write_private(path, new_api_key(self._profile, BOOTSTRAP_KEY_ID).text + "\n")
        return read_api_key(path.read_text("utf-8").strip())

    def dsn_of(self, entry: ServiceEntry) -> str:
        """The service's own database; empty when it has none."""
        if not entry.database or self.postgres is None:
            return ""
        password = self._folder.secret(f"{entry.name}.postgres")
        return self.postgres.dsn(f"gpuaas_{entry.name}", f"gpuaas_{entry.name}", password)

    def running(self) -> tuple[NatsServer, PostgresServer]:
        """Both servers.

        Raises:
            Misconfigured: they were not started.
        """
        if self.nats is None or self.postgres is None:
            raise Misconfigured("the servers are not started; start the stack first")
        return self.nats, self.postgres

    def pid(self, name: str) -> int | None:
        """Process id of `nats` or `postgres`; None while it does not run."""
        server = self._named().get(name)
        return server.pid if server else None

    def ended(self) -> list[str]:
        """Names of servers that were started and no longer run."""
        return [name for name, server in self._named().items() if server.pid is None]

    async def revive(self, name: str) -> None:
        """Start a server that has ended, on the same port and data."""
        await _brought_up(self._named()[name])

    async def start_again(self, name: str) -> None:
        """Stop one server in order and start it again on the same port and data."""
        await asyncio.to_thread(self._named()[name].stop)
        await self.revive(name)

    def kill(self, name: str) -> None:
        """SIGKILL one server."""
        self._named()[name].kill()

    async def stop(self) -> None:
        """End both in order."""
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in self._named().values()))

    def _named(self) -> Mapping[str, NatsServer | PostgresServer]:
        named: dict[str, NatsServer | PostgresServer | None] = {"nats": self.nats, "postgres": self.postgres}
        return {name: server for name, server in named.items() if server is not None}

    async def _provision_databases(self, dsn: str) -> None:
        administrator = await administrator_of(dsn)
        try:
            for entry in SERVICES:
                if entry.database:
                    password = self._folder.secret(f"{entry.name}.postgres")
                    await provision_database(administrator, entry.name, password)
        finally:
            await administrator.close()


async def _brought_up(server: NatsServer | PostgresServer) -> None:
    """The slow parts beside the event loop, the start itself in its thread: the server ends with that thread."""
    await asyncio.to_thread(server.prepare)
    server.spawn()
    await asyncio.to_thread(server.wait_ready)
