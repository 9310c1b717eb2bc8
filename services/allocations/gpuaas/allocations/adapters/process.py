"""A runtime of real local processes, one per allocation. One law: what runs, and how it ended, is on disk, so a service
that starts again observes instead of repeating.

For a laptop and one circle of trust: a workload runs as the user of the service, in a session and a folder of its own
(`<state_dir>/runs/<allocation id>/`), with a bare environment that names its GPUs. It is not a sandbox, and no image
is pulled; staging and production refuse it. A keeper process (`keeper.py`) waits for the workload, so neither its end
nor its exit code is lost while the service is down. The folder holds

    spec.json      what is to run: written before anything else
    lock           held as long as the keeper lives; whoever cannot take it must not start a second one
    started.json   when it started, and its session      exit.json   when and how it ended
    log            everything it said                    work/       where it runs

Times are the machine's own: a world with another pace is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from gpuaas.allocations.adapters import keeper
from gpuaas.allocations.ports import Ended, Executed, LogPart, Run
from gpuaas.common.errors import Rejected, Unavailable

LOOK_AGAIN_S: Final = 0.05
START_WITHIN_S: Final = 10.0
"""Longest wait for a keeper to say that it has started; after that it is only observed."""
STOP_SLACK_S: Final = 10.0
"""What a keeper may take beyond the grace to end and write it down."""
EXEC_OUTPUT_MAX: Final = 65_536
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEEPER: Final = str(Path(keeper.__file__))


class ProcessRuntime:
    """A `Runtime` that runs each allocation's command here.

    Args:
        folder: where the runs are kept.
        grace_s: seconds between asking a workload to end and ending it.
        exec_policy: whether a tenant may run further commands beside a workload.
    """

    def __init__(self, folder: Path, grace_s: float, exec_policy: Literal["refused", "allowed"]) -> None:
        self._folder = folder.absolute()
        self._grace_s = grace_s
        self._exec_policy = exec_policy
        self._watched: dict[str, Run] = {}

    async def prepare(self, run: Run) -> None:
        home = self._home(run.allocation_id)
        await asyncio.to_thread(_prepare, home, _spec(run, home))

    async def start(self, run: Run) -> datetime:
        await self.prepare(run)
        home = self._home(run.allocation_id)
        await asyncio.to_thread(_keep, home, self._grace_s)
        deadline = time.monotonic() + START_WITHIN_S
        while (started := _read(home, "started.json")) is None:
            if _keeper_is_gone(home) and _read(home, "started.json") is None:
                # Nothing ran: it was stopped before it began, or the keeper died before it began anything.
                if (end := self._end(run.allocation_id)) is not None:
                    return end.ended_at
                raise Unavailable(f"the keeper of {run.allocation_id} ended before it started anything; trying again")
            if time.monotonic() > deadline:
                raise Unavailable(f"{run.allocation_id} has not said that it started; it is observed, not started anew")
            await asyncio.sleep(LOOK_AGAIN_S / 5)
        return _moment(started["at"])

    async def stop(self, run: Run, started_at: datetime | None, at: datetime) -> Ended:
        home = self._home(run.allocation_id)
        said = {"at": at.timestamp(), "how": "lost" if started_at is not None else "stopped", "code": None}
        deadline = time.monotonic() + self._grace_s + STOP_SLACK_S
        while (end := self._end(run.allocation_id)) is None:
            # Asked again each time: a keeper that has only just begun does not hear the first time.
            if not await asyncio.to_thread(_ask_to_stop, home):
                await asyncio.to_thread(_close, home, run.allocation_id, said)
                continue
            if time.monotonic() > deadline:
                raise Unavailable(f"{run.allocation_id} has not ended yet; its end is observed, not guessed")
            await asyncio.sleep(LOOK_AGAIN_S)
        return end

    def watch(self, run: Run, started_at: datetime) -> None:
        self._watched.setdefault(run.allocation_id, run)

    def forget(self, allocation_id: str) -> None:
        self._watched.pop(allocation_id, None)

    async def ended(self, within_s: float) -> Sequence[Ended]:
        deadline = time.monotonic() + within_s
        while True:
            found = await asyncio.to_thread(self._fallen, list(self._watched.values()))
            if found or (left_s := deadline - time.monotonic()) <= 0:
                for end in found:
                    self._watched.pop(end.allocation_id, None)
                return tuple(found)
            await asyncio.sleep(min(LOOK_AGAIN_S, left_s))

    async def read_log(self, run: Run, offset: int, size_max: int) -> LogPart:
        return await asyncio.to_thread(_read_log, self._home(run.allocation_id), offset, size_max)

    def demand_commands_allowed(self) -> None:
        if self._exec_policy == "refused":
            raise Rejected("this installation lets nobody run commands beside a workload")

    async def execute(self, run: Run, command: Sequence[str], timeout_s: float) -> Executed:
        self.demand_commands_allowed()
        home = self._home(run.allocation_id)
        if _read(home, "started.json") is None or self._end(run.allocation_id) is not None:
            raise Rejected(f"allocation {run.allocation_id} does not run now")
        return await asyncio.to_thread(_execute, home, run.allocation_id, list(command), timeout_s)

    def _home(self, allocation_id: str) -> Path:
        return self._folder / allocation_id

    def _end(self, allocation_id: str) -> Ended | None:
        said = _read(self._home(allocation_id), "exit.json")
        return None if said is None else Ended(allocation_id, _moment(said["at"]), said["how"], said["code"])

    def _fallen(self, runs: Sequence[Run]) -> list[Ended]:
        found: list[Ended] = []
        for run in runs:
            home = self._home(run.allocation_id)
            end = self._end(run.allocation_id)
            if end is None and _keeper_is_gone(home) and _read(home, "exit.json") is None:
                # The keeper was killed, or the machine began anew: whatever still runs is ended before anyone is told.
                _close(home, run.allocation_id, {"at": time.time(), "how": "lost", "code": None})
                end = self._end(run.allocation_id)
            if end is not None:
                found.append(end)
        return sorted(found, key=lambda end: end.ended_at)


def _spec(run: Run, home: Path) -> dict[str, Any]:
    return {
        "allocation_id": run.allocation_id,
        "command": list(run.command) or ["sleep", "infinity"],
        "environment": environment_of(run, home / "work"),
    }


def environment_of(run: Run, work: Path) -> Mapping[str, str]:
    """What a workload finds in its environment: its GPUs and nothing of the service's own."""
    devices = [device for member in run.members for device in member.device_ids]
    members = [{"member": m.member, "node_id": m.node_id, "device_ids": list(m.device_ids)} for m in run.members]
    return {
        "PATH": _PATH,
        "HOME": str(work),
        "LANG": "C.UTF-8",
        keeper.MARK: run.allocation_id,
        "GPUAAS_DEVICES": ",".join(devices),
        "GPUAAS_GPU_COUNT": str(len(devices)),
        "GPUAAS_MEMBERS": json.dumps(members, separators=(",", ":")),
        "CUDA_VISIBLE_DEVICES": ",".join(devices),
        "NVIDIA_VISIBLE_DEVICES": ",".join(devices),
    }


