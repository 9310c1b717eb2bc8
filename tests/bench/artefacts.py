"""A gigabyte as an artefact, and a bomb of one. One law: what a process takes is asked of the kernel, from outside."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.client import Suite
from gpuaas.cli.up import Stack
from gpuaas.common.clock import rfc3339
from gpuaas.common.testing.stack import TestStack

from tests.bench.rows import Row, beside, no_more

MIB: Final = 1 << 20
SIZE_MIB: Final = 1_024
JUNIT: Final = "application/x-junit+xml"
RESET_PEAK: Final = "5"
"""Written to /proc/<pid>/clear_refs, it sets the peak to what is resident now (proc(5))."""
STREAMED_MIB_MAX: Final = 32
BOMB_MIB_MAX: Final = 192


class Gigabyte:
    """The same gigabyte each time it is iterated, never whole in memory."""

    def __init__(self) -> None:
        self._block = hashlib.shake_256(b"bench").digest(MIB)

    def pieces(self) -> Iterator[bytes]:
        for number in range(SIZE_MIB):
            yield number.to_bytes(8, "big") + self._block[8:]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces():
            yield piece


async def artefact_of_a_gigabyte(_: TestStack) -> list[Row]:
    """Stored and fetched through the real door, beside hashing alone; and what a packed gigabyte does to a readback."""
    with _folder() as folder:
        async with (
            Stack(folder, services=("iam", "evidence")) as stack,
            Suite(stack.endpoints.services, stack.operator_key) as suite,
        ):
            pid = stack.pid("evidence")
            assert pid is not None
            return [*await _streamed(suite, pid), await _bomb(suite, pid)]


async def _streamed(suite: Suite, pid: int) -> list[Row]:
    whole, hashed, began = Gigabyte(), hashlib.sha256(), time.perf_counter()
    for piece in whole.pieces():
        hashed.update(piece)
    hashing = SIZE_MIB / (time.perf_counter() - began)
    path = f"/v1/artefacts/{hashed.hexdigest()}"
    before, began = _peak_mib(pid, reset=True), time.perf_counter()
    await suite.put_bytes("evidence", path, whole, "application/octet-stream")
    stored, began = SIZE_MIB / (time.perf_counter() - began), time.perf_counter()
    content = await suite.get_bytes("evidence", path)
    fetched = SIZE_MIB / (time.perf_counter() - began)
    assert hashlib.sha256(content).digest() == hashed.digest()
    grown = _peak_mib(pid) - before
    return [
        beside("an artefact of 1 GiB stored, beside hashing it", stored, "MiB/s", hashing),
        beside("an artefact of 1 GiB fetched, beside hashing it", fetched, "MiB/s", hashing),
        no_more("memory of the evidence service for 1 GiB in and out", grown, "MiB", STREAMED_MIB_MAX),
    ]


async def _bomb(suite: Suite, pid: int) -> Row:
    """A JUnit report that is a gzip of a gigabyte of nothing: it is unreadable, and costs no gigabyte."""
    bomb = gzip.compress(bytes(MIB) * SIZE_MIB, compresslevel=1, mtime=0)
    digest = hashlib.sha256(bomb).hexdigest()
    required = {"requirement_id": "bomb", "kind": "security", "title": "A bomb", "predicate": "passed > 0"}
    asked = {"minimum_readback": "R2", "max_age_s": 3_600, "profiles": ["dev"]}
    await suite.post("evidence", "/v1/requirements", {**required, **asked})
    await suite.put_bytes("evidence", f"/v1/artefacts/{digest}", bomb, JUNIT)
    claim: dict[str, Any] = {
        "claim_id": "bomb",
        "requirement_id": "bomb",
        "subject_sha256": "ab" * 32,
        "profile": "dev",
        "result": "passed",
        "procedure": "none",
        "scope": ["all"],
        "artefacts": [{"name": "bomb", "sha256": digest, "size_bytes": len(bomb), "media_type": JUNIT}],
        "facts": [{"name": "passed", "value": "1", "artefact": "bomb", "pointer": "/passed"}],
        "expires_at": rfc3339(datetime.now(UTC) + timedelta(days=1)),
    }
    before = _peak_mib(pid, reset=True)
    await suite.post("evidence", "/v1/claims", claim)
    told = await suite.post("evidence", "/v1/claims/bomb/readbacks", {"level": "R2"})
    assert [one["outcome"] for one in told["readbacks"]] == ["confirmed", "unreadable"], told
    return no_more("memory of the evidence service for a gzip of 1 GiB", _peak_mib(pid) - before, "MiB", BOMB_MIB_MAX)


def _peak_mib(pid: int, *, reset: bool = False) -> float:
    """The most memory that the process has had resident; `reset`: counted from here on."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK, "ascii")
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024


@contextmanager
def _folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gpuaas-bench-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        elsewhere = made / "postgres" / "data-is-in"
        if elsewhere.exists():
            shutil.rmtree(elsewhere.read_text("utf-8").strip(), ignore_errors=True)
        shutil.rmtree(made, ignore_errors=True)
