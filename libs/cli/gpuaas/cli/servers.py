"""The servers under the suite on one machine: NATS, alone or a cluster, and PostgreSQL. One law: a user per service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import asyncpg
import nats
from gpuaas.cli.profile import Profile
from gpuaas.cli.service_table import SERVICES, ServiceEntry
from gpuaas.cli.state import OPERATOR_KEY, StateFolder
from gpuaas.common.apikeys import ApiKey, new_api_key, read_api_key
from gpuaas.common.embedded.nats_server import (
    ACCOUNT,
    DISK_SHARE,
    ClusterSeat,
    NatsServer,
    NatsUser,
    UserPermissions,
)
from gpuaas.common.embedded.postgres import PostgresServer
from gpuaas.common.embedded.process import free_port
from gpuaas.common.embedded.secrets_file import write_private
from gpuaas.common.errors import Misconfigured, Unavailable
from gpuaas.common.provision import LogSettings, administrator_of, provision_database, provision_log
from nats.aio.client import Client

SERVER_NAMES: Final = ("nats", "postgres")
BROKERS_MAX: Final = 5
PROVISIONER: Final = "provisioner"
OPERATOR: Final = "operator"
BOOTSTRAP_KEY_ID: Final = "bootstrap"
PROVISION_TIMEOUT_S: Final = 30.0
LEADER_PAUSE_S: Final = 0.2
NO_LEADER_YET: Final = ("10008", "10005", "10074", "does not answer")
"""JetStream: temporarily unavailable, no suitable peers yet, no metadata leader; or nobody to answer."""


def broker_names(servers: int) -> tuple[str, ...]:
    """What the broker's servers are called."""
    return ("nats", *(f"nats-{number}" for number in range(2, servers + 1)))


