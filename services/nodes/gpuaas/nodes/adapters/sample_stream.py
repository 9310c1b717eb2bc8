"""The newest utilisation of every machine, out of the TELEMETRY stream. One law: shown while fresh, billed never.

Kept in this process alone: one sample a machine, at most `MACHINES_MAX`. After a start the stream's last ones are read.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from faststream.nats import NatsBroker
from gpuaas.common.errors import Invalid
from gpuaas.nodes.adapters.sample_wire import Sample, decode_sample, sample_subject_of
from gpuaas.nodes.adapters.telemetry import listen_for_ever, listening
from nats.js import api
from prometheus_client import Counter

MACHINES_MAX: Final = 100_000
FRESH_S: Final = 300.0
"""A sample older than this says nothing about now."""
SKEW_MAX_S: Final = 60.0
RECEIVED = Counter("gpuaas_utilisation_samples_total", "Utilisation samples by what became of them.", ("outcome",))
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heard:
    """A sample, and when it was received, seconds since 1970 by the broker's clock."""

    sample: Sample
    received_s: float


class SampleStream:
    """Listens and keeps.

    Args:
        deaf: whether the way from the stream is known to be broken; when it heals, the stream is read anew.
        now_s: real time, seconds since 1970.
    """

    def __init__(self, broker: NatsBroker, deaf: Callable[[], bool], now_s: Callable[[], float] = time.time) -> None:
        self._broker = broker
        self._deaf = deaf
        self._now_s = now_s
        self._newest: OrderedDict[str, Heard] = OrderedDict()

    async def run(self, tick_s: float) -> None:
        """Listen for ever, beginning with the last sample of every machine. Raises Unavailable: no stream."""
        await listen_for_ever(self._opened, self._deaf, tick_s)

    async def _opened(self) -> Callable[[], Any]:
        begin = api.DeliverPolicy.LAST_PER_SUBJECT
        return await listening(self._broker, sample_subject_of("*"), "utilisation", begin, self._receive)

    def newest(self, node_id: str) -> Heard | None:
        """The machine's newest sample while it is fresh."""
        heard = self._newest.get(node_id)
        return heard if heard is not None and self._now_s() - heard.received_s <= FRESH_S else None

    async def _receive(self, message: Any) -> None:
        raw = message.raw_message
        outcome = self.take(raw.subject.split(".")[2], raw.data, float(raw.metadata.timestamp.timestamp()))
        RECEIVED.labels(outcome).inc()

    def take(self, sender: str, payload: bytes, received_s: float) -> str:
        """One message on the subject of `sender`; what became of it, in a word."""
        try:
            sample = decode_sample(payload)
        except Invalid as refused:
            _log.warning("a sample on the subject of %s was refused: %s", sender[:80], refused.detail[:300])
            return "unreadable"
        if sample.node_id != sender:
            return "foreign"
        before = self._newest.get(sender)
        if before is not None and received_s < before.received_s:
            return "late"
        self._newest[sender] = Heard(sample, received_s)
        self._newest.move_to_end(sender)
        if len(self._newest) > MACHINES_MAX:
            self._newest.popitem(last=False)
        return "skewed" if abs(sample.sampled_at.timestamp() - received_s) > SKEW_MAX_S else "kept"
