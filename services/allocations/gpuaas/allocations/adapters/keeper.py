"""The keeper of one local workload: it outlives the service that began it. One law: what it writes, it has seen.

Run as `python -I keeper.py <folder> <grace s>` with an open, locked `lock` of that folder: as long as the lock is held
this program lives. It starts what `spec.json` says in a session of its own, writes `started.json`, waits, and writes
`exit.json`. On SIGTERM it stops the workload: SIGTERM to its process group, SIGKILL to all of the session after the
grace. Standard library only: it starts in tens of milliseconds and needs nothing of the service.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

NOT_FOUND_EXIT = 127
NOT_EXECUTABLE_EXIT = 126
MARK = "GPUAAS_ALLOCATION_ID"
"""The variable by which a workload's processes are recognised."""


def write_once(folder: Path, name: str, said: dict[str, Any]) -> None:
    """Put a small document in place as a whole; the first one stays."""
    made = folder / f".{name}.{os.getpid()}.{threading.get_ident()}"
    made.write_text(json.dumps(said), "utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(made, folder / name)
    made.unlink()


def members_of(session: int, allocation_id: str) -> list[int]:
    """The processes of a session that carry the allocation's name; a reused number is not taken for it."""
    found: list[int] = []
    mark = f"{MARK}={allocation_id}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            after_name = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            ours = int(after_name[3]) == session and after_name[0] != b"Z"
            if ours and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def kill_session(session: int, allocation_id: str) -> None:
    """End every process of the workload, however it hid in process groups."""
    while found := members_of(session, allocation_id):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def main(folder: Path, grace_s: float) -> None:
    """Keep one workload from start to end."""
    spec = json.loads((folder / "spec.json").read_text("utf-8"))
    stop_from = [0.0]

    def on_term(*_: object) -> None:
        stop_from[0] = stop_from[0] or time.monotonic()

    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (folder / "exit.json").exists():
        return
    began = time.time()
    workload, code = _begin(folder, spec)
    session = workload.pid if workload is not None else 0
    write_once(folder, "started.json", {"at": began, "session": session})
    if workload is not None:
        code = _wait(workload, spec["allocation_id"], stop_from, grace_s)
    how = "stopped" if stop_from[0] and code >= 128 else "exited"
    write_once(folder, "exit.json", {"at": time.time(), "how": how, "code": code})


def _begin(folder: Path, spec: dict[str, Any]) -> tuple[subprocess.Popen[bytes] | None, int]:
    with (folder / "log").open("ab", buffering=0) as log:
        try:
            return (
                subprocess.Popen(
                    spec["command"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder / "work",
                    env=spec["environment"],
                    start_new_session=True,
                ),
                0,
            )
        except OSError as refused:
            log.write(f"{spec['command'][0]}: {refused.strerror}\n".encode())
            return None, NOT_FOUND_EXIT if isinstance(refused, FileNotFoundError) else NOT_EXECUTABLE_EXIT


def _wait(workload: subprocess.Popen[bytes], allocation_id: str, stop_from: list[float], grace_s: float) -> int:
    """Until the workload has ended; its exit code as a shell gives it. What it left behind is ended with it."""
    told = False
    while (code := workload.poll()) is None:
        if stop_from[0] and not told:
            told = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(workload.pid, signal.SIGTERM)
        if told and time.monotonic() - stop_from[0] >= grace_s:
            kill_session(workload.pid, allocation_id)
        with contextlib.suppress(subprocess.TimeoutExpired):
            workload.wait(0.02 if told else 0.1)
    kill_session(workload.pid, allocation_id)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