def nats_permissions() -> dict[str, UserPermissions]:
    """User name → what it may do, generated from the contracts."""
    text = resources.files("gpuaas.contracts").joinpath("nats_permissions.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return {name: UserPermissions.parse(user["permissions"]) for name, user in document["users"].items()}


class Servers:
    """NATS and PostgreSQL on one state folder. Methods that start processes belong in the main thread.

    Args:
        folder: taken by the caller.
        profile: how many brokers there are, and what they and PostgreSQL write to disk before they acknowledge it.
    """

    def __init__(self, folder: StateFolder, profile: Profile) -> None:
        self._folder = folder
        self._profile = profile
        self.users: dict[str, NatsUser] = {}
        self.brokers: list[NatsServer] = []
        self.postgres: PostgresServer | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """`nats`, further members of its cluster as `nats-2`, …, and `postgres`."""
        return (*broker_names(self._profile.log.servers), "postgres")

    async def start_nats(self, incarnation: str | None = None) -> None:
        """Start the broker's servers, and make the log where there is none (as `incarnation`, when it is restored)."""
        self.users = {
            name: NatsUser(self._folder.secret(f"{name}.nats"), permissions)
            for name, permissions in nats_permissions().items()
        }
        self.brokers = self._seated()
        await asyncio.gather(*(asyncio.to_thread(server.prepare) for server in self.brokers))
        for server in self.brokers:
            server.spawn()
        await asyncio.gather(*(asyncio.to_thread(server.wait_ready) for server in self.brokers))
        connection = await nats.connect(self.brokers[0].url(PROVISIONER), name=PROVISIONER)
        try:
            async with asyncio.timeout(PROVISION_TIMEOUT_S):
                self._folder.check_incarnation(await self._provisioned(connection, incarnation))
        finally:
            await connection.close()

    def _seated(self) -> list[NatsServer]:
        """The broker's servers, not started.

        Raises:
            Misconfigured: the folder holds the log of another number of servers, which would not find it.
        """
        names = broker_names(self._profile.log.servers)
        kept = [
            name for name in broker_names(BROKERS_MAX) if (self._folder.path / name / "store" / "jetstream").exists()
        ]
        if kept and len(kept) != len(names):
            raise Misconfigured(
                f"{self._folder.path} holds a log of {len(kept)} server(s), the profile wants {len(names)}: move it "
                f"with `gpuaas backup` and `gpuaas restore`, or give --set log.servers={len(kept)}"
            )
        routes = [free_port() for _ in names]
        return [
            NatsServer(
                self._folder.path / name,
                {ACCOUNT: self.users},
                sync_interval=self._profile.log.sync,
                max_file_store_bytes=self._room_bytes(name),
                port=self._folder.port(name.replace("-", "_"), None, os.environ),
                monitor_port=self._folder.port(f"{name.replace('-', '_')}_monitor", None, os.environ),
                seat=ClusterSeat("cell", route, routes) if len(names) > 1 else None,
            )
            for name, route in zip(names, routes, strict=True)
        ]

    def _room_bytes(self, name: str) -> int:
        """The profile's limit, or what this disk can bear: its clean refusal must answer before the disk is full."""
        store = self._folder.path / name / "store"
        store.mkdir(parents=True, exist_ok=True)
        return min(self._profile.log.file_store_mib << 20, int(shutil.disk_usage(store).free * DISK_SHARE))

    async def _provisioned(self, connection: Client, incarnation: str | None) -> str:
        """The log's incarnation. A cluster that has just begun answers only once it has a leader."""
        settings = LogSettings(replicas=self._profile.log.servers)
        while True:
            try:
                return await provision_log(connection, settings, incarnation=incarnation)
            except (Misconfigured, Unavailable) as refused:
                if len(self.brokers) == 1 or not any(code in refused.detail for code in NO_LEADER_YET):
                    raise
                await asyncio.sleep(LEADER_PAUSE_S)

    async def start_postgres(self) -> None:
        """Start PostgreSQL and make every service's database where there is none."""
        self.postgres = server = PostgresServer(
            self._folder.path / "postgres",
            fsync=self._profile.database.fsync,
            synchronous_commit=self._profile.database.synchronous_commit,
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
        """The broker's URLs for one user, separated by commas.

        Raises:
            Misconfigured: it was not started.
        """
        if not self.brokers:
            raise Misconfigured("the broker is not started; start the stack first")
        return ",".join(server.url(name) for server in self.brokers)

    def environment_of(self, entry: ServiceEntry, http_port: int) -> dict[str, str]:
        """The variables that tell one service who and where it is."""
        environment = {
            **self._profile.service_environment(),
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
            write_private(path, new_api_key(self._profile.name, BOOTSTRAP_KEY_ID).text + "\n")
        return read_api_key(path.read_text("utf-8").strip())

    def dsn_of(self, entry: ServiceEntry) -> str:
        """The service's own database; empty when it has none."""
        if not entry.database or self.postgres is None:
            return ""
        password = self._folder.secret(f"{entry.name}.postgres")
        return self.postgres.dsn(f"gpuaas_{entry.name}", f"gpuaas_{entry.name}", password)

    def running(self) -> tuple[NatsServer, PostgresServer]:
        """The broker's first server, and PostgreSQL.

        Raises:
            Misconfigured: they were not started.
        """
        if not self.brokers or self.postgres is None:
            raise Misconfigured("the servers are not started; start the stack first")
        return self.brokers[0], self.postgres

    def ports(self) -> dict[str, int]:
        """Ports of everything started, by the name they are asked for again with."""
        found = {"postgres": self.running()[1].port}
        for name, server in zip(broker_names(BROKERS_MAX), self.brokers, strict=False):
            found |= {name.replace("-", "_"): server.port, f"{name.replace('-', '_')}_monitor": server.monitor_port}
        return found

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
        named: dict[str, NatsServer | PostgresServer] = dict(zip(broker_names(BROKERS_MAX), self.brokers, strict=False))
        return named | ({"postgres": self.postgres} if self.postgres is not None else {})

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
