"""The audit trail: leaves a second, and what a proof weighs and costs. One law: a proof is checked by the offline
verifier, which shares no code with who made it."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gpuaas.audit.adapters.key_file import Ed25519Key
from gpuaas.audit.adapters.watch_memory import WatchMemory
from gpuaas.audit.domain.checkpoints import LogKey, proof_file
from gpuaas.audit.domain.entries import Entry
from gpuaas.audit.domain.merkle import Frontier, grown
from gpuaas.audit.domain.tiles import Tile, Tiles, tile_rows
from gpuaas.audit.projections.audit_trail import AuditTrail
from gpuaas.audit.watching import Watching
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.log import EventLog
from gpuaas.common.tables import Database
from gpuaas.common.testing.stack import TestStack
from gpuaas.verify.mirrors import TILE_WIDTH, tile_path
from gpuaas.verify.policy import trusting
from gpuaas.verify.proofs import read_proof

from tests.bench.on_the_log import copy_rate, fill, fresh_log, kept, open_database, rebuild_rate_of
from tests.bench.rows import Row, at_least, beside, no_more, rates_in_turn

EVENTS: Final = 30_000
TENANTS: Final = tuple(f"tenant-{number:02d}" for number in range(50))
PAYLOAD: Final = b"x" * 600
LEAVES: Final = 1_000_000
PROOFS_PER_BLOCK: Final = 200
BLOCKS: Final = 5
DAY_LEAVES: Final = 1_000_000
"""A busy tenant's day: twelve events a second."""
_VERIFY: Final = """
import sys
from gpuaas.verify.main import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)"""
LOG: Final = "gpuaas.example/production"
KIB: Final = 1_024


async def audit_leaves(stack: TestStack) -> list[Row]:
    """Events of 50 tenants from the log into rows, trees and tiles, beside COPY of their bytes alone."""
    async with fresh_log(stack) as log, open_database(stack) as database:
        await fill(log, EVENTS, TENANTS)
        before_mib = resident_mib()
        async with kept(AuditTrail(), log, database) as projector:
            rate = await rebuild_rate_of(projector, EVENTS)
            grew_mib = resident_mib() - before_mib
            compared = await compared_rate(log, database)
        payloads = [(number, PAYLOAD) for number in range(EVENTS)]
        copied = await copy_rate(database, "position bigint PRIMARY KEY, payload bytea", payloads)
    return [
        at_least("audit trail", rate, "leaves/s", 20_000, copied),
        beside("audit trail, the log compared with it, against folding", compared, "positions/s", rate),
        Row(f"audit trail, memory that folding {EVENTS:,} events four times took", grew_mib, "MiB"),
    ]


async def compared_rate(log: EventLog, database: Database) -> float:
    """Positions per second of a look at the whole log."""
    name = AuditTrail().name
    memory = WatchMemory(database, log, name)
    await memory.open()
    commands = Commands(log, WallClock(), "audit", "dev")
    began = time.perf_counter()
    found = await Watching(log, database, commands, name, memory, EVENTS, pass_s=3_600).look()
    took_s = time.perf_counter() - began
    assert not found, found
    return EVENTS / took_s


