"""A real PostgreSQL 18 out of a wheel. One law: loopback only, a generated password, never as root."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg
from gpuaas.common.embedded.postgres_install import PostgresPrograms, installed_programs, reachable_directory
from gpuaas.common.embedded.process import Program, end_leftover, free_port, recorded_pid
from gpuaas.common.embedded.secrets_file import kept_secret
from gpuaas.common.errors import Misconfigured, Unavailable

SUPERUSER: Final = "postgres"
MAX_CONNECTIONS: Final = 200
START_TIMEOUT_S: Final = 30.0
CRASH_RESTARTS_MAX: Final = 50
"""Starts after a crash: the old server's children hold its shared memory for a moment longer."""

_PROTOCOL_3: Final = 3 << 16


class PostgresServer:
    """One PostgreSQL process under `directory`.

    Args:
        directory: holds password (0600), data, log and pid; made when absent.
        fsync: False is for tests: a power cut ruins the whole cluster, a killed process does not.
        synchronous_commit: False may lose the last transactions of a crash, never half of one.
        port: fixed port on 127.0.0.1; None picks a free one, kept for this object's life.
    """

    def __init__(
        self,
        directory: Path,
        *,
        fsync: bool = True,
        synchronous_commit: bool = True,
        port: int | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.directory = directory.absolute()
        self.port = port or free_port()
        self._fsync = fsync
        self._synchronous_commit = synchronous_commit
        self._max_connections = max_connections
        self._data = self.directory / "data"
        self._programs: PostgresPrograms | None = None
        self._program: Program | None = None
        self._password = ""

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._program.pid if self._program else None

    def dsn(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """A connection URL; without `password` the superuser's."""
        secret = self._password if password is None else password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster if there is none, start, and return when it accepts connections.

        Raises:
            Misconfigured: not installed, no user to run it, or data of another version.
            Unavailable: it does not come up; its last log line is in the sentence.
        """
        self.prepare()
        self.spawn()
        self.wait_ready()

    def prepare(self) -> None:
        """Everything before the process: programs, a reachable place, the cluster (slow the first time)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._programs = programs = installed_programs()
        self._password = kept_secret(self.directory / "password")
        home = reachable_directory(self.directory, programs.user, self.directory / "data-is-in")
        self._data = home / "data"
        end_leftover(recorded_pid(self.directory / "postgres.pid"), str(self._data), signal.SIGINT)
        if not self._data.exists():
            self._make_cluster(programs, home)
        found = (self._data / "PG_VERSION").read_text("ascii").strip()
        if found != programs.version.partition(".")[0]:
            raise Misconfigured(
                f"{self._data} was written by PostgreSQL {found}, this is {programs.version}; "
                f"remove {self.directory} to start empty (every read model is rebuilt from the log)"
            )

    def spawn(self) -> None:
        """Start the process and return at once; in the main thread, for the server ends with its thread."""
        if self._programs is None:
            raise Misconfigured("PostgreSQL is not prepared; call prepare() first")
        self._program = Program(
            "PostgreSQL",
            [str(self._programs.bin / "postgres"), "-D", str(self._data), *self._options()],
            log_path=self.directory / "postgres.log",
            pid_path=self.directory / "postgres.pid",
            stop_signal=signal.SIGINT,  # "fast": sessions are ended, not waited for
            user=self._programs.user,
        )
        self._program.spawn()

    def wait_ready(self) -> None:
        """Return when it accepts connections."""
        program = self._program
        for _ in range(CRASH_RESTARTS_MAX):
            if program is None:
                return
            try:
                program.wait_until(self._accepts, START_TIMEOUT_S)
                return
            except Unavailable:
                if "shared memory block" not in program.log_path.read_text(errors="replace")[-2_000:]:
                    raise
            program.spawn()
        raise Unavailable("PostgreSQL's earlier processes do not end; stop them by hand and start again")

    def stop(self) -> None:
        """End it in order; safe to call twice."""
        if self._program is not None:
            self._program.stop()

    def kill(self) -> None:
        """SIGKILL: what a crash looks like. `start()` recovers on the same port and data."""
        if self._program is not None:
            self._program.kill()

    def remove(self) -> None:
        """Delete the stopped cluster, wherever its data had to go."""
        if self.pid is not None:
            raise Misconfigured("PostgreSQL still runs; stop it before removing its data")
        if self._data.parent != self.directory:
            shutil.rmtree(self._data.parent, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    async def create_database(self, name: str, *, owner: str | None = None, template: str = "template0") -> str:
        """Make the database `name`, a copy of `template` (nobody may be connected to it).

        Returns:
            The superuser's connection URL for it.
        """
        owned = f' OWNER "{owner}"' if owner else ""
        await self._as_superuser(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{owned}')
        return self.dsn(name)

    async def drop_database(self, name: str) -> None:
        """Remove the database `name` and end its sessions; nothing happens when there is none."""
        await self._as_superuser(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _as_superuser(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(self._max_connections),
            "fsync": _switch(self._fsync),
            "full_page_writes": _switch(self._fsync),
            "synchronous_commit": _switch(self._synchronous_commit),
            "password_encryption": "scram-sha-256",
            "jit": "off",
            "log_min_messages": "warning",
            "max_wal_size": "512MB",
        }
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _make_cluster(self, programs: PostgresPrograms, home: Path) -> None:
        draft = home / f"data-{secrets.token_hex(4)}"
        password_file = home / f"password-{secrets.token_hex(4)}"
        for abandoned in home.glob("data-????????"):
            shutil.rmtree(abandoned, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password_file.touch(mode=0o600)
        password_file.write_text(self._password + "\n", "utf-8")
        try:
            _hand_over(programs, draft, password_file)
            _initdb(programs, draft, password_file, synced=self._fsync)
            draft.rename(self._data)
        finally:
            password_file.unlink(missing_ok=True)
            if draft.exists():
                shutil.rmtree(draft, ignore_errors=True)

    def _accepts(self) -> bool:
        """Whether it asks for a password and is not "starting up". Source: protocol 3.0, StartupMessage."""
        words = f"user\0{SUPERUSER}\0database\0postgres\0\0".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as line:
                line.sendall(struct.pack("!II", len(words) + 8, _PROTOCOL_3) + words)
                return line.recv(1) == b"R"
        except OSError:
            return False


def _hand_over(programs: PostgresPrograms, *paths: Path) -> None:
    if programs.user is None:
        return
    try:
        for path in paths:
            os.chown(path, programs.user.uid, programs.user.gid)
    except OSError as refused:
        raise Misconfigured(
            f"{paths[0].parent} cannot hold files of the user {programs.user.name} ({refused.strerror}); "
            "set GPUAAS_STATE_DIR to a folder on a local disk, or run this as an ordinary user"
        ) from refused


def _initdb(programs: PostgresPrograms, data: Path, password_file: Path, *, synced: bool) -> None:
    argv: Sequence[str] = (
        str(programs.bin / "initdb"),
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth-host=scram-sha-256",
        "--auth-local=reject",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--no-instructions",
        *(() if synced else ("--no-sync",)),
    )
    user = programs.user
    made = subprocess.run(
        argv,
        capture_output=True,
        cwd="/",
        check=False,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )
    if made.returncode != 0:
        said = made.stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(f"PostgreSQL could not make its data folder: {said[-1] if said else 'no reason given'}")


def _switch(on: bool) -> str:
    return "on" if on else "off"
