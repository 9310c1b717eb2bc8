"""The log on NATS JetStream. One law: every append carries its guard, and an unknown outcome is settled by reading.

Behaviour measured on nats-server 2.15 (ADR-50 for atomic batches, ADR-31 for direct gets).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from gpuaas.common.envelope import (
    CONTENT_TYPE,
    CONTENT_TYPE_HEADER,
    TYPE_HEADER,
    Recorded,
)
from gpuaas.common.errors import Conflict, Misconfigured, Unavailable, Unreadable
from gpuaas.common.ids import new_id
from gpuaas.common.log import Write
from gpuaas.common.logs.chain import missing_before, stated
from gpuaas.common.logs.follow import JetStreamFollower
from gpuaas.common.logs.memory import check_guards
from gpuaas.common.logs.wire import (
    BATCH_COMMIT,
    BATCH_ID,
    BATCH_SEQUENCE,
    EXPECTED_LAST,
    LEADER_NOT_READY,
    MESSAGE_ID,
    STATUS,
    Silence,
    Wire,
    raise_for,
)
from nats.aio.client import Client
from nats.aio.msg import Msg

STREAM: Final = "EVENTS"
ATTEMPTS_MAX: Final = 4
"""Tries of one append while its outcome is unknown; each carries the same ids and guard."""
HISTORY_BATCH: Final = 512
BEHIND_TRIES: Final = 40
BEHIND_PAUSE_S: Final = 0.05
"""How long a copy that is behind is asked again."""
_RETRY_S: Final = 0.1
_IMPOSSIBLE: Final = 2**62


class JetStreamLog:
    """An `EventLog` on the stream `EVENTS`.

    Args:
        client: gives the connected NATS client. Its error callback must call `wire.refused(str(error))`.
    """

    def __init__(self, client: Callable[[], Client], stream: str = STREAM) -> None:
        self.wire = Wire(client)
        self._stream = stream

    async def append(self, writes: Sequence[Write]) -> list[int]:
        check_guards(writes)
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(_RETRY_S * 2**attempt)
            try:
                sent = await (self._append_one(writes[0]) if len(writes) == 1 else self._append_batch(writes))
            except Silence:
                sent = await self._outcome(writes)
            if sent is not None:
                return sent
        raise Unavailable(
            "the log did not confirm the append; it is safe to repeat the request unchanged", retry_after_s=2
        )

    async def _append_one(self, write: Write) -> list[int] | None:
        headers = _headers(write)
        headers[MESSAGE_ID] = write.event_id
        return _positions(await self.wire.request(write.subject, write.payload, headers), [write])

    async def _append_batch(self, writes: Sequence[Write]) -> list[int] | None:
        batch = new_id()
        last = len(writes)
        for number, write in enumerate(writes[:-1], start=1):
            headers = _headers(write) | {BATCH_ID: batch, BATCH_SEQUENCE: str(number)}
            await self.wire.client.publish(write.subject, write.payload, headers=headers)
        headers = _headers(writes[-1]) | {BATCH_ID: batch, BATCH_SEQUENCE: str(last), BATCH_COMMIT: "1"}
        message = await self.wire.request(writes[-1].subject, writes[-1].payload, headers)
        return _positions(message, writes)

    async def _outcome(self, writes: Sequence[Write]) -> list[int] | None:
        """After silence: the positions if it was written, None if it was not.

        The first event after the guard tells: ours, or someone else's (then the guard can never hold again).
        """
        first = writes[0]
        after = await self.history(first.subject, first.expected or 0, limit=1)
        if not after:
            return None
        if after[0].envelope().id != first.event_id:
            raise Conflict(f"{first.subject} has moved on since it was read")
        return list(range(after[0].position, after[0].position + len(writes)))

    async def history(
        self, subject: str, after: int = 0, limit: int | None = None, *, reaching: int = 0
    ) -> list[Recorded]:
        for _ in range(BEHIND_TRIES):
            found = await self._history(subject, after, limit)
            lacking = missing_before(found, after)
            behind = reaching > after and (not found or found[-1].position < reaching)
            if not lacking and not behind:
                return found
            await asyncio.sleep(BEHIND_PAUSE_S)
        if lacking:
            raise Unavailable(
                f"no copy of the log that answers can read position {lacking} of {subject}: it is damaged"
            )
        raise Unavailable(f"no copy of the log that answers has position {reaching} of {subject} yet")

    async def _history(self, subject: str, after: int, limit: int | None) -> list[Recorded]:
        found: list[Recorded] = []
        while limit is None or len(found) < limit:
            batch = HISTORY_BATCH if limit is None else min(HISTORY_BATCH, limit - len(found))
            events, more = await self._direct({"seq": after + 1, "next_by_subj": subject, "batch": batch})
            found += events
            if not events or not more:
                break
            after = events[-1].position
        return found

    async def at(self, position: int) -> Recorded | None:
        body = json.dumps({"seq": position}).encode()
        try:
            message = await self.wire.request(f"$JS.API.DIRECT.GET.{self._stream}", body)
        except Silence:
            raise Unavailable(f"the log did not answer for position {position}") from None
        status = (message.headers or {}).get(STATUS)
        if status == "503":
            raise Unavailable("the log is not there yet: no one answers a read")
        return None if status == "404" else _stored(message)

    async def newest(self, subjects: Sequence[str]) -> int:
        ends = await asyncio.gather(*(self.wire.last_by_subject(self._stream, subject) for subject in subjects))
        return max(ends, default=0)

    async def _direct(self, body: dict[str, object]) -> tuple[list[Recorded], bool]:
        """One direct get with many answers: the events, and whether the broker has more."""
        events: list[Recorded] = []
        async with self.wire.replies() as (inbox, queue):
            await self.wire.client.publish(f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(body).encode(), reply=inbox)
            while True:
                try:
                    async with asyncio.timeout(5):
                        message = await queue.get()
                except TimeoutError:
                    raise Unavailable("the log did not finish answering a read; try again") from None
                headers = message.headers or {}
                status = headers.get(STATUS)
                if status == "404":
                    return events, False
                if status == "204":
                    return events, int(headers.get("Nats-Num-Pending", "0")) > 0
                if status is not None:
                    raise Unavailable(f"the log refused a read: {headers}")
                events.append(_stored(message))

    def follow(self, subjects: Sequence[str], after: int) -> JetStreamFollower:
        return JetStreamFollower(self, self.wire, self._stream, subjects, after)

    async def last_position(self) -> int:
        info = await self.wire.ask(f"$JS.API.STREAM.INFO.{self._stream}")
        return int(info["state"]["last_seq"])

    async def replicas(self) -> int:
        """How many servers keep a copy of the log."""
        info = await self.wire.ask(f"$JS.API.STREAM.INFO.{self._stream}")
        return int(info["config"].get("num_replicas", 1))

    async def fill(self) -> float:
        """Share of the stream's own limit that is used; 0 where it has none."""
        info = await self.wire.ask(f"$JS.API.STREAM.INFO.{self._stream}")
        room = int(info["config"].get("max_bytes", -1))
        return int(info["state"]["bytes"]) / room if room > 0 else 0.0

    async def incarnation(self) -> str:
        info = await self.wire.ask(f"$JS.API.STREAM.INFO.{self._stream}")
        named = (info["config"].get("metadata") or {}).get("incarnation")
        if not named:
            raise Misconfigured(f"the stream {self._stream} has no incarnation; let the provisioner create it")
        return str(named)

    async def imprint(self) -> str:
        info = await self.wire.ask(f"$JS.API.STREAM.INFO.{self._stream}")
        gone = int(info["state"]["last_seq"]) - int(info["state"]["messages"])
        leader = (info.get("cluster") or {}).get("leader", "")
        return f"{info['created']} {leader} {self.wire.server_id()} {gone}".replace("  ", " ")

    async def prove_guards(self, service: str) -> None:
        """Refuse to serve unless the broker really refuses an impossible guard.

        Raises:
            Misconfigured: the broker took the event: guards are ignored, nothing decided here would be safe.
        """
        probe = Write(
            subject=f"events.{service}.guard-probe.platform.self",
            expected=_IMPOSSIBLE,
            event_id="guard-probe",
            event_type="guard-probe",
            payload=b"{}",
        )
        try:
            await self.append([probe])
        except Conflict:
            return
        raise Misconfigured("the broker ignored an append guard; check its version and the header names")


