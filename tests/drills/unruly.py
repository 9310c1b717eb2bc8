"""A wire between a service and the broker that delivers twice, late and out of order. One law: it loses nothing itself.

It reads the broker's side of the protocol frame by frame (docs.nats.io, "Client protocol") and misbehaves only with
what a reader's consumer delivers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

DELIVERED: Final = b"$JS.ACK."
"""What the reply subject of a delivery begins with, also where nothing is acknowledged."""
HELD_BACK: Final = (1, 6)
"""Deliveries that a late one is overtaken by."""


@dataclass(slots=True)
class Unruly:
    """What the wire has done.

    Attributes:
        share: of deliveries that are touched.
    """

    share: float
    chance: random.Random
    delivered: int = 0
    doubled: int = 0
    overtaken: int = 0
    _late: list[tuple[int, bytes]] = field(default_factory=list)

    def passed(self, frame: bytes) -> list[bytes]:
        """What goes on instead of one delivery."""
        self.delivered += 1
        self._late = [(left - 1, held) for left, held in self._late]
        due = [held for left, held in self._late if left <= 0]
        self._late = [(left, held) for left, held in self._late if left > 0]
        dice = self.chance.random()
        if dice < self.share / 2:
            self.doubled += 1
            return [frame, frame, *due]
        if dice < self.share:
            self.overtaken += 1
            self._late.append((self.chance.randint(*HELD_BACK), frame))
            return due
        return [frame, *due]

    async def from_broker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = line.split()
            if not words or words[0] not in (b"MSG", b"HMSG"):
                writer.write(line)
                continue
            frame = line + await reader.readexactly(int(words[-1]) + 2)
            reply = words[3:-2] if words[0] == b"HMSG" else words[3:-1]
            for each in self.passed(frame) if reply and reply[0].startswith(DELIVERED) else [frame]:
                writer.write(each)
            await writer.drain()


@asynccontextmanager
async def unruly_wire(url: str, share: float, chance: random.Random) -> AsyncIterator[tuple[str, Unruly]]:
    """The broker's URL through such a wire, and what the wire does."""
    at, wire = urlsplit(url), Unruly(share, chance)
    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection(at.hostname, at.port)
        tasks.add(asyncio.create_task(wire.from_broker(answers, writer)))
        while chunk := await reader.read(65_536):
            asks.write(chunk)
            await asks.drain()
        asks.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield at._replace(netloc=f"{at.username}:{at.password}@127.0.0.1:{port}").geturl(), wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
