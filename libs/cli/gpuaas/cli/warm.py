"""The warm parent: imports what every service needs once, then forks one process per service.

One law: it does nothing but import, fork and report; it has one thread and no event loop, so a fork is a clean copy.
Runs as `python -m gpuaas.cli.warm <descriptor>`; orders and reports are JSON lines on that socket.

    order   {"start": "iam", "module": "gpuaas.iam.app", "environment": {…}, "log": "…/iam.log"}
    report  {"warm": 2.9}   {"started": "iam", "pid": 17}   {"ended": "iam", "pid": 17, "status": 0}
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from gpuaas.common.embedded.process import die_with_parent
from gpuaas.common.source import sources_of

LINE_BYTES_MAX: Final = 1 << 20
END_WAIT_S: Final = 12.0
_PR_SET_NAME: Final = 15
_OURS: Final = "gpuaas."


class WarmParent:
    """Forks services on order and reports their ends."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._buffer = b""
        self._children: dict[int, str] = {}
        self._ending = False

    def run(self, modules: list[str]) -> None:
        """Import, then serve orders until the other side closes or SIGTERM comes; no child outlives this."""
        began = time.monotonic()
        woken, waker = socket.socketpair()
        woken.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _import_all(modules)
        gc.collect()
        gc.freeze()  # the children share these pages as long as no collector touches them
        self._report({"warm": round(time.monotonic() - began, 3)})
        with selectors.DefaultSelector() as ready:
            ready.register(self._line, selectors.EVENT_READ)
            ready.register(woken, selectors.EVENT_READ)
            while not self._ending:
                for key, _ in ready.select():
                    if key.fileobj is woken:
                        _emptied(woken)
                    elif not self._take_orders():
                        self._ending = True
                self._report_ends()
        self._end_children()

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _take_orders(self) -> bool:
        """Whether the line is still open."""
        try:
            received = self._line.recv(65_536)
        except OSError:
            return False
        self._buffer += received
        if not received or len(self._buffer) > LINE_BYTES_MAX:
            return False
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._start(json.loads(line))
        return True

    def _start(self, order: dict[str, Any]) -> None:
        parent_pid = os.getpid()
        # Held back over the fork: a word to end that came before the copy has its own manners would be taken for ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            self._line.close()
            _become(order, parent_pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._children[pid] = order["start"]
        self._report({"started": order["start"], "pid": pid})

    def _report_ends(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self._children.pop(pid, "")
            self._report({"ended": name, "pid": pid, "status": os.waitstatus_to_exitcode(status)})

    def _report(self, report: dict[str, Any]) -> None:
        with suppress(OSError):  # nobody listens any more: the end of the line is seen where orders are read
            self._line.sendall(json.dumps(report).encode() + b"\n")

    def _end_children(self) -> None:
        deadline = time.monotonic() + END_WAIT_S
        for pid in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        while self._children and time.monotonic() < deadline:
            self._report_ends()
            time.sleep(0.02)
        for pid in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _import_all(modules: list[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 - the service that needs it fails alone, with this in its own log
            traceback.print_exc()
        if module.startswith(_OURS):
            # Here, and not in a child that is forked after the files have changed: this is the code that runs.
            sources_of(module.split(".")[1])


def _become(order: dict[str, Any], parent_pid: int) -> None:
    """Turn this forked copy into the service; never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        die_with_parent(signal.SIGTERM, parent_pid)
        _redirect(order["log"])
        _name_process(f"gpuaas-{order['start']}")
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = [f"gpuaas-{order['start']}"]
        importlib.import_module(order["module"]).main()
        status = 0
    except SystemExit as ended:
        status = _status_of(ended)
    except BaseException:  # noqa: BLE001 - a forked copy must never run on into the parent's loop
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _status_of(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    sys.stderr.write(f"{ended.code}\n")
    return 1


def _redirect(log: str) -> None:
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    for descriptor in (written, nothing):
        if descriptor > 2:
            os.close(descriptor)


def _name_process(name: str) -> None:
    """Show `name` in process lists, where the system can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _emptied(woken: socket.socket) -> None:
    with suppress(BlockingIOError):
        while woken.recv(4_096):
            pass


def main() -> None:
    """Serve the socket whose descriptor is the first argument; the others are modules to import beforehand."""
    WarmParent(socket.socket(fileno=int(sys.argv[1]))).run(sys.argv[2:])


if __name__ == "__main__":
    main()
