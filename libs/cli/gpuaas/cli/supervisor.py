"""Service processes, forked from one warm parent. One law: every end is noticed, and every restart waits longer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gpuaas.common.embedded.process import Program
from gpuaas.common.errors import Unavailable

START_TIMEOUT_S: Final = 60.0
FORK_TIMEOUT_S: Final = 10.0
MISCONFIGURED_STATUS: Final = 2
"""A service that ends with this status will not work by being started again."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to one process, for whoever shows progress."""

    name: str
    state: Literal["starting", "started", "ready", "ended", "restarting", "stopped"]
    detail: str = ""


Progress = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses before restarts: `first_s`, doubled up to `most_s`; a life longer than `forgiven_s` starts afresh."""

    first_s: float = 0.2
    most_s: float = 5.0
    forgiven_s: float = 30.0

    def pause_s(self, failures: int) -> float:
        """The pause after `failures` (≥ 1) short lives in a row."""
        return min(self.most_s, self.first_s * float(1 << min(failures - 1, 30)))


@dataclass(frozen=True, slots=True)
class Plan:
    """How one service is started."""

    name: str
    module: str
    environment: Mapping[str, str]
    log_path: Path


class ServiceProcesses:
    """The warm parent and the services it forked.

    Args:
        directory: for the warm parent's log and pid.
        modules: imported once before the first fork.
        on_end: told (name, exit status; negative = signal) of every end that nobody asked for.
    """

    def __init__(self, directory: Path, modules: Sequence[str], on_end: Callable[[str, int], Awaitable[None]]) -> None:
        self._directory = directory
        self._modules = modules
        self._on_end = on_end
        self._warm: Program | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._warmed = asyncio.Event()
        self._pids: dict[str, int] = {}
        self._started: dict[str, asyncio.Future[int]] = {}
        self._wanted_ends: set[int] = set()
        self._gone = asyncio.Condition()
        self._told: set[asyncio.Task[None]] = set()

    def pid(self, name: str) -> int | None:
        """The process id of a running service."""
        return self._pids.get(name)

    async def open(self) -> None:
        """Start the warm parent; returns before it is warm. Call it in the main thread."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._warm = Program(
                "the services' parent",
                [sys.executable, "-m", "gpuaas.cli.warm", str(theirs.fileno()), *self._modules],
                log_path=self._directory / "logs" / "warm.log",
                pid_path=self._directory / "warm.pid",
                inherited=(theirs.fileno(),),
            )
            self._warm.spawn()
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.create_task(self._read(reader), name="warm parent")

    async def warmed(self) -> None:
        """Return when the imports are done.

        Raises:
            Unavailable: they take too long, or failed.
        """
        ending = asyncio.create_task(self._warmed.wait())
        watched = [ending, *([self._reading] if self._reading else [])]
        await asyncio.wait(watched, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not self._warmed.is_set() or not self._alive():
            said = self._warm.last_words() if self._warm else "it was not started"
            raise Unavailable(f"the services' parent did not come up: {said}")

    async def start(self, plan: Plan) -> int:
        """Fork one service; its process id.

        Raises:
            Unavailable: the warm parent is gone.
        """
        if self._writer is None or not self._alive():
            raise Unavailable("the services' parent is gone; end `gpuaas up` and start it again")
        started = asyncio.get_running_loop().create_future()
        self._started[plan.name] = started
        order = {
            "start": plan.name,
            "module": plan.module,
            "environment": dict(plan.environment),
            "log": str(plan.log_path),
        }
        self._writer.write(json.dumps(order).encode() + b"\n")
        async with asyncio.timeout(FORK_TIMEOUT_S):
            await self._writer.drain()
            pid: int = await started
            return pid

    def signal(self, name: str, number: signal.Signals, *, wanted: bool) -> int | None:
        """Send `number`; a `wanted` end is not told to `on_end`. Gives the pid, None when it does not run."""
        pid = self._pids.get(name)
        if pid is None:
            return None
        if wanted:
            self._wanted_ends.add(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    async def gone(self, pids: set[int], timeout_s: float) -> bool:
        """Whether all of `pids` have ended within `timeout_s`."""
        async with self._gone:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._gone.wait_for(lambda: not pids & set(self._pids.values()))
            return not pids & set(self._pids.values())

    async def stop(self, names: Sequence[str], grace_s: float) -> None:
        """SIGTERM to all, wait up to `grace_s` for all, SIGKILL to the rest."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            sent = [self.signal(name, number, wanted=True) for name in names]
            if await self.gone({pid for pid in sent if pid}, wait_s):
                return

    async def close(self) -> None:
        """End the warm parent; it takes what still runs with it."""
        if self._writer is not None:
            self._wanted_ends.update(self._pids.values())
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        if self._warm is not None:
            await asyncio.to_thread(self._warm.stop, 15.0)
        if self._reading is not None:
            await self._reading
        for task in list(self._told):
            task.cancel()

    def _alive(self) -> bool:
        return self._warm is not None and self._warm.pid is not None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                report = json.loads(line)
                match report:
                    case {"warm": _}:
                        self._warmed.set()
                    case {"started": str(name), "pid": int(pid)}:
                        self._pids[name] = pid
                        if (started := self._started.pop(name, None)) is not None and not started.done():
                            started.set_result(pid)
                    case {"ended": str(name), "pid": int(pid), "status": int(status)}:
                        await self._ended(name, pid, status)
        for name, pid in list(self._pids.items()):  # the parent's own end takes them along
            await self._ended(name, pid, -signal.SIGKILL)

    async def _ended(self, name: str, pid: int, status: int) -> None:
        async with self._gone:
            if self._pids.get(name) == pid:
                del self._pids[name]
            self._gone.notify_all()
        if pid in self._wanted_ends:
            self._wanted_ends.discard(pid)
            return
        task = asyncio.create_task(_told(self._on_end, name, status))
        self._told.add(task)
        task.add_done_callback(self._told.discard)


async def _told(on_end: Callable[[str, int], Awaitable[None]], name: str, status: int) -> None:
    await on_end(name, status)
