"""A neighbour's event becomes a command of ours. One law: at least once in delivery, once in effect, by its cause.

A reaction keeps its own position in the service's database and moves it after its commands are acknowledged. After a
crash it reads the same events again; the commands carry ids derived from the event, so the log recognises them.
Events with one key (by default: of one subject) are handled in order, others side by side.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Final

from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Conflict, Unavailable, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.common.tables import LIVE, Database, move_checkpoint
from gpuaas.common.telemetry import about, span

CONCURRENT_KEYS: Final = 32
"""Things that are handled side by side."""


class Reaction:
    """What this service does about events. Subclass it in `reactions.py`.

    Attributes:
        name: unique within the service; its position is stored under it.
        reads: the events that concern it.
        concurrency: keys handled side by side.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[type[Event], ...]]
    concurrency: ClassVar[int] = CONCURRENT_KEYS

    def key(self, fact: Fact) -> str:
        """What `fact` is about: facts of one key are handled in order, others side by side. Default: its history.

        Override it where a busy history tells of many independent things (a pool's claims: by allocation).
        """
        return fact.subject

    async def react(self, fact: Fact) -> None:
        """Order what follows from `fact`, with causes made by `Cause.of(fact, …)`.

        A `Rejected` that is expected here (the thing has moved on meanwhile) is caught here. `Unavailable` is tried
        again. Anything else stops the reaction, visibly, at this event.
        """
        raise NotImplementedError


class Reactor(Reader):
    """Keeps one reaction up to the log. Started and watched by the service."""

    def __init__(self, reaction: Reaction, log: EventLog, database: Database) -> None:
        super().__init__(f"reaction {reaction.name}", log)
        self.reaction = reaction
        self._database = database
        self._vocabulary = Vocabulary(*reaction.reads)
        self._instance = new_id()

    async def _begin(self) -> int:
        position = await self._database.open_checkpoint(self.name, (), await self._log.incarnation(), LIVE)
        last = await self._log.last_position()
        if position > last:
            raise Unreadable(f"{self.name} stands at {position} but the log ends at {last}: restore the log")
        return position

    def _follow(self, after: int) -> Follower:
        return self._log.follow(self._vocabulary.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        facts = decoded(self._vocabulary, batch.events)
        by_key: defaultdict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            by_key[self.reaction.key(fact)].append(fact)
        if len(by_key) == 1:
            await self._in_order(facts)
        elif by_key:
            await self._side_by_side(list(by_key.values()))
        async with self._database.writing() as rows:
            await move_checkpoint(rows, self.name, after, batch.seen, self._instance)

    async def _side_by_side(self, histories: Sequence[Sequence[Fact]]) -> None:
        free = asyncio.Semaphore(self.reaction.concurrency)

        async def one(history: Sequence[Fact]) -> None:
            async with free:
                await self._in_order(history)

        try:
            async with asyncio.TaskGroup() as group:
                for history in histories:
                    group.create_task(one(history))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _in_order(self, history: Sequence[Fact]) -> None:
        for fact in history:
            with about(fact.tenant_id), span(f"react {self.reaction.name}", fact.envelope.traceparent):
                try:
                    await self.reaction.react(fact)
                except Conflict as busy:
                    raise Unavailable(f"{self.name} at {fact.position}: {busy.detail}") from busy
