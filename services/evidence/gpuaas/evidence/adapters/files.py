"""Artefacts as files. One law: a name appears only when every byte is written, hashed and on the disk.

Layout below the root: `sha256/<first two hex digits>/<digest>`, and `incoming/` for what is being written.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Final, ParamSpec

from gpuaas.common.errors import Invalid, NotFound, TooLarge, Unavailable
from gpuaas.evidence.ports import Damage, Damaged, Stored

P = ParamSpec("P")

PIECE_BYTES: Final = 1024 * 1024
ABANDONED_AFTER_S: Final = 24 * 3600
"""An unfinished file older than this belongs to no running upload."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class FileArtefacts:
    """A directory as an `ArtefactStore`.

    Args:
        root: made if absent; must be on one file system, because publishing is a rename.
        artefact_bytes_max: more bytes than this are refused while they arrive.
    """

    def __init__(self, root: Path, *, artefact_bytes_max: int) -> None:
        self._shelves = root / "sha256"
        self._incoming = root / "incoming"
        self._bytes_max = artefact_bytes_max
        self._shelves.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._sweep()

    async def put(self, sha256: str, chunks: AsyncIterator[bytes]) -> Stored:
        place = self._place(sha256)
        incoming = await asyncio.to_thread(_Incoming, self._incoming)
        try:
            async for piece in _in_pieces(chunks):
                if incoming.size_bytes + len(piece) > self._bytes_max:
                    raise TooLarge(f"an artefact has at most {self._bytes_max} bytes")
                await _on_disk(incoming.write, piece)
            await _on_disk(incoming.publish, sha256, place)
        finally:
            await asyncio.to_thread(incoming.discard)
        return Stored(sha256=sha256, size_bytes=incoming.size_bytes)

    async def stored(self, sha256: str) -> Stored | None:
        place = self._place(sha256)
        try:
            found = await asyncio.to_thread(os.stat, place)
        except FileNotFoundError:
            return None
        return Stored(sha256=sha256, size_bytes=found.st_size)

    async def read(self, sha256: str) -> AsyncIterator[bytes]:
        place = self._place(sha256)
        try:
            file = await asyncio.to_thread(open, place, "rb")
        except FileNotFoundError:
            raise NotFound(f"no artefact is stored under {sha256}; upload it first") from None
        try:
            hashed, held = hashlib.sha256(), b""
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                if held:
                    yield held
                await asyncio.to_thread(hashed.update, piece)
                held = piece
            if hashed.hexdigest() != sha256:
                found = hashed.hexdigest()
                raise Damaged(f"{sha256} is damaged in the store; upload it again", found_sha256=found)
            yield held
        finally:
            file.close()

    async def scrub(self) -> AsyncIterator[Damage]:
        for place in await asyncio.to_thread(lambda: list(self._filed())):
            found = await asyncio.to_thread(_digest_of, place)
            if found is not None and found != place.name:
                yield Damage(sha256=place.name, found_sha256=found)

    def _place(self, sha256: str) -> Path:
        if _DIGEST.fullmatch(sha256) is None:
            raise Invalid(f"{sha256[:80]!r} is not a SHA-256 digest; write 64 lower-case hex digits")
        return self._shelves / sha256[:2] / sha256

    def _filed(self) -> Iterator[Path]:
        for shelf in sorted(self._shelves.iterdir()):
            yield from sorted(place for place in shelf.iterdir() if _DIGEST.fullmatch(place.name))

    def _sweep(self) -> None:
        """Remove what uploads left behind that died long ago; younger files may be another process's."""
        for left in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED_AFTER_S:
                    left.unlink()


class _Incoming:
    """One upload: a temporary file and the hash of what went into it. Runs in worker threads."""

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder)
        self._path = Path(name)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._hashed = hashlib.sha256()
        self.size_bytes = 0

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hashed.update(piece)
        self.size_bytes += len(piece)

    def publish(self, sha256: str, place: Path) -> None:
        if self.size_bytes == 0:
            raise Invalid("an artefact of 0 bytes proves nothing; nothing was stored")
        if (found := self._hashed.hexdigest()) != sha256:
            raise Invalid(
                f"these {self.size_bytes} bytes hash to {found}, not to {sha256}; nothing was stored",
                found_sha256=found,
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        place.parent.mkdir(exist_ok=True)
        self._path.replace(place)
        # The name itself must survive a power cut, and so must a shelf that is new.
        for folder in (place.parent, place.parent.parent):
            _sync_folder(folder)

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


async def _on_disk(step: Callable[P, None], *args: P.args, **named: P.kwargs) -> None:
    """Run a writing step in a worker thread; a full or failing disk is our trouble."""
    try:
        await asyncio.to_thread(step, *args, **named)
    except OSError as failed:
        said = failed.strerror or failed
        raise Unavailable(f"the artefact store cannot write ({said}); make room and try again") from failed


async def _in_pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces worth a trip to a worker thread."""
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest_of(place: Path) -> str | None:
    try:
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