def _prepare(home: Path, spec: Mapping[str, Any]) -> None:
    (home / "work").mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / "log").touch()
    if not (home / "spec.json").exists():
        keeper.write_once(home, "spec.json", dict(spec))


def _keep(home: Path, grace_s: float) -> None:
    """Begin a keeper unless one lives or has lived here."""
    with _locked(home) as lock:
        if lock is None or (home / "started.json").exists() or (home / "exit.json").exists():
            return
        # The keeper inherits the lock's open file: it is held until the keeper ends, whatever becomes of us.
        subprocess.Popen(
            [sys.executable, "-I", _KEEPER, str(home), str(grace_s)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": _PATH},
            pass_fds=(lock,),
            start_new_session=True,
        )


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[int | None]:
    """The open lock of a run; None when someone holds it."""
    handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _keeper_is_gone(home: Path) -> bool:
    if not home.exists():
        return True
    with _locked(home) as lock:
        return lock is not None


def _ask_to_stop(home: Path) -> bool:
    """Tell the keeper to stop its workload; False when there is no keeper."""
    if not home.exists():
        return False
    if _read(home, "exit.json") is not None:
        return True
    with _locked(home) as lock:
        if lock is not None:
            return False
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(home).encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGTERM)
    return True


def _close(home: Path, allocation_id: str, said: dict[str, Any]) -> None:
    """Write an end that no keeper will write, after everything of the workload has ended; nothing starts here again."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(home) as lock:
        if lock is None:
            return
        started = _read(home, "started.json")
        if started is not None and started["session"]:
            keeper.kill_session(started["session"], allocation_id)
        keeper.write_once(home, "exit.json", said)


def _read(home: Path, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((home / name).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found


def _read_log(home: Path, offset: int, size_max: int) -> LogPart:
    try:
        with (home / "log").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(min(offset, size))
            return LogPart(content=file.read(size_max), size=size, complete=(home / "exit.json").exists())
    except FileNotFoundError:
        return LogPart(content=b"", size=0, complete=(home / "exit.json").exists())


def _execute(home: Path, allocation_id: str, command: list[str], timeout_s: float) -> Executed:
    spec = _read(home, "spec.json") or {}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=home / "work",
            env=spec["environment"],
            start_new_session=True,
        )
    except OSError as refused:
        return Executed(keeper.NOT_FOUND_EXIT, f"{command[0]}: {refused.strerror}\n".encode(), timed_out=False)
    try:
        said, _ = process.communicate(timeout=timeout_s)
        timed_out = False
    except subprocess.TimeoutExpired:
        keeper.kill_session(process.pid, allocation_id)
        said, _ = process.communicate()
        timed_out = True
    code = process.returncode
    return Executed(code if code >= 0 else 128 - code, said[:EXEC_OUTPUT_MAX], timed_out)


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