def _headers(write: Write) -> dict[str, str]:
    headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE, TYPE_HEADER: write.event_type}
    if write.expected is not None:
        headers[EXPECTED_LAST] = str(write.expected)
    return headers


def _positions(message: Msg, writes: Sequence[Write]) -> list[int] | None:
    if (message.headers or {}).get(STATUS) == "503":
        return None
    answer = json.loads(message.data)
    if error := answer.get("error"):
        if int(error.get("err_code", 0)) in LEADER_NOT_READY:
            return None
        raise_for(error, writes[0].subject)
    if answer.get("duplicate"):
        # Three servers look at message ids before guards: the event stands somewhere, not necessarily behind ours.
        raise Silence(writes[0].subject)
    last = int(answer["seq"])
    return list(range(last - len(writes) + 1, last + 1))


def _stored(message: Msg) -> Recorded:
    """A direct-get answer as a record."""
    headers = message.headers or {}
    try:
        return Recorded(
            position=int(headers["Nats-Sequence"]),
            subject=headers["Nats-Subject"],
            type=headers.get(TYPE_HEADER, ""),
            payload=message.data,
            recorded_at=datetime.fromisoformat(headers["Nats-Time-Stamp"]).astimezone(UTC),
            decided_on=stated(headers),
        )
    except (KeyError, ValueError) as broken:
        raise Unreadable(f"the broker's answer to a direct get lacks {broken}") from broken
