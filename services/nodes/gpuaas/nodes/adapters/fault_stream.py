"""Faults from the TELEMETRY stream become reports about components. One law: what was seen twice is recorded once.

After a start everything that the stream still has is read again: the agent's fault_id is the cause, so the log knows
what it heard before, and what came while nobody listened is not lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from faststream.nats import NatsBroker
from gpuaas.common.errors import GpuaasError, Invalid, Unavailable
from gpuaas.nodes.adapters.fault_wire import FaultReport, decode_fault, fault_subject_of
from gpuaas.nodes.adapters.telemetry import listen_for_ever, listening
from nats.js import api
from prometheus_client import Counter

ATTEMPTS_MAX: Final = 40
PAUSE_S: Final = 0.25
Record: TypeAlias = Callable[[FaultReport, float], Awaitable[str]]
RECEIVED = Counter("gpuaas_fault_reports_total", "Fault reports of agents by what became of them.", ("outcome",))
_log = logging.getLogger(__name__)


class FaultStream:
    """Listens to the agents' faults.

    Args:
        record: puts one report, so many real seconds old, into the log and says what became of it.
        deaf: whether the way from the stream is known to be broken; when it heals, the stream is read anew.
    """

    def __init__(self, broker: NatsBroker, record: Record, deaf: Callable[[], bool]) -> None:
        self._broker = broker
        self._record = record
        self._deaf = deaf

    async def run(self, tick_s: float) -> None:
        """Listen for ever."""
        await listen_for_ever(self._opened, self._deaf, tick_s)

    async def _opened(self) -> Callable[[], Any]:
        return await listening(self._broker, fault_subject_of("*"), "faults", api.DeliverPolicy.ALL, self._receive)

    async def _receive(self, message: Any) -> None:
        raw = message.raw_message
        sender = raw.subject.split(".")[2]
        try:
            report = decode_fault(raw.data)
        except Invalid as refused:
            _complain("unreadable", sender, refused.detail)
            return
        if report.node_id != sender:
            _complain("foreign", sender, f"it speaks for {report.node_id[:80]!r}")
            return
        received_s = float(raw.metadata.timestamp.timestamp())
        for attempt in range(ATTEMPTS_MAX):
            try:
                RECEIVED.labels(await self._record(report, max(0.0, time.time() - received_s))).inc()
                return
            except Unavailable:
                await asyncio.sleep(PAUSE_S * min(attempt + 1, 20))
            except GpuaasError as refused:
                _complain("refused", sender, refused.detail)
                return
        _complain("given-up", sender, "the log does not answer; the report is read again at the next start")


def _complain(fault: str, sender: str, what: str) -> None:
    RECEIVED.labels(fault).inc()
    _log.warning("a fault on the subject of %s was not recorded: %s", sender[:80], what[:300])
