"""Sealing and watching: what is signed is the whole log, and a log that changes is found."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from gpuaas.audit.adapters.heads import Heads
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.maps import checkpoint_map
from gpuaas.audit.reactions import Sealing
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.envelope import PLATFORM, Recorded
from gpuaas.common.errors import Invalid, Unavailable, Unreadable
from gpuaas.common.ids import new_id
from gpuaas.common.log import Write
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.tables import Database
from gpuaas.contracts.audit import DivergenceFound, EpochSealed
from gpuaas.verify.policy import trusting

SECRET = b"\x01" * 32


class Forger(MemoryLog):
    """A log whose past can be changed."""

    _kept = ""

    def rewrite(self, position: int, payload: bytes) -> None:
        self._events[position - 1] = replace(self._events[position - 1], payload=payload)

    def lose(self, position: int) -> None:
        self._events = [event for event in self._events if event.position != position]

    def rewind(self, position: int) -> None:
        del self._events[position:]

    def be_restored(self) -> None:
        """As a restore, a restart or a new leader leaves it: nobody knows what was done to it meanwhile."""
        self._kept = new_id()

    async def imprint(self) -> str:
        return f"{self._kept} {await super().imprint()}"

    def _take(self, write: Write) -> int:
        """A lost message's number is not given again."""
        before = self._events[-1].position if self._events else 0
        super()._take(write)
        self._events[-1] = replace(self._events[-1], position=before + 1)
        return before + 1

    async def last_position(self) -> int:
        return self._events[-1].position if self._events else 0

    async def _newer(self, after: int) -> list[Recorded]:
        return [event for event in self._events if event.position > after]

    def become_another(self) -> None:
        self._incarnation = "another"


class Office:
    """Trail, sealing and watching over one log."""

    def __init__(self, log: Forger, database: Database, trail: Any, key: LogKey) -> None:
        self.log, self.database, self.trail, self.key = log, database, trail, key
        self.commands = Commands(log, WallClock(), "audit", "dev")
        self.heads = Heads(database, log)
        self.watching = trail.watching(self.commands)
        self.sealing = Sealing(database, self.commands, self.heads, key, SECRET, trail.projection.name, self.watching)

    async def seal(self) -> Any:
        await self.heads.open()
        await self.trail.catch_up()
        return await self.sealing.seal()

    async def epochs(self) -> list[EpochSealed]:
        history = await self.log.history(f"events.audit.epoch.{PLATFORM}.log")
        return [EpochSealed.model_validate_json(bytes(each.envelope().data)) for each in history]

    async def findings(self) -> list[tuple[str, int]]:
        await self.trail.catch_up()
        return [(found.kind, found.position) for found in await self.watching.look()]


@pytest.fixture
async def office(database: Database, make_trail: Any, log_key: LogKey) -> Office:
    log = Forger()
    return Office(log, database, make_trail(log, database), log_key)


async def add(log: MemoryLog, count: int, tenant: str = "acme", name: str = "n") -> None:
    writes = [Write(f"events.a.b.{tenant}.{name}{number}", 0, f"{number}", "t", b"{}") for number in range(count)]
    await log.append(writes)


async def test_an_epoch_covers_every_position_and_every_tree(office: Office) -> None:
    await add(office.log, 5)
    await add(office.log, 2, "bolt")
    await add(office.log, 1, "platform")
    sealed = await office.seal()
    [epoch] = await office.epochs()
    assert (epoch.epoch, epoch.first_position, epoch.last_position) == (1, 1, 8)
    assert (epoch.leaf_count, epoch.gap_count, epoch.tree_count) == (8, 0, 3)
    policy = trusting(office.key.verifier_key())
    assert policy.accept(epoch.platform_checkpoint).checkpoint.size == 1
    heads = await office.heads.all_newest(sealed.last_position)
    assert {tree: head.size for tree, head in heads.items()} == {"acme": 5, "bolt": 2, "platform": 1}
    assert all(policy.accept(head.note).checkpoint.root == head.root for head in heads.values())
    notes = {tree: head.note for tree, head in heads.items()}
    assert checkpoint_map(SECRET, notes).root().hex() == epoch.map_root == sealed.map_root


