"""Heartbeats from the TELEMETRY stream, read by a FastStream subscriber. One law: what cannot be read is counted aloud.

The stream is never declared or changed from here, nothing is acknowledged (a missed heartbeat is followed by the next
one) and the bytes are decoded strictly by our own hand: a malformed one is counted by its fault, not lost in silence.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage
from gpuaas.common.errors import Invalid, Unavailable
from gpuaas.common.ids import new_id
from gpuaas.nodes.adapters.heartbeat_wire import decode, encode, subject_of
from nats.errors import Error as NatsError
from nats.js import api
from prometheus_client import Counter

STREAM: Final = "TELEMETRY"
HEARTBEATS: Final = subject_of("*")
SKEW_MAX_S: Final = 60.0
INACTIVE_S: Final = 60.0
_COMPLAINT_EVERY_S: Final = 10.0

RECEIVED = Counter("gpuaas_heartbeats_total", "Heartbeats by what became of them.", ("outcome",))
_log = logging.getLogger(__name__)


async def listening(
    broker: NatsBroker,
    subject: str,
    what: str,
    begin: api.DeliverPolicy,
    receive: Callable[[Any], Awaitable[None]],
) -> Callable[[], Any]:
    """Hand every message of TELEMETRY on `subject` to `receive`, beginning as `begin` says; what ends that again.

    `receive` takes one parameter of type `Any`: a message asked for by its type is fetched in a worker thread, at
    thrice the cost.

    Raises:
        Unavailable: the stream does not answer.
    """
    subscriber = broker.subscriber(
        subject,
        stream=JStream(STREAM, declare=False),
        config=api.ConsumerConfig(
            # A name of its own: without one the client asks on a subject that no service may use.
            name=f"nodes-{what}-{new_id()}",
            ack_policy=api.AckPolicy.NONE,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_S,
        ),
        deliver_policy=begin,
        ack_policy=AckPolicy.MANUAL,
        decoder=_whole,
        persistent=False,
        no_reply=True,
        title=f"node {what}",
        include_in_schema=False,
    )
    subscriber(receive)
    try:
        await subscriber.start()
    except (NatsError, TimeoutError, OSError) as away:
        raise Unavailable(f"the {STREAM} stream does not answer: {away}") from away
    return subscriber.stop


async def listen_for_ever(
    opened: Callable[[], Awaitable[Callable[[], Any]]], deaf: Callable[[], bool], tick_s: float
) -> None:
    """Listen, and anew each time the way from the stream has been broken and heals. Raises Unavailable: no stream.

    Args:
        opened: begins to listen; what ends that again.
        deaf: whether the way from the stream is known to be broken.
    """
    while True:
        stop = await opened()
        try:
            while deaf():
                await asyncio.sleep(tick_s)
            while not deaf():
                await asyncio.sleep(tick_s)
        finally:
            await stop()


class Ear(Protocol):
    """Who wants to know of heartbeats."""

    def hear(self, sender: str, age_s: float) -> str:
        """A well-formed heartbeat of `sender`, received `age_s` real seconds ago; what became of it, in a word."""
        ...


@dataclass(slots=True)
class _Subscription:
    stop: Callable[[], Any]
    replay_until: int


class HeartbeatStream:
    """Feeds an `Ear` from the stream; can be opened again when it went deaf."""

    def __init__(self, broker: NatsBroker, ear: Ear) -> None:
        self._broker = broker
        self._ear = ear
        self._open: _Subscription | None = None
        self._complained_at = float("-inf")

    async def open(self) -> None:
        """Listen from now on, beginning with the last heartbeat of every node that the stream still has.

        Raises:
            Unavailable: the stream does not answer.
        """
        await self.close()
        try:
            last = await self._last_sequence()
            stop = await listening(
                self._broker, HEARTBEATS, "heartbeats", api.DeliverPolicy.LAST_PER_SUBJECT, self._receive
            )
        except (NatsError, TimeoutError, OSError) as away:
            raise Unavailable(f"the {STREAM} stream does not answer: {away}") from away
        self._open = _Subscription(stop, last)

    async def close(self) -> None:
        if (subscription := self._open) is not None:
            self._open = None
            await subscription.stop()

    async def send_canary(self, sender: str) -> None:
        """Publish a heartbeat of our own, to hear whether the way through the stream is open."""
        await self._broker.connection.publish(subject_of(sender), encode(sender, sender, 1, time.time()))

    async def _last_sequence(self) -> int:
        answer = await self._broker.connection.request(f"$JS.API.STREAM.INFO.{STREAM}", timeout=5)
        told = json.loads(answer.data)
        if "state" not in told:
            raise Unavailable(f"there is no stream {STREAM}; let the provisioner create it")
        return int(told["state"]["last_seq"])

    async def _receive(self, message: Any) -> None:
        raw = message.raw_message
        sender = raw.subject.split(".")[2]
        try:
            beat = decode(raw.data)
        except Invalid as refused:
            self._complain("unreadable", sender, refused.detail)
            return
        if beat.node_id != sender:
            self._complain("foreign", sender, f"it speaks for {beat.node_id[:80]!r}")
            return
        age_s = self._age_s(raw.metadata)
        if abs(time.time() - age_s - beat.sent_at.timestamp()) > SKEW_MAX_S:
            RECEIVED.labels("skewed").inc()
        RECEIVED.labels(self._ear.hear(sender, age_s)).inc()

    def _age_s(self, metadata: Any) -> float:
        """Live heartbeats count as received now; the ones replayed at the start are as old as the stream says."""
        if self._open is not None and metadata.sequence.stream > self._open.replay_until:
            return 0.0
        return max(0.0, time.time() - float(metadata.timestamp.timestamp()))

    def _complain(self, fault: str, sender: str, what: str) -> None:
        RECEIVED.labels(fault).inc()
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAINT_EVERY_S:
            self._complained_at = now
            _log.warning("a heartbeat on the subject of %s was refused: %s", sender[:80], what)


async def _whole(message: NatsMessage) -> NatsMessage:
    """The message as it is: it is decoded strictly in `_receive`, where a fault is counted."""
    return message
