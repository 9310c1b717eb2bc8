"""Artefacts as files keep the contract. One law: damage is made behind the adapter's back, never by it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from gpuaas.evidence.adapters.files import ABANDONED_AFTER_S, FileArtefacts
from gpuaas.evidence.ports import ArtefactStore
from store_contract import ARTEFACT_BYTES_MAX, StoreContract, digest, in_chunks


@pytest.fixture
def store(tmp_path: Path) -> FileArtefacts:
    return FileArtefacts(tmp_path, artefact_bytes_max=ARTEFACT_BYTES_MAX)


class TestFiles(StoreContract):
    @pytest.fixture(autouse=True)
    def _root(self, tmp_path: Path) -> None:
        self.root = tmp_path

    def spoil(self, store: ArtefactStore, sha256: str) -> None:
        place = self.root / "sha256" / sha256[:2] / sha256
        data = bytearray(place.read_bytes())
        data[len(data) // 2] ^= 0x01
        place.write_bytes(data)

    def leftovers(self, store: ArtefactStore) -> list[str]:
        return [left.name for left in (self.root / "incoming").iterdir()]


async def test_an_upload_that_died_long_ago_is_swept_and_a_running_one_is_not(tmp_path: Path) -> None:
    FileArtefacts(tmp_path, artefact_bytes_max=ARTEFACT_BYTES_MAX)
    dead, running = tmp_path / "incoming" / "dead", tmp_path / "incoming" / "running"
    dead.write_bytes(b"half")
    running.write_bytes(b"half")
    long_ago = time.time() - ABANDONED_AFTER_S - 60
    os.utime(dead, (long_ago, long_ago))
    FileArtefacts(tmp_path, artefact_bytes_max=ARTEFACT_BYTES_MAX)
    assert not dead.exists()
    assert running.exists()


async def test_what_was_filed_is_there_for_the_next_process(tmp_path: Path) -> None:
    await FileArtefacts(tmp_path, artefact_bytes_max=10).put(digest(b"report"), in_chunks(b"report"))
    again = FileArtefacts(tmp_path, artefact_bytes_max=10)
    assert (filed := await again.stored(digest(b"report"))) is not None
    assert filed.size_bytes == 6
