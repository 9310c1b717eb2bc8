"""A private, ordered reader of JetStream. One law: contiguous or begun again, never skipped.

Overlapping pull requests into one callback: measured 4 to 8 times the rate of `fetch()` at a third of the CPU. The
consumer is ephemeral and acknowledges nothing; the position lives with the reader's effects. A generation of the
consumer ends with a gap in its sequence, a missed heartbeat, a 4xx/5xx or a lost connection; the next begins after
the last event handed out, with a fresh name and inbox.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from gpuaas.common.envelope import TYPE_HEADER, Recorded
from gpuaas.common.ids import new_id
from gpuaas.common.log import Batch
from gpuaas.common.logs.chain import stated
from gpuaas.common.logs.headers import quicken
from gpuaas.common.logs.wire import STATUS, Wire
from nats.aio.client import Client
from nats.aio.msg import Msg

PULL: Final = 500
"""Messages per pull request at most; two are kept in flight."""
PULL_FIRST: Final = 50
"""Messages of the first pull requests, while nothing is known of how large events are."""
PULL_BYTES: Final = 8 * 1024 * 1024
"""About what a pull request may bring. The size is estimated from what came last: the broker's own `max_bytes` makes
it hand messages out one by one (measured: a sixteenth of the rate)."""
BATCH_MAX: Final = 1_000
"""Most events handed out at once."""
EXPIRES_S: Final = 20
HEARTBEAT_S: Final = 4
INACTIVE_S: Final = 30
"""After this long without a pull the broker forgets the consumer."""
_RESTART_S: Final = 0.25
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger(__name__)


class _GenerationEnded(Exception):
    """This consumer is no longer usable."""


class Heads(Protocol):
    """What a follower asks the log about its end."""

    async def last_position(self) -> int: ...

    async def newest(self, subjects: Sequence[str]) -> int: ...


class JetStreamFollower:
    """A `Follower`; make it with `JetStreamLog.follow`."""

    def __init__(
        self,
        log: Heads,
        wire: Wire,
        stream: str,
        subjects: Sequence[str],
        after: int,
    ) -> None:
        self._log = log
        self._wire = wire
        self._stream = stream
        self._subjects = sorted(subjects)
        self._after = after
        self._name = ""
        self._taken = 0
        self._closed = False
        self._arrived = asyncio.Event()

    @property
    def consumer(self) -> str:
        """The name of the consumer it reads with now, as the broker knows it; empty before the first."""
        return self._name

    async def batches(self) -> AsyncIterator[Batch]:
        while not self._closed:
            try:
                async for batch in self._generation():
                    yield batch
            except _GenerationEnded as ended:
                _log.debug("reader of %s begins again after %d: %s", self._subjects, self._after, ended)
                await asyncio.sleep(_RESTART_S)

    async def settle(self) -> int:
        name, taken, after = self._name, self._taken, self._after
        if not name:
            return after
        head = await self._log.last_position()
        idle = await self._log.newest(self._subjects) <= after
        return max(head, after) if idle and name == self._name and taken == self._taken else after

    async def close(self) -> None:
        self._closed = True
        self._arrived.set()

    async def _generation(self) -> AsyncIterator[Batch]:
        head = await self._log.last_position()
        inbox: list[Msg] = []
        arrived = self._arrived = asyncio.Event()

        async def take(message: Msg) -> None:
            inbox.append(message)
            arrived.set()

        client = self._wire.client
        quicken(client)
        reconnects = client.stats["reconnects"]
        deliver = client.new_inbox()
        subscription = await client.subscribe(deliver, cb=take, pending_bytes_limit=0)
        try:
            waiting = await self._create_consumer()
            # The consumer may live on a replica that is behind: that nothing waits there proves nothing by itself.
            if waiting == 0 and await self._log.newest(self._subjects) <= self._after:
                yield Batch(events=(), seen=max(self._after, head), caught_up=True)
            pulls = _Pulls(self._wire, f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}", deliver)
            while not self._closed:
                await pulls.top_up()
                await _wait(arrived, client, reconnects)
                while inbox:
                    taken, inbox[:BATCH_MAX] = inbox[:BATCH_MAX], []
                    if (batch := self._batch(taken, pulls)) is not None:
                        yield batch
                    await pulls.top_up()
                arrived.clear()
        finally:
            self._name = ""
            if not client.is_closed:
                await subscription.unsubscribe()

    async def _create_consumer(self) -> int:
        """A fresh consumer after the position; how many events wait for it."""
        name = f"r-{new_id()}"
        filters: dict[str, object] = {"filter_subjects": self._subjects}
        suffix = name
        if len(self._subjects) == 1:
            filters = {"filter_subject": self._subjects[0]}
            suffix = f"{name}.{self._subjects[0]}"
        config = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._after + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": INACTIVE_S * 1_000_000_000,
            "mem_storage": True,
            "num_replicas": 1,
            **filters,
        }
        answer = await self._wire.ask(
            f"$JS.API.CONSUMER.CREATE.{self._stream}.{suffix}",
            {"stream_name": self._stream, "config": config, "action": "create"},
            timeout_s=5,
        )
        self._name = name
        self._taken = 0
        return int(answer["num_pending"])

    def _batch(self, messages: Sequence[Msg], pulls: _Pulls) -> Batch | None:
        events: list[Recorded] = []
        pending = -1
        for message in messages:
            if not message.reply:
                pulls.note_status(message)
                continue
            tokens = message.reply.split(".")
            position, sequence, stamp_ns, pending = (
                (int(token) for token in tokens[-4:]) if len(tokens) == 9 else (int(token) for token in tokens[7:11])
            )
            if sequence != self._taken + len(events) + 1:
                raise _GenerationEnded(f"consumer sequence {sequence} after {self._taken + len(events)}")
            events.append(_recorded(message, position, stamp_ns))
        if not events:
            return None
        pulls.arrived(events)
        self._taken += len(events)
        self._after = events[-1].position
        return Batch(events=events, seen=self._after, caught_up=pending == 0)


class _Pulls:
    """The pull requests in flight: how many messages the broker still owes us."""

    def __init__(self, wire: Wire, subject: str, inbox: str) -> None:
        self._wire = wire
        self._subject = subject
        self._inbox = inbox
        self._batch = PULL_FIRST
        self.outstanding = 0

    async def top_up(self) -> None:
        while self.outstanding <= self._batch:
            request = {
                "batch": self._batch,
                "expires": EXPIRES_S * 1_000_000_000,
                "idle_heartbeat": HEARTBEAT_S * 1_000_000_000,
            }
            await self._wire.client.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)
            self.outstanding += self._batch

    def arrived(self, events: Sequence[Recorded]) -> None:
        """These came, of those that the broker owes; the next request is for as many as fit."""
        self.outstanding -= len(events)
        size = sum(len(event.payload) for event in events) // len(events)
        self._batch = min(PULL, max(1, PULL_BYTES // max(1, size)))

    def note_status(self, message: Msg) -> None:
        """A status ends one pull request, is a heartbeat, or ends the generation."""
        headers = message.headers or {}
        status = headers.get(STATUS)
        if status == "100":
            return
        left = headers.get("Nats-Pending-Messages")
        if status in ("404", "408") and left is not None:
            self.outstanding -= int(left)
            return
        raise _GenerationEnded(f"status {status}: {headers.get('Description')}")


async def _wait(arrived: asyncio.Event, client: Client, reconnects: int) -> None:
    for _ in range(3 * HEARTBEAT_S):
        try:
            async with asyncio.timeout(1):
                await arrived.wait()
                return
        except TimeoutError:
            if not client.is_connected or client.stats["reconnects"] != reconnects:
                raise _GenerationEnded("the connection was lost meanwhile") from None
    raise _GenerationEnded(f"no heartbeat for {3 * HEARTBEAT_S} s")


def _recorded(message: Msg, position: int, stamp_ns: int) -> Recorded:
    headers = message.headers or {}
    return Recorded(
        position=position,
        subject=message.subject,
        type=headers.get(TYPE_HEADER, ""),
        payload=message.data,
        # In integers: as a float of seconds, one stamp would differ by a microsecond from the one that a get answers.
        recorded_at=_EPOCH + timedelta(microseconds=stamp_ns // 1000),
        decided_on=stated(headers),
    )
