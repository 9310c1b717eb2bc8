"""The whole suite on one machine, as real processes. One law: what this starts, this ends, whatever happens between.

async with Stack(state_dir, profile="demo") as stack:
    stack.urls["iam"]
    await stack.kill("billing")
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from gpuaas.cli.profile import Profile, load
from gpuaas.cli.readiness import last_line, until_ready
from gpuaas.cli.servers import OPERATOR, Servers
from gpuaas.cli.service_table import SERVICES, SHARED_IMPORTS, ServiceEntry, service
from gpuaas.cli.state import OPERATOR_KEY, Endpoints, StateFolder, default_state_dir
from gpuaas.cli.supervisor import MISCONFIGURED_STATUS, Backoff, Plan, Progress, ServiceProcesses, Step
from gpuaas.common.errors import GpuaasError, Unavailable

READY_TIMEOUT_S: Final = 60.0
SERVER_WATCH_S: Final = 0.25
DRAIN_S: Final = 10.0


class Stack:
    """NATS, PostgreSQL and the services of the table, supervised. Use it in the main thread.

    Args:
        state_dir: None = `GPUAAS_STATE_DIR` or `.state`.
        profile: `dev`, `demo`, … or one that `profile.load` has built with other values.
        services: names out of the service table; None = all.
        environment: more variables for every service (they win over this process's own).
        restart: how a crashed process comes back; None leaves it dead (for drills).
        progress: told every step; called in the event loop, must not block.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        profile: str | Profile = "dev",
        services: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        restart: Backoff | None = Backoff(),  # noqa: B008 - frozen
        progress: Progress = lambda _: None,
    ) -> None:
        self._folder = StateFolder(state_dir or default_state_dir())
        self._profile = load(profile) if isinstance(profile, str) else profile
        self._entries = tuple(SERVICES if services is None else map(service, services))
        self._extra = dict(environment or {})
        self._restart = restart
        self._progress = progress
        self._servers = Servers(self._folder, self._profile)
        modules = [*SHARED_IMPORTS, *(entry.module for entry in self._entries)]
        self._processes = ServiceProcesses(self._folder.path, modules, self._on_end)
        self._ports: dict[str, int] = {}
        self._failures: Counter[str] = Counter()
        self._begun_s: dict[str, float] = {}
        self._broken: asyncio.Future[GpuaasError] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._starting = False
        self._stopping = False

    # -- for the outside ---------------------------------------------------------------------------------------

    @property
    def urls(self) -> dict[str, str]:
        """Service name → base URL."""
        return {entry.name: f"http://127.0.0.1:{self._ports[entry.name]}" for entry in self._entries}

    @property
    def endpoints(self) -> Endpoints:
        """Everything another process needs to reach this stack."""
        nats, postgres = self._servers.running()
        return Endpoints(
            pid=os.getpid(),
            profile=self._profile.name,
            state_dir=str(self._folder.path),
            services=self.urls,
            nats_url=",".join(server.address for server in self._servers.brokers),
            nats_monitor_url=f"http://127.0.0.1:{nats.monitor_port}",
            nats_password_files={name: str(self._folder.secret_path(f"{name}.nats")) for name in self._servers.users},
            postgres_url=f"postgresql://127.0.0.1:{postgres.port}",
            postgres_password_file=str(postgres.directory / "password"),
            operator_key_file=str(self._folder.secret_path(OPERATOR_KEY)),
            ports={**self._ports, **self._servers.ports()},
        )

    @property
    def operator_key(self) -> str:
        """The first operator's API key, whole."""
        return self._servers.operator_key().text

    @property
    def operator_nats_url(self) -> str:
        """The broker's URL for reading the log and setting the demo's pace."""
        return self._servers.url_of(OPERATOR)

    @property
    def postgres_admin_dsn(self) -> str:
        """A superuser's URL of the database server."""
        return self._servers.running()[1].dsn()

    def remember(self, environment: Mapping[str, str]) -> None:
        """Variables that a service started from now on gets too, such as one that comes back after a crash."""
        self._extra |= environment

    def log_path(self, name: str) -> Path:
        """Where a service's output is."""
        return self._folder.log_path(name)

    def pid(self, name: str) -> int | None:
        """Process id of a service, of `nats` or of `postgres`; None while it does not run."""
        return self._servers.pid(name) if name in self._servers.names else self._processes.pid(name)

    # -- its life ----------------------------------------------------------------------------------------------

    async def start(self) -> Endpoints:
        """Start everything and return when every service is ready. On failure nothing is left running.

        Raises:
            AlreadyRunning: another process owns the state folder.
            Misconfigured, Unavailable: in a sentence, with the log to look at.
        """
        self._folder.take()
        self._starting, self._stopping = True, False
        self._heed_sigterm(True)
        self._broken = asyncio.get_running_loop().create_future()
        try:
            await self._start_all()
        except BaseException:
            await self.stop()
            raise
        finally:
            self._starting = False
        if self._restart is not None:
            self._watching = asyncio.create_task(self._watch_servers(self._restart), name="watch servers")
        return self.endpoints

    async def stop(self) -> None:
        """Drain the services, then end the servers. Safe to call twice."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        await self._processes.stop([entry.name for entry in self._entries], DRAIN_S)
        await self._processes.close()
        await self._servers.stop()
        self._heed_sigterm(False)
        self._folder.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def until_ended(self) -> None:
        """Wait for SIGINT or SIGTERM, or for a failure that no restart mends.

        Raises:
            GpuaasError: that failure.
        """
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, asked.set)
        try:
            await self._or_broken(asked.wait())
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    # -- for drills --------------------------------------------------------------------------------------------

    async def kill(self, name: str) -> None:
        """SIGKILL a service, `nats` or `postgres`. With a restart policy it comes back as after any crash."""
        if name in self._servers.names:
            await asyncio.to_thread(self._servers.kill, name)
            return
        pid = self._processes.signal(name, signal.SIGKILL, wanted=self._restart is None)
        if pid is not None:
            await self._processes.gone({pid}, DRAIN_S)

    async def stop_service(self, name: str) -> None:
        """Drain one service; it stays away until `start_service`."""
        await self._processes.stop([name], DRAIN_S)
        self._progress(Step(name, "stopped"))

    async def start_service(self, name: str, *, wait: bool = True) -> None:
        """Start one service that does not run; returns when it is ready, unless told not to wait."""
        await self._launch(service(name))
        if wait:
            await self.ready([name])

    async def revive(self, name: str) -> None:
        """Start a broker or PostgreSQL that has ended, on the same port and data."""
        await self._servers.revive(name)

    async def restart(self, name: str) -> None:
        """Stop in order, start again, wait until it is ready; `nats` and `postgres` too."""
        if name in self._servers.names:
            await self._servers.start_again(name)
            return
        await self.stop_service(name)
        await self.start_service(name)

    async def ready(self, names: Sequence[str] | None = None, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when the services (None = all) say they are ready.

        Raises:
            Unavailable: one does not in time; what it says and its log are in the sentence.
        """
        wanted = [entry.name for entry in self._entries] if names is None else names
        await _all(*(self._until_ready(name, timeout_s) for name in wanted))

    # -- inside ------------------------------------------------------------------------------------------------

    def _heed_sigterm(self, heed: bool) -> None:
        """SIGTERM means what Ctrl-C means: unwind, stop in order. Python's own answer would be to vanish."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        if heed:
            loop.add_signal_handler(signal.SIGTERM, _interrupt)
        else:
            loop.remove_signal_handler(signal.SIGTERM)

    async def _start_all(self) -> None:
        for entry in self._entries:
            self._ports[entry.name] = self._folder.port(entry.name, entry.port, os.environ)
        await self._processes.open()
        await _all(
            self._told("nats", self._servers.start_nats()),
            self._told("postgres", self._servers.start_postgres()),
            self._told("services", self._processes.warmed()),
        )
        self._folder.write_endpoints(self.endpoints)
        for entry in self._entries:
            await self._launch(entry)
        await self._or_broken(self.ready())

    async def _told(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._progress(Step(name, "starting"))
        began = monotonic()
        await work
        self._progress(Step(name, "started", f"{monotonic() - began:.1f} s"))

    async def _until_ready(self, name: str, timeout_s: float) -> None:
        took_s = await until_ready(
            name,
            self._ports[name],
            self.log_path(name),
            timeout_s,
            lambda: self._restart is not None or self._processes.pid(name) is not None,
        )
        self._progress(Step(name, "ready", f"{took_s:.1f} s"))

    async def _or_broken(self, work: Coroutine[Any, Any, object]) -> None:
        assert self._broken is not None
        task = asyncio.ensure_future(work)
        try:
            watched: list[asyncio.Future[Any]] = [task, self._broken]
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                raise self._broken.result()
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _launch(self, entry: ServiceEntry) -> None:
        self._begun_s[entry.name] = monotonic()
        observed = {"GPUAAS_EVIDENCE_SERVICES": json.dumps(self.urls)} if entry.name == "evidence" else {}
        environment = {
            **os.environ,
            **observed,
            **self._extra,
            **self._servers.environment_of(entry, self._ports[entry.name]),
        }
        plan = Plan(entry.name, entry.module, environment, self.log_path(entry.name))
        await self._processes.start(plan)
        self._progress(Step(entry.name, "started"))

    async def _on_end(self, name: str, status: int) -> None:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        self._progress(Step(name, "ended", how))
        if self._stopping or (self._restart is None and not self._starting):
            return
        if self._starting or status == MISCONFIGURED_STATUS or self._restart is None:
            said = last_line(self.log_path(name))
            self._break(Unavailable(f"{name} ended with {how}: {said} (log: {self.log_path(name)})"))
            return
        lived_s = monotonic() - self._begun_s[name]
        self._failures[name] = 1 if lived_s > self._restart.forgiven_s else self._failures[name] + 1
        pause_s = self._restart.pause_s(self._failures[name])
        self._progress(Step(name, "restarting", f"in {pause_s:.1f} s"))
        await asyncio.sleep(pause_s)
        if not self._stopping and self._processes.pid(name) is None:
            await self._relaunch(name)

    async def _relaunch(self, name: str) -> None:
        try:
            await self.start_service(name)
        except Unavailable as away:
            if not self._stopping:
                self._break(away)

    async def _watch_servers(self, restart: Backoff) -> None:
        while True:
            await asyncio.sleep(SERVER_WATCH_S)
            for name in self._servers.ended():
                self._failures[name] += 1
                self._progress(Step(name, "restarting"))
                await asyncio.sleep(restart.pause_s(self._failures[name]))
                try:
                    await self._servers.revive(name)
                except GpuaasError as away:
                    self._break(away)
                    return
                self._progress(Step(name, "ready"))

    def _break(self, error: GpuaasError) -> None:
        if self._broken is not None and not self._broken.done():
            self._broken.set_result(error)


async def _all(*work: Coroutine[Any, Any, None]) -> None:
    """Run together; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _interrupt() -> None:
    # Not by way of SIGINT: a shell's background job, or one under nohup, does not hear that.
    raise KeyboardInterrupt
