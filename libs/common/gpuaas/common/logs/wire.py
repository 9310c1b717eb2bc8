"""Request and reply with the broker, and its error codes. One law: a silent broker is *unknown*, never *failed*.

Header names are case-sensitive at the broker (a misspelt guard is silently ignored), so they are spelled here only.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from gpuaas.common.errors import Conflict, NotPermitted, Unavailable
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, ConnectionDrainingError, OutboundBufferLimitError

EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID: Final = "Nats-Msg-Id"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"
STATUS: Final = "Status"

WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})
"""Another event stands on the guarded subject, or is being written to it this moment."""
NO_MESSAGE: Final = 10037
LEADER_NOT_READY: Final = frozenset({10163})
LOG_IS_FULL: Final = frozenset({10023, 10047, 10077, 10122})
REQUEST_TIMEOUT_S: Final = 2.0


_NOT_SENT: Final = (ConnectionClosedError, ConnectionDrainingError, OutboundBufferLimitError)


class Silence(Exception):
    """No answer in time: the outcome is unknown."""


class Wire:
    """Requests over one NATS connection, with replies in an inbox of our own.

    Own, because a publish that the broker does not permit gets no reply: only the connection's error callback hears of
    it, and `refused()` hands that to the caller who waits.

    Args:
        client: gives the connected client; asked at each use, so that a broker object may connect later.
    """

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._by_subject: defaultdict[str, set[asyncio.Future[Msg]]] = defaultdict(set)
        self._opening = asyncio.Lock()
        self._count = 0

    @property
    def client(self) -> Client:
        return self._client()

    def server_id(self) -> str:
        """The server that we are connected to, by the id that it makes itself at every start."""
        return str(self.client._server_info.get("server_id", ""))  # the client has it and no word for it

    async def _open(self) -> None:
        async with self._opening:
            if not self._inbox:
                inbox = self.client.new_inbox()
                await self.client.subscribe(f"{inbox}.*", cb=self._take)
                self._inbox = inbox

    async def _take(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def refused(self, complaint: str) -> None:
        """Hear the connection's error callback: fails every request that waits on the subject it names."""
        if "permissions violation" not in complaint.lower():
            return
        for subject, futures in list(self._by_subject.items()):
            if f'"{subject}"' in complaint or f'"{subject.lower()}"' in complaint.lower():
                for future in futures:
                    if not future.done():
                        future.set_exception(NotPermitted(f"the broker does not let this service publish to {subject}"))

    async def request(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Msg:
        """Publish and wait for the one reply.

        Raises:
            Silence: none came in `timeout_s` seconds.
            NotPermitted: the broker refused the publish.
        """
        if not self._inbox:
            await self._open()
        self._count += 1
        reply = f"{self._inbox}.{self._count}"
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = future
        self._by_subject[subject].add(future)
        try:
            await self.client.publish(subject, payload, reply=reply, headers=headers)
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise Silence(subject) from None
        except _NOT_SENT as closed:
            raise Unavailable(f"no connection to the broker: {closed or type(closed).__name__}") from closed
        finally:
            del self._waiting[reply]
            waiters = self._by_subject[subject]
            waiters.discard(future)
            if not waiters:
                del self._by_subject[subject]

    async def ask(self, api: str, body: object = None, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Any]:
        """Call a `$JS.API` subject with a JSON body; the JSON answer.

        Raises:
            Unavailable: no answer, or an error the broker names.
        """
        message = await self._reply(api, b"" if body is None else json.dumps(body).encode(), timeout_s)
        answer: dict[str, Any] = json.loads(message.data)
        if error := answer.get("error"):
            raise Unavailable(f"the broker refused {api}: {error.get('description')}", code=error.get("err_code"))
        return answer

    async def _reply(self, api: str, payload: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> Msg:
        try:
            message = await self.request(api, payload, timeout_s=timeout_s)
        except Silence:
            raise Unavailable(f"the broker did not answer {api} within {timeout_s} s") from None
        if (message.headers or {}).get(STATUS) == "503":
            raise Unavailable("JetStream is not there yet: no one answers its API")
        return message

    async def last_by_subject(self, stream: str, subject: str) -> int:
        """Position of the newest message on `subject` (a literal or a filter); 0 for none. The stream's leader answers,
        where a direct get may be answered by a replica that is behind."""
        message = await self._reply(f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps({"last_by_subj": subject}).encode())
        answer: dict[str, Any] = json.loads(message.data)
        if error := answer.get("error"):
            if int(error.get("err_code", 0)) == NO_MESSAGE:
                return 0
            raise Unavailable(f"the broker refused a read: {error.get('description')}", code=error.get("err_code"))
        return int(answer["message"]["seq"])

    @asynccontextmanager
    async def replies(self) -> AsyncIterator[tuple[str, asyncio.Queue[Msg]]]:
        """An inbox for a request with many replies, and the queue they arrive in."""
        inbox = self.client.new_inbox()
        queue: asyncio.Queue[Msg] = asyncio.Queue()

        async def put(message: Msg) -> None:
            queue.put_nowait(message)

        subscription = await self.client.subscribe(inbox, cb=put)
        try:
            yield inbox, queue
        finally:
            if not self.client.is_closed:
                await subscription.unsubscribe()


def raise_for(error: dict[str, Any], subject: str) -> None:
    """Turn the broker's refusal of an append into ours."""
    code = int(error.get("err_code", 0))
    said = str(error.get("description", "no reason given"))
    if code in WRONG_LAST_SEQUENCE:
        raise Conflict(f"{subject} has moved on since it was read ({said})")
    if code in LOG_IS_FULL:
        raise Unavailable(f"the log takes no more events now: {said}", retry_after_s=10)
    raise Unavailable(f"the broker refused the append to {subject}: {said} ({code})")
