"""What stands before the processes of one service: an address that stays. One law: it counts refusals it passes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CHUNK: int = 65_536


@dataclass(slots=True)
class Front:
    """Passes connections to whichever backends there are, in turn.

    Attributes:
        backends: ports on this machine.
        answers: answers passed on; refused: those among them that said 5xx.
    """

    backends: list[int]
    port: int = 0
    answers: int = 0
    refused: int = 0
    _turn: int = 0
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            behind = await self._reached()
            if behind is not None:
                await self._both(reader, writer, *behind)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _reached(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in range(len(self.backends)):
            self._turn += 1
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self.backends[self._turn % len(self.backends)])
        return None

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        requests: asyncio.StreamWriter,
    ) -> None:
        ways = {asyncio.create_task(_pumped(reader, requests)), asyncio.create_task(self._answered(answers, writer))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            requests.close()

    async def _answered(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await answers.read(CHUNK):
            if chunk.startswith(b"HTTP/1.1 "):
                self.answers += 1
                self.refused += chunk[9:10] == b"5"
            writer.write(chunk)
            await writer.drain()

    async def close(self) -> None:
        """End every connection."""
        for task in list(self._open):
            task.cancel()


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()


@asynccontextmanager
async def fronted(address: str) -> AsyncIterator[Front]:
    """A front before the process at `address`."""
    front = Front([urlsplit(address).port or 0])
    server = await asyncio.start_server(front.take, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
        await front.close()
