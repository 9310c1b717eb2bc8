"""What every artefact store must do. One law: each implementation runs all of it, unchanged."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from gpuaas.common.errors import Invalid, NotFound, TooLarge
from gpuaas.evidence.ports import ArtefactStore, Damage, Damaged

ARTEFACT_BYTES_MAX = 4 * 1024 * 1024


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def in_chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read_all(store: ArtefactStore, sha256: str) -> bytes:
    return b"".join([piece async for piece in store.read(sha256)])


async def damages(store: ArtefactStore) -> list[Damage]:
    return [damage async for damage in store.scrub()]


class StoreContract:
    """Subclasses give the fixture `store` (limit ARTEFACT_BYTES_MAX) and say how to spoil what it holds."""

    def spoil(self, store: ArtefactStore, sha256: str) -> None:
        """Flip one bit of what is filed under `sha256`, behind the store's back."""
        raise NotImplementedError

    def leftovers(self, store: ArtefactStore) -> list[str]:
        """Names of unfinished uploads still lying about."""
        raise NotImplementedError

    async def test_what_was_filed_is_read_back_byte_for_byte(self, store: ArtefactStore) -> None:
        data = bytes(range(256)) * 9000
        filed = await store.put(digest(data), in_chunks(data))
        assert (filed.sha256, filed.size_bytes) == (digest(data), len(data))
        assert await read_all(store, digest(data)) == data
        assert await store.stored(digest(data)) == filed

    async def test_filing_the_same_bytes_twice_changes_nothing(self, store: ArtefactStore) -> None:
        first = await store.put(digest(b"report"), in_chunks(b"report"))
        assert await store.put(digest(b"report"), in_chunks(b"report", size=1)) == first

    async def test_bytes_that_hash_to_something_else_are_not_filed(self, store: ArtefactStore) -> None:
        with pytest.raises(Invalid, match="hash to"):
            await store.put(digest(b"report"), in_chunks(b"rep0rt"))
        assert await store.stored(digest(b"report")) is None
        assert await store.stored(digest(b"rep0rt")) is None
        assert self.leftovers(store) == []

    async def test_a_wrong_upload_does_not_disturb_what_is_filed(self, store: ArtefactStore) -> None:
        await store.put(digest(b"report"), in_chunks(b"report"))
        with pytest.raises(Invalid):
            await store.put(digest(b"report"), in_chunks(b"another"))
        assert await read_all(store, digest(b"report")) == b"report"

    async def test_no_bytes_at_all_are_refused(self, store: ArtefactStore) -> None:
        with pytest.raises(Invalid, match="0 bytes"):
            await store.put(digest(b""), in_chunks(b""))
        assert await store.stored(digest(b"")) is None
        assert self.leftovers(store) == []

    async def test_an_artefact_at_the_limit_is_filed_and_one_byte_more_is_not(self, store: ArtefactStore) -> None:
        full = b"x" * ARTEFACT_BYTES_MAX
        assert (await store.put(digest(full), in_chunks(full, 70_000))).size_bytes == len(full)
        with pytest.raises(TooLarge, match=str(ARTEFACT_BYTES_MAX)):
            await store.put(digest(full + b"x"), in_chunks(full + b"x", 70_000))
        assert await store.stored(digest(full + b"x")) is None
        assert self.leftovers(store) == []

    async def test_an_upload_that_breaks_off_leaves_nothing(self, store: ArtefactStore) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"half of "
            raise EOFError("the sender went away")

        with pytest.raises(EOFError):
            await store.put(digest(b"half of a report"), broken())
        assert await store.stored(digest(b"half of a report")) is None
        assert self.leftovers(store) == []

    @pytest.mark.parametrize("name", ["", "abc", "../../etc/passwd", "A" * 64, "g" * 64, "a" * 63, "a" * 64 + "\n"])
    async def test_only_a_digest_is_a_name(self, store: ArtefactStore, name: str) -> None:
        with pytest.raises(Invalid, match="SHA-256"):
            await store.put(name, in_chunks(b"report"))
        with pytest.raises(Invalid, match="SHA-256"):
            await read_all(store, name)

    async def test_what_was_never_filed_is_not_found(self, store: ArtefactStore) -> None:
        assert await store.stored(digest(b"nothing")) is None
        with pytest.raises(NotFound, match="upload it first"):
            await read_all(store, digest(b"nothing"))

    async def test_a_flipped_bit_is_never_read_to_the_end(self, store: ArtefactStore) -> None:
        data = b"report" * 300_000
        await store.put(digest(data), in_chunks(data, 65_536))
        self.spoil(store, digest(data))
        received = bytearray()

        async def receive() -> None:
            async for piece in store.read(digest(data)):
                received.extend(piece)

        with pytest.raises(Damaged):
            await receive()
        assert len(received) < len(data)

    async def test_a_scrub_names_exactly_what_is_damaged(self, store: ArtefactStore) -> None:
        for data in (b"one", b"two", b"three"):
            await store.put(digest(data), in_chunks(data))
        assert await damages(store) == []
        self.spoil(store, digest(b"two"))
        assert [damage.sha256 for damage in await damages(store)] == [digest(b"two")]

    async def test_sending_a_damaged_artefact_again_heals_it(self, store: ArtefactStore) -> None:
        await store.put(digest(b"report"), in_chunks(b"report"))
        self.spoil(store, digest(b"report"))
        await store.put(digest(b"report"), in_chunks(b"report"))
        assert await read_all(store, digest(b"report")) == b"report"
        assert await damages(store) == []

    async def test_many_who_file_the_same_at_once_all_succeed(self, store: ArtefactStore) -> None:
        data = b"report" * 50_000
        filed = await asyncio.gather(*(store.put(digest(data), in_chunks(data)) for _ in range(8)))
        assert {one.size_bytes for one in filed} == {len(data)}
        assert await read_all(store, digest(data)) == data
        assert self.leftovers(store) == []
