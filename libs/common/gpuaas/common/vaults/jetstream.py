"""The keys of data subjects in a stream of their own. One law: a destroyed key's bytes are overwritten, then marked.

One stream per owning service, `KEYS_<SERVICE>`, one message per person on `keys.<service>.<person>`: a key, or the mark
that it was destroyed. The stream refuses a second message on a subject (`discard_new_per_subject`), so a key is
never replaced. Destroying is the broker's secure delete, which writes random bytes over the message in its file.
"""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64decode
from collections.abc import Sequence
from typing import Final

from gpuaas.common.errors import Conflict, Unavailable
from gpuaas.common.logs.wire import EXPECTED_LAST, NO_MESSAGE, STATUS, Silence, Wire, raise_for
from gpuaas.common.sealing import KEY_BYTES, Destroyed

KEY: Final = b"key:"
GONE: Final = b"destroyed"
AT_ONCE: Final = 512
"""People asked about in one request; the broker takes 1,024."""
ATTEMPTS_MAX: Final = 4
READ_TIMEOUT_S: Final = 5.0
_RETRY_S: Final = 0.1


def stream_of(service: str) -> str:
    """The stream that holds the keys of a service's data subjects."""
    return f"KEYS_{service.upper()}"


class JetStreamVault:
    """A `Vault` on the broker.

    Args:
        wire: requests over the service's connection.
    """

    def __init__(self, wire: Wire, service: str) -> None:
        self._wire = wire
        self._service = service
        self._stream = stream_of(service)

    async def key_for(self, subject_id: str) -> bytes:
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(_RETRY_S * 2**attempt)
            found = await self._newest(subject_id)
            if found is None:
                made = KEY + os.urandom(KEY_BYTES)
                if await self._put(subject_id, made):
                    return made[len(KEY) :]
                continue
            if found[1].startswith(GONE):
                raise Destroyed(subject_id)
            return found[1][len(KEY) :]
        raise Unavailable(f"the vault of {self._service} did not settle on a key; try again", retry_after_s=2)

    async def keys_of(self, subject_ids: Sequence[str]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for start in range(0, len(subject_ids), AT_ONCE):
            found |= await self._many(subject_ids[start : start + AT_ONCE])
        # A replica may be behind a key that was just made; the leader is asked before one is called missing.
        for subject_id in set(subject_ids) - found.keys():
            if (newest := await self._newest(subject_id)) is not None:
                found[subject_id] = _read(newest[1])
        return found

    async def destroy(self, subject_id: str) -> bool:
        had = False
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(_RETRY_S * 2**attempt)
            found = await self._newest(subject_id)
            if found is not None and found[1].startswith(GONE):
                return had
            if found is not None:
                had = True
                # `no_erase` false: the broker overwrites the message in its file before it forgets it.
                body = {"seq": found[0], "no_erase": False}
                await self._wire.ask(f"$JS.API.STREAM.MSG.DELETE.{self._stream}", body)
            if await self._put(subject_id, GONE):
                return had
        raise Unavailable(f"the vault of {self._service} did not confirm that a key is gone", retry_after_s=2)

    async def _put(self, subject_id: str, content: bytes) -> bool:
        """Write on an empty subject; False when somebody was faster or the outcome is unknown: look again."""
        subject = self._subject(subject_id)
        try:
            answer = await self._wire.request(subject, content, {EXPECTED_LAST: "0"})
        except Silence:
            return False
        if (answer.headers or {}).get(STATUS) == "503":
            return False
        if error := json.loads(answer.data).get("error"):
            try:
                raise_for(error, subject)
            except Conflict:
                return False
        return True

    async def _newest(self, subject_id: str) -> tuple[int, bytes] | None:
        """Sequence and content of the message of one person, as the stream's leader knows it."""
        asked = json.dumps({"last_by_subj": self._subject(subject_id)}).encode()
        try:
            reply = await self._wire.request(f"$JS.API.STREAM.MSG.GET.{self._stream}", asked)
        except Silence:
            raise Unavailable(f"the vault of {self._service} does not answer") from None
        if (reply.headers or {}).get(STATUS) == "503":
            raise Unavailable(f"the vault of {self._service} is not there yet")
        answer = json.loads(reply.data)
        if error := answer.get("error"):
            if int(error.get("err_code", 0)) == NO_MESSAGE:
                return None
            raise Unavailable(f"the vault of {self._service} refused a read: {error.get('description')}")
        return int(answer["message"]["seq"]), b64decode(answer["message"].get("data", ""))

    async def _many(self, subject_ids: Sequence[str]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        body = json.dumps({"multi_last": [self._subject(each) for each in subject_ids]}).encode()
        async with self._wire.replies() as (inbox, queue):
            await self._wire.client.publish(f"$JS.API.DIRECT.GET.{self._stream}", body, reply=inbox)
            while True:
                try:
                    async with asyncio.timeout(READ_TIMEOUT_S):
                        message = await queue.get()
                except TimeoutError:
                    raise Unavailable(f"the vault of {self._service} does not answer") from None
                headers = message.headers or {}
                status = headers.get(STATUS)
                if status in ("204", "404"):
                    return found
                if status is not None:
                    raise Unavailable(f"the vault of {self._service} refused a read: {headers}")
                found[headers["Nats-Subject"].rpartition(".")[2]] = _read(message.data)

    def _subject(self, subject_id: str) -> str:
        return f"keys.{self._service}.{subject_id}"


def _read(content: bytes) -> bytes | None:
    return None if content.startswith(GONE) else content[len(KEY) :]
