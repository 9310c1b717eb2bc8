"""The trail on a real database: everything that is in the log is in it, once, in order, whatever the batches."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
from gpuaas.audit.projections.audit_trail import GAPS, PAYLOADS, TRAIL, TREES
from gpuaas.audit.projections.trail_search import Sought, entries_between, order_key, search
from gpuaas.audit.projections.tree_proofs import consistency_proof, inclusion_proofs
from gpuaas.common.envelope import Recorded
from gpuaas.common.log import Write
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.projections import digest
from gpuaas.common.tables import Database
from gpuaas.verify.tree import check_consistency, check_inclusion, leaf_hash, root_of
from sqlalchemy import select

MALFORMED = [
    b"",
    b"not json",
    b"[]",
    b'{"type":7}',
    b"\xff\xfe",
    b'{"id":"\x00"}',
    b'{"type":"gpuaas.x.y.v9","id":"1"}',
]


async def said(log: MemoryLog, subject: str, payload: bytes) -> None:
    history = await log.history(subject)
    await log.append([Write(subject, history[-1].position if history else 0, "e", "t", payload)])


async def mixed(make_story: Any) -> MemoryLog:
    """Two tenants, the platform, and bytes that are no events."""
    log = MemoryLog()
    await make_story(log).whole()
    await make_story(log, "bolt").use("b1", datetime(2026, 3, 5, tzinfo=UTC), 1)
    for number, payload in enumerate(MALFORMED):
        await said(log, f"events.rogue.thing.acme.t{number}", payload)
        await said(log, f"events.rogue.odd{number}", payload)
    return log


async def test_every_event_is_a_row_a_leaf_and_its_bytes(make_trail: Any, make_story: Any, database: Database) -> None:
    log = await mixed(make_story)
    await make_trail(log, database).catch_up()
    rows = await database.fetch(
        select(TRAIL, PAYLOADS.c.payload).join(PAYLOADS, PAYLOADS.c.position == TRAIL.c.position)
    )
    assert sorted(row["position"] for row in rows) == list(range(1, await log.last_position() + 1))
    for row in rows:
        stored = await log.at(row["position"])
        assert stored is not None
        assert (row["payload"], row["subject"]) == (stored.payload, stored.subject)
        assert row["payload_sha256"] == hashlib.sha256(stored.payload).digest()
    trees = {row["tree"]: row["size"] for row in await database.fetch(select(TREES))}
    assert sum(trees.values()) == len(rows)
    assert set(trees) == {"acme", "bolt", "platform"}
    unnamed = [row for row in rows if row["type"] is None]
    assert len(unnamed) == 2 * len(MALFORMED)


async def test_every_leaf_is_provable_in_its_own_tree(make_trail: Any, make_story: Any, database: Database) -> None:
    log = await mixed(make_story)
    await make_trail(log, database).catch_up()
    for tree in await database.fetch(select(TREES)):
        size = tree["size"]
        leaves = [leaf_hash(entry) for entry in await entries_between(database, tree["tree"], 0, size)]
        proofs = await inclusion_proofs(database, tree["tree"], range(size), size)
        for index, proof in proofs.items():
            check_inclusion(leaves[index], index, size, proof, root_of(leaves))
        grew = await consistency_proof(database, tree["tree"], 2, size)
        check_consistency(2, root_of(leaves[:2]), size, root_of(leaves), grew)


@pytest.mark.parametrize("batch_max", [1, 7])
async def test_a_rebuild_is_byte_identical_whatever_the_batches(
    batch_max: int, make_trail: Any, make_story: Any, database: Database
) -> None:
    log = await mixed(make_story)
    trail = make_trail(log, database)
    await trail.catch_up(batch_max)
    before = await digest(database, trail.projection)
    await trail.projector.rebuild()
    assert await digest(database, trail.projection) == before


async def test_many_leaves_over_several_batches_fill_tiles(make_trail: Any, database: Database) -> None:
    log = MemoryLog()
    for start in range(0, 1_400, 350):
        writes = [Write(f"events.a.b.acme.n{start + n}", 0, f"{n}", "t", f"{n}".encode()) for n in range(350)]
        await log.append(writes)
    trail = make_trail(log, database)
    await trail.catch_up(batch_max=333)
    leaves = [leaf_hash(entry) for entry in await entries_between(database, "acme", 0, 1_400)]
    proofs = await inclusion_proofs(database, "acme", [0, 255, 256, 1_399], 1_400)
    for index, proof in proofs.items():
        check_inclusion(leaves[index], index, 1_400, proof, root_of(leaves))


class Holed(MemoryLog):
    """A log from which a message has vanished."""

    def lose(self, position: int) -> None:
        self._events = [event for event in self._events if event.position != position]

    async def last_position(self) -> int:
        return self._events[-1].position if self._events else 0

    async def _newer(self, after: int) -> list[Recorded]:
        return [event for event in self._events if event.position > after]


async def test_a_position_that_was_passed_over_is_a_gap(make_trail: Any, database: Database) -> None:
    log = Holed()
    for number in range(6):
        await said(log, f"events.a.b.acme.n{number}", b"{}")
    trail = make_trail(log, database)
    log.lose(3)
    log.lose(4)
    await trail.catch_up(batch_max=2)
    gaps = [(row["first_position"], row["last_position"]) for row in await database.fetch(select(GAPS))]
    assert gaps == [(3, 4)]


async def test_pages_stay_exact_while_rows_arrive(make_trail: Any, database: Database) -> None:
    log = MemoryLog()
    trail = make_trail(log, database)
    for number in range(25):
        await said(log, f"events.a.b.{'acme' if number % 2 else 'bolt'}.n{number}", b"{}")
    await trail.catch_up()
    for tree in (None, "acme"):
        for newest_first in (True, False):
            sought = Sought(tree=tree, newest_first=newest_first)
            seen: list[int] = []
            after = None
            while page := await search(database, sought, after, 4):
                seen += [row["position"] for row in page]
                after = page[-1][order_key(sought)]
                await said(log, f"events.a.b.acme.late{len(seen)}-{newest_first}-{tree}", b"{}")
                await trail.catch_up()
                if len(seen) > 200:
                    break
            assert len(set(seen)) == len(seen)
            assert seen == sorted(seen, reverse=newest_first)
            assert set(range(1, 26)) & set(seen) == set(range(2, 26, 2) if tree else range(1, 26))


async def test_the_trail_is_searched_by_what_its_rows_say(make_trail: Any, make_story: Any, database: Database) -> None:
    log = await mixed(make_story)
    await make_trail(log, database).catch_up()

    async def count(**sought: Any) -> int:
        return len(await search(database, Sought(**sought), None, 500))

    assert await count(type="gpuaas.billing.usage-metered.v1") == 3
    assert await count(tree="acme", type="gpuaas.billing.usage-metered.v1") == 2
    assert await count(subject="events.allocations.allocation.acme.a1") == 2
    assert await count(tree="bolt", subject="events.allocations.allocation.acme.a1") == 0
    assert await count(actor="neighbour", tree="bolt") == 3
    assert await count(actor="nobody") == 0
    [row] = await search(database, Sought(type="gpuaas.billing.invoice-finalized.v1"), None, 5)
    assert await count(correlation_id=row["correlation_id"]) == 1
    assert await count(event_id=row["event_id"]) == 1
    assert await count(happened_until=row["happened_at"], type=row["type"]) == 0
    assert await count(happened_from=row["happened_at"], type=row["type"]) == 1