async def test_our_own_events_are_signed_but_open_no_epoch(office: Office) -> None:
    await add(office.log, 3)
    assert await office.seal() is not None
    for _ in range(3):
        assert await office.seal() is None
    assert len(await office.epochs()) == 1
    platform = await office.heads.newest("platform")
    assert platform is not None
    assert (platform.size, platform.position) == (1, 4)


async def test_epochs_join_and_their_counts_are_the_log(office: Office) -> None:
    for number in range(4):
        await add(office.log, number + 1, "acme", f"r{number}-")
        await office.seal()
    epochs = await office.epochs()
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[0].first_position == 1
    assert all(after.first_position == before.last_position + 1 for before, after in pairwise(epochs))
    covered = sum(epoch.leaf_count + epoch.gap_count for epoch in epochs)
    assert covered == epochs[-1].last_position


async def test_sealing_goes_on_after_a_restart_between_signing_and_saying(office: Office) -> None:
    await add(office.log, 3)
    await office.heads.open()
    await office.trail.catch_up()
    cut_off = Broken(office.log, WallClock(), "audit", "dev")
    watching = office.trail.watching(cut_off)
    interrupted = Sealing(office.database, cut_off, office.heads, office.key, SECRET, "audit_trail_v2", watching)
    with pytest.raises(Unavailable):
        await interrupted.seal()
    assert await office.epochs() == []
    again = Office(office.log, office.database, office.trail, office.key)
    assert await again.seal() is not None
    [epoch] = await office.epochs()
    assert (epoch.leaf_count, epoch.tree_count) == (3, 1)


class Broken(Commands):
    """Commands of a process that loses its broker before it can say anything."""

    async def execute(self, *_: Any, **__: Any) -> Any:
        raise Unavailable("gone")


async def test_two_sealers_seal_one_epoch(office: Office) -> None:
    await add(office.log, 3)
    other = Office(office.log, office.database, office.trail, office.key)
    await office.seal()
    await other.sealing.seal()
    assert len(await office.epochs()) == 1


async def test_a_trail_that_is_not_the_whole_log_is_not_sealed(office: Office) -> None:
    await add(office.log, 5)
    await office.heads.open()
    await office.trail.catch_up()
    await office.database.pool.execute("DELETE FROM audit_trail_v2 WHERE position = 2")
    with pytest.raises(Invalid):
        await office.sealing.seal()
    assert await office.epochs() == []


async def test_old_heads_are_forgotten_and_the_sealed_ones_kept(office: Office) -> None:
    for number in range(6):
        await add(office.log, 2, "acme", f"r{number}-")
        await office.seal()
    rows = await office.database.pool.fetch("SELECT size FROM audit_heads_v1 WHERE tree = 'acme' ORDER BY size")
    assert [row["size"] for row in rows][-1] == 12
    assert len(rows) <= 2
    sealed = (await office.epochs())[-1]
    assert (await office.heads.all_newest(sealed.last_position))["acme"].size == 12


async def test_a_trail_rebuilt_from_another_past_is_not_signed_again(office: Office) -> None:
    await add(office.log, 300)
    await office.seal()
    signed = await office.heads.newest("acme")
    office.log.rewrite(7, b'{"forged":true}')
    await office.trail.projector.rebuild()
    await add(office.log, 2, "acme", "later")
    for _ in range(2):
        with pytest.raises(Unreadable):
            await office.seal()
    assert await office.heads.newest("acme") == signed
    assert len(await office.epochs()) == 1
    assert len([event for event in office.log._events if ".divergence." in event.subject]) == 1


async def test_a_trail_that_is_still_being_folded_is_waited_for(office: Office) -> None:
    await add(office.log, 300)
    await office.seal()
    await office.database.pool.execute("UPDATE audit_trees_v2 SET size = 4, peaks = substr(peaks, 1, 32)")
    with pytest.raises(Unavailable):
        await office.sealing.seal()
    assert [event for event in office.log._events if ".divergence." in event.subject] == []


async def test_an_unchanged_log_gives_no_finding(office: Office) -> None:
    await add(office.log, 300)
    await office.seal()
    for _ in range(5):
        assert await office.findings() == []


