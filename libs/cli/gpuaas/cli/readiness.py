"""Asking a service whether it is ready. One law: a service that is not gets named with what it said and its log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from gpuaas.common.errors import Unavailable

POLL_S: Final = 0.1
STOPPED_PATIENCE_S: Final = 5.0
"""How long one of its readers may stand still on an event before the wait is given up."""
ASK_TIMEOUT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Readiness:
    """One answer of `/readyz`; `told` is empty when there was none."""

    ready: bool
    told: dict[str, Any]

    def sentence(self) -> str:
        """Why it is not ready, as far as it says."""
        if not self.told:
            return "it does not answer"
        if stopped := self.told.get("stopped"):
            return f"stopped: {', '.join(map(str, stopped))}"
        behind = [reader["name"] for reader in self.told.get("readers", []) if not reader.get("caught_up")]
        return f"behind: {', '.join(behind)}" if behind else "it is still starting"


async def asked(port: int) -> Readiness:
    """What `/readyz` on 127.0.0.1:`port` answers now."""
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            status, body = await _got(port, "/readyz")
        told = json.loads(body)
    except (OSError, ValueError, IndexError, TimeoutError):
        return Readiness(False, {})
    return Readiness(status == 200, told if isinstance(told, dict) else {})


async def until_ready(
    name: str, port: int, log_path: Path, timeout_s: float, runs: Callable[[], bool] = lambda: True
) -> float:
    """Poll until the service is ready; seconds it took.

    Args:
        runs: whether its process lives; when not, there is nothing to wait for.

    Raises:
        Unavailable: it ended, one of its readers stopped for good, or it is not ready in time.
    """
    began = monotonic()
    well_s = began
    while True:
        answer = await asked(port)
        if answer.ready:
            return monotonic() - began
        if not answer.told.get("stopped"):
            well_s = monotonic()
        if monotonic() - well_s > STOPPED_PATIENCE_S:
            raise Unavailable(f"{name} {answer.sentence()}; its last words: {last_line(log_path)} (log: {log_path})")
        if not runs():
            raise Unavailable(f"{name} ended: {last_line(log_path)} (log: {log_path})")
        if monotonic() - began > timeout_s:
            raise Unavailable(
                f"{name} is not ready after {timeout_s:g} s: {answer.sentence()}; "
                f"its last words: {last_line(log_path)} (log: {log_path})"
            )
        await asyncio.sleep(POLL_S)


def last_line(path: Path) -> str:
    """The last line of a log file; of a structured one its message."""
    with suppress(OSError):
        lines = path.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "nothing"
        with suppress(ValueError, TypeError, KeyError):
            last = str(json.loads(last)["message"])
        return last[:500]
    return "nothing"


async def _got(port: int, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode("ascii"))
        answer = await reader.read(ANSWER_BYTES_MAX)
        while chunk := await reader.read(ANSWER_BYTES_MAX):
            answer += chunk
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body
