"""What reaches the log by any way reaches the trail as what it is: malformed, huge, of another time, of any tenant."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from gpuaas.audit.adapters.heads import Heads
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.entries import Entry
from gpuaas.audit.projections.trail_search import Sought, search
from gpuaas.audit.reactions import Sealing
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.log import Write
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.tables import Database
from gpuaas.verify.leaves import check_bytes, read_leaf

TENANTS = 10_000


def event(time: str, **more: Any) -> bytes:
    about = {"specversion": "1.0", "id": "e-1", "type": "gpuaas.a.b-done.v1", "time": time, **more}
    return json.dumps(about).encode()


ODD = {
    "empty": b"",
    "no-json": b"\xff\xfe\x00",
    "nul": b'{"type":"a\\u0000","id":"x","time":"t"}',
    "a-list": b"[1,2]",
    "deep": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "huge": b'{"x":"' + b"y" * 1_000_000 + b'"}',
    "noise": os.urandom(4_096),
    "long-type": event("2026-01-01T00:00:00Z", type="t" * 2_000),
    "lone-surrogate": b'{"type":"\\ud800","id":"x","time":"t"}',
}


async def recorded(log: MemoryLog, subject: str, payload: bytes) -> None:
    await log.append([Write(subject, 0, subject, "t", payload)])


@pytest.mark.parametrize("kind", ODD)
async def test_bytes_that_are_no_event_are_a_leaf_like_any_other(
    kind: str, database: Database, make_trail: Callable[..., Any]
) -> None:
    log = MemoryLog()
    await recorded(log, f"events.a.b.acme.{kind}", ODD[kind])
    await make_trail(log, database).catch_up()
    [row] = await search(database, Sought(tree="acme"), None, 10)
    assert (row["type"], row["event_id"], row["time"], row["outcome"]) == (None, None, None, "unknown")
    assert row["payload_sha256"] == sha256(ODD[kind]).digest()
    assert row["payload_bytes"] == len(ODD[kind])
    assert [each["position"] for each in await search(database, Sought(outcome="unknown"), None, 10)] == [1]
    entry = Entry(1, row["subject"], None, None, None, row["payload_sha256"])
    leaf = {"index": "0", "entry": entry.members(), "proof": [], "payload": ""}
    if len(ODD[kind]) < 100_000:
        import base64

        leaf["payload"] = base64.b64encode(ODD[kind]).decode()
        check_bytes(read_leaf(leaf, "the leaf"))


@pytest.mark.parametrize(
    ("time", "searchable"),
    [
        ("1970-01-01T00:00:00.000000Z", True),
        ("9999-12-31T23:59:59.999999Z", True),
        ("2026-01-01T00:00:00+14:00", True),
        ("0001-01-01T00:00:00+14:00", False),
        ("2026-01-01T00:00:00", False),
        ("yesterday", False),
    ],
)
async def test_a_clock_that_is_wrong_moves_no_row(
    time: str, searchable: bool, database: Database, make_trail: Callable[..., Any]
) -> None:
    """The log's order is the order of the trail; the event's own time is shown as it was said."""
    log = MemoryLog()
    for number, moment in enumerate(("2026-05-01T00:00:00Z", time, "2026-05-02T00:00:00Z")):
        await recorded(log, f"events.a.b.acme.n{number}", event(moment))
    await make_trail(log, database).catch_up()
    rows = await search(database, Sought(tree="acme", newest_first=False), None, 10)
    assert [row["position"] for row in rows] == [1, 2, 3]
    assert rows[1]["time"] == time
    assert (rows[1]["happened_at"] is not None) is searchable


async def test_ten_thousand_tenants_with_one_event_each_are_sealed_in_one_epoch(
    database: Database, make_trail: Callable[..., Any], log_key: LogKey
) -> None:
    log = MemoryLog()
    for start in range(0, TENANTS, 1_000):
        names = [f"t-{number}" for number in range(start, start + 1_000)]
        moment = "2026-05-01T00:00:00Z"
        await log.append([Write(f"events.a.b.{name}.x", 0, name, "t", event(moment, id=name)) for name in names])
    trail = make_trail(log, database)
    await trail.catch_up()
    heads = Heads(database, log)
    await heads.open()
    commands = Commands(log, WallClock(), "audit", "dev")
    sealing = Sealing(database, commands, heads, log_key, b"\x01" * 32, trail.projection.name, trail.watching(commands))
    sealed = await sealing.seal()
    assert sealed is not None
    assert (sealed.epoch, sealed.last_position) == (1, TENANTS)
    newest = await heads.all_newest()
    assert len(newest) == TENANTS
    assert {head.size for head in newest.values()} == {1}
