"""One server process of our own. One law: it never outlives its owner; a leftover is known before it is ended.

Linux ties the child to its parent with `prctl(PR_SET_PDEATHSIG)`; elsewhere a pid file lets the next start
end what a killed owner left behind.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpuaas.common.errors import Unavailable

PORT_RANGE: Final = (20_000, 32_000)
"""Below every usual ephemeral range: a client that dials a dead server's port can then never reach itself."""

PORT_TRIES_MAX: Final = 200
POLL_S: Final = 0.01
KILL_WAIT_S: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class OsUser:
    """The operating system user a child runs as: numeric user and group id."""

    name: str
    uid: int
    gid: int


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now.

    Raises:
        Unavailable: none found in `PORT_RANGE`.
    """
    for _ in range(PORT_TRIES_MAX):
        port = random.randint(*PORT_RANGE)
        if port_is_free(port):
            return port
    raise Unavailable(f"no free port on 127.0.0.1 between {PORT_RANGE[0]} and {PORT_RANGE[1]}; close some servers")


def port_is_free(port: int) -> bool:
    """Whether a listener could bind 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def die_with_parent(number: signal.Signals, parent_pid: int) -> None:
    """Ask the kernel to send this process `number` when its parent ends; does nothing where it cannot.

    The kernel watches the parent's *thread*: fork from one that lives as long as the parent does.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended between the fork and the call above
        os.kill(os.getpid(), number)


def command_of(pid: int) -> str:
    """The command line of a running process, words joined by spaces; empty when there is no such process."""
    if sys.platform == "linux":
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return ""
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()


def end_leftover(pid: int, mark: str, number: signal.Signals, grace_s: float = 10.0) -> bool:
    """End the process `pid` if its command line carries `mark`: what a killed owner left behind.

    Returns:
        Whether such a process ran; it no longer does.
    """
    if pid <= 1 or mark not in command_of(pid):
        return False
    for sent, wait_s in ((number, grace_s), (signal.SIGKILL, KILL_WAIT_S)):
        with suppress(ProcessLookupError):
            os.kill(pid, sent)
        if waited(lambda: mark not in command_of(pid), wait_s):
            return True
    raise Unavailable(f"process {pid} does not end; stop it by hand and start again")


def waited(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `holds()` became true within `timeout_s`, asked every `POLL_S`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


class Program:
    """A child process with a log and a pid file, in a session of its own: Ctrl-C reaches only its owner.

    Args:
        name: what people call it, for messages.
        argv: absolute program and arguments.
        log_path: standard output and error are appended here.
        pid_path: written after the start, removed after the end.
        stop_signal: what asks it to end in order.
        user: run as this user; None for ours.
        inherited: descriptors the child keeps open.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path,
        pid_path: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        user: OsUser | None = None,
        environment: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._argv = list(argv)
        self._pid_path = pid_path
        self._stop_signal = stop_signal
        self._user = user
        self._inherited = tuple(inherited)
        self._environment = dict(os.environ if environment is None else environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def spawn(self) -> None:
        """Start it and return at once."""
        tie = self._tie()
        as_user = self._user
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd="/",
                start_new_session=True,
                pass_fds=self._inherited,
                user=as_user.uid if as_user else None,
                group=as_user.gid if as_user else None,
                extra_groups=[] if as_user else None,
                preexec_fn=tie,
            )
        self._pid_path.write_text(f"{self._process.pid}\n", "ascii")

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return when `ready()` is true.

        Raises:
            Unavailable: the process ended or the time is over; the last line of its log is in the sentence.
        """
        if waited(lambda: ready() or self.pid is None, timeout_s) and self.pid is not None:
            return
        state = f"is not ready after {timeout_s:g} s" if self.pid else "ended while starting"
        self.kill()
        raise Unavailable(f"{self.name} {state}: {self.last_words()} (log: {self.log_path})")

    def last_words(self) -> str:
        """The last line of its log."""
        with suppress(OSError):
            lines = self.log_path.read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "its log is empty"
        return "it wrote no log"

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask it to end, wait up to `grace_s`, then kill it. Safe to call twice."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait for the end. Safe to call twice."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(KILL_WAIT_S)
        self._pid_path.unlink(missing_ok=True)

    def _tie(self) -> Callable[[], None] | None:
        if _LIBC is None or threading.current_thread() is not threading.main_thread():
            return None  # a worker thread's end would look like its owner's
        parent_pid, number = os.getpid(), self._stop_signal
        return lambda: die_with_parent(number, parent_pid)


def recorded_pid(pid_path: Path) -> int:
    """The pid in a pid file's first line; 0 when there is none."""
    with suppress(OSError, ValueError, IndexError):
        return int(pid_path.read_text("ascii").split()[0])
    return 0
