"""An answer that is saved as it comes: whole or not at all, however the connection behaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gpuaas.cli.client import Refused, Suite

PIECES = [b"a" * 10_000, b"b" * 10_000]


class Door:
    """A service that gives tokens and one document in two pieces, and may break off between them."""

    def __init__(self) -> None:
        self.broken_off = 0
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        if b"/v1/tokens" in line:
            self._answer(writer, 200, json.dumps({"access_token": "t", "expires_in": 900}).encode())
        elif b"/refused" in line:
            self._answer(writer, 404, json.dumps({"detail": "there is no such document"}).encode())
        else:
            self.asked += 1
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
            for piece in PIECES[: 1 if self.asked <= self.broken_off else 2]:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
            if self.asked > self.broken_off:
                writer.write(b"0\r\n\r\n")
        writer.close()

    @staticmethod
    def _answer(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)


@pytest.fixture
async def door() -> AsyncIterator[tuple[Door, Suite]]:
    opened = Door()
    server = await asyncio.start_server(opened.serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Suite({"iam": address, "audit": address}, "key") as suite:
        yield opened, suite
    server.close()


@pytest.mark.parametrize("broken_off", [0, 2])
async def test_a_saved_answer_is_whole_also_after_it_was_broken_off(
    door: tuple[Door, Suite], tmp_path: Path, broken_off: int
) -> None:
    opened, suite = door
    opened.broken_off = broken_off
    file = tmp_path / "trail.jsonl"
    assert await suite.save("audit", "/export", file) == 20_000
    assert file.read_bytes() == b"".join(PIECES)
    assert opened.asked == broken_off + 1
    assert [each.name for each in tmp_path.iterdir()] == ["trail.jsonl"]


async def test_a_refusal_leaves_the_file_that_was_there(door: tuple[Door, Suite], tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    file.write_bytes(b"yesterday's")
    with pytest.raises(Refused, match="no such document"):
        await door[1].save("audit", "/refused", file)
    assert file.read_bytes() == b"yesterday's"