def resident_mib() -> float:
    """Memory of this process now."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / KIB


def appending_kib(edge: Frontier, leaves: list[bytes]) -> float:
    """Most memory that appending these leaves needs."""
    tracemalloc.start()
    try:
        grown(edge, leaves)
        return tracemalloc.get_traced_memory()[1] / KIB
    finally:
        tracemalloc.stop()


def entry(number: int) -> Entry:
    """A leaf like those of usage records."""
    subject = f"events.billing.usage.acme.al-{number}"
    kind, moment = "gpuaas.billing.usage-metered.v1", "2026-08-01T00:00:00.000000Z"
    return Entry(number + 1, subject, kind, f"0191-{number:032x}", moment, sha256(number.to_bytes(8)).digest())


async def audit_proofs(_: TestStack) -> list[Row]:
    """A tree of a million leaves: growing it, and proofs of single leaves out of its tiles."""
    hashes = [entry(number).hash() for number in range(LEAVES)]
    began = time.perf_counter()
    growth = grown(Frontier(), hashes)
    grown_s = time.perf_counter() - began
    began = time.perf_counter()
    for leaf in hashes:
        sha256(b"\x01" + leaf + leaf)
    hashed_s = time.perf_counter() - began
    empty_kib, large_kib = (appending_kib(edge, hashes[:1_000]) for edge in (Frontier(), growth.frontier))
    growth_in = large_kib / empty_kib
    stored: dict[Tile, bytes] = {}
    for part in tile_rows(Frontier(), growth):
        stored[part.level, part.index] = part.hashes
    return [
        beside("audit, a tree grows, against one hash a leaf", LEAVES / grown_s, "leaves/s", LEAVES / hashed_s),
        Row(
            "audit, memory to append 1,000 leaves at 10⁶, against an empty tree", large_kib, "KiB", empty_kib, growth_in
        ),
        *_proofs(stored, growth.frontier),
    ]


async def audit_day(_: TestStack) -> list[Row]:
    """A tenant's day, mirrored as files, verified by the offline program in a process of its own."""
    entries = [entry(number) for number in range(DAY_LEAVES)]
    growth = grown(Frontier(), [each.hash() for each in entries])
    key = LogKey(LOG, Ed25519Key(b"\x05" * 32))
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "checkpoint").write_text(
            key.checkpoint("acme", growth.frontier.size, growth.frontier.root()), "utf-8"
        )
        hashes = [each.hash() for each in entries]
        for start in range(0, DAY_LEAVES, TILE_WIDTH):
            part = entries[start : start + TILE_WIDTH]
            at = tile_path(start // TILE_WIDTH, len(part))
            bundle = b"".join(len(each.encode()).to_bytes(2, "big") + each.encode() for each in part)
            for kind, content in (("0", b"".join(hashes[start : start + TILE_WIDTH])), ("entries", bundle)):
                file = folder / "tile" / kind / at
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        began = time.perf_counter()
        program = [sys.executable, "-c", _VERIFY, "tree", directory, "--key", key.verifier_key()]
        told = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
            program, check=True, capture_output=True, text=True
        ).stdout
        took_s = time.perf_counter() - began
    assert f"{DAY_LEAVES:,} entries are those of their leaves" in told, told
    began = time.perf_counter()
    for each in hashes:
        sha256(b"\x01" + each + each)
    hashed_s = time.perf_counter() - began
    peak_mib = int(told.rsplit(maxsplit=1)[1]) / KIB
    return [
        Row(f"audit, a day of {DAY_LEAVES:,} events is verified offline", took_s, "s", hashed_s, took_s / hashed_s),
        Row("audit, memory of that verification at most", peak_mib, "MiB"),
    ]


def _proofs(stored: dict[Tile, bytes], frontier: Frontier) -> list[Row]:
    """Random leaves; a block of whole proof files beside a block of their signature checks alone."""
    key = LogKey(LOG, Ed25519Key(b"\x05" * 32))
    checkpoint = key.checkpoint("acme", frontier.size, frontier.root())
    dice = random.Random(5)
    files: list[tuple[bytes, str]] = []
    path_bytes = 0
    began = time.perf_counter()
    for index in (dice.randrange(frontier.size) for _ in range(PROOFS_PER_BLOCK)):
        path = Tiles(stored).inclusion(index, frontier.size)
        path_bytes = max(path_bytes, sum(map(len, path)))
        files.append((entry(index).encode(), proof_file(index, path, checkpoint)))
    made_s = (time.perf_counter() - began) / PROOFS_PER_BLOCK
    policy, public = trusting(key.verifier_key()), Ed25519PublicKey.from_public_bytes(key.key.public_key)
    signature = key.key.sign(b"a checkpoint")

    def verified(_: int) -> int:
        for data, text in files:
            read_proof(text).verify(data, policy)
        return len(files)

    def signature_alone(_: int) -> int:
        for _data, _text in files:
            public.verify(signature, b"a checkpoint")
        return len(files)

    proofs, signatures = rates_in_turn(verified, signature_alone, blocks=BLOCKS)
    size = max(len(text) for _, text in files)
    return [
        no_more("audit, inclusion proof at 10⁶ leaves, its hashes", path_bytes, "bytes", KIB),
        Row("audit, the same as a file with its checkpoint", size, "bytes"),
        Row("audit, a proof is made from tiles", made_s * 1e3, "ms"),
        no_more("audit, a proof file is verified", 1e3 / proofs, "ms", 1, 1e3 / signatures),
    ]