async def test_rewritten_bytes_are_found_and_said_once(office: Office) -> None:
    await add(office.log, 300)
    await office.seal()
    office.log.rewrite(7, b'{"forged":true}')
    found = [each for _ in range(4) for each in await office.findings()]
    assert set(found) == {("rewritten", 7)}
    [said] = await office.log.history(f"events.audit.divergence.{PLATFORM}.rewritten-7")
    event = DivergenceFound.model_validate_json(bytes(said.envelope().data))
    assert event.expected_sha256 != event.found_sha256


async def test_a_vanished_message_is_found_before_and_after_it_was_read(office: Office) -> None:
    await add(office.log, 10)
    await office.seal()
    office.log.lose(9)
    assert ("vanished", 9) in await office.findings()
    await add(office.log, 4, "bolt")
    last = await office.log.last_position()
    office.log.lose(last - 1)
    assert ("vanished", last - 1) in await office.findings()


async def test_a_rewound_log_is_found(office: Office) -> None:
    await add(office.log, 10)
    await office.seal()
    office.log.rewind(6)
    assert ("rewound", 7) in [(found.kind, found.position) for found in await office.watching.look()]


async def test_another_log_under_the_same_name_is_found(office: Office) -> None:
    await add(office.log, 3)
    await office.seal()
    office.log.become_another()
    assert [(found.kind, found.position) for found in await office.watching.look()] == [("recreated", 1)]


async def test_what_a_restored_log_holds_is_compared_before_another_epoch_is_sealed(office: Office) -> None:
    await add(office.log, 300)
    await office.seal()
    office.log.be_restored()
    office.log.rewrite(7, b'{"forged":true}')
    await add(office.log, 1, "bolt")
    signed = await office.heads.newest("bolt")
    assert await office.seal() is None
    assert office.watching.wake.is_set()
    assert (await office.heads.newest("bolt")) != signed
    assert await office.findings() == [("rewritten", 7)]
    assert await office.seal() is not None
    assert [(epoch.epoch, epoch.first_position) for epoch in await office.epochs()] == [(1, 1), (2, 301)]


async def test_a_message_that_vanished_is_said_before_another_epoch_is_sealed(office: Office) -> None:
    await add(office.log, 300)
    await office.seal()
    office.log.lose(20)
    await add(office.log, 1, "bolt")
    assert await office.seal() is None
    assert await office.findings() == [("vanished", 20)]
    assert await office.seal() is not None


async def test_a_sweep_that_is_cut_off_goes_on_where_it_was_and_holds_back_the_epoch(office: Office) -> None:
    await add(office.log, 300)
    await office.seal()
    office.log.be_restored()
    assert not await office.watching.cleared()
    again = Office(office.log, office.database, office.trail, office.key)
    assert (await again.watching.told())["sweeping"]
    await add(office.log, 1, "bolt")
    assert await again.seal() is None
    assert await again.findings() == []
    assert await again.seal() is not None


async def test_bytes_changed_in_place_are_found_after_the_next_epoch_in_a_log_no_longer_than_the_window(
    office: Office,
) -> None:
    office.watching.least = 1_000
    await add(office.log, 600)
    await office.seal()
    await office.findings()
    for position in (1, 300, 601):
        office.log.rewrite(position, b'{"forged":true}')
        await add(office.log, 1, "bolt", f"after-{position}-")
        assert await office.seal() is not None
        assert office.watching.wake.is_set()
        assert ("rewritten", position) in await office.findings()


async def test_a_longer_log_is_compared_as_a_whole_in_as_many_looks_as_its_windows(office: Office) -> None:
    await add(office.log, 600)
    await office.seal()
    office.log.rewrite(250, b'{"forged":true}')
    looks = [await office.findings() for _ in range(7)]
    assert looks.count([("rewritten", 250)]) == 1
    assert (await office.watching.told())["every_position_since"] is not None


async def test_a_log_that_was_exchanged_as_a_whole_is_said_once(office: Office) -> None:
    office.watching.least = 1_000
    await add(office.log, 300)
    await office.seal()
    for position in range(1, 301):
        office.log.rewrite(position, b'{"forged":true}')
    [found] = await office.watching.look()
    assert (found.kind, found.position) == ("rewritten", 1)
    assert found.detail.endswith("so it is up to position 300")
