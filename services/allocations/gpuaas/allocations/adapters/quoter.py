"""Tells who waits when it will start. One law: forecasting takes a twentieth of the time at most, and holds nobody up.

Newcomers that were told that they wait are quoted with the next round; all of a line anew from time to time. The
thinking is done in a thread on a pool of its own (`domain/forecast.py`); the quotes are the log's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from gpuaas.allocations.adapters.entitlements import Entitlements
from gpuaas.allocations.adapters.purse import Purse
from gpuaas.allocations.domain import kept
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.forecast import METHOD, Quote, Scene, forecast, in_order
from gpuaas.allocations.domain.lab import Way
from gpuaas.allocations.domain.lengths import RUNS_MAX, Kind, Lengths
from gpuaas.allocations.domain.pool import POOL as POOL_DECIDER
from gpuaas.allocations.domain.pool import AddCapacity, PoolCommand
from gpuaas.allocations.domain.preemption import Running
from gpuaas.allocations.domain.queue import Waiting
from gpuaas.allocations.domain.quote import QUOTE as DECIDER
from gpuaas.allocations.domain.quote import VOCABULARY, QuoteStart, Told
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.allocations.domain.stretch import ONE_MILLI, QUOTES_MAX, Stretch, Taught, learnt
from gpuaas.allocations.projections.allocations import Allocations
from gpuaas.allocations.projections.board import SERVICE, Board
from gpuaas.allocations.projections.start_quotes import StartQuotes
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands, Entity
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Conflict, NotFound, Unavailable
from gpuaas.common.tables import Database
from gpuaas.contracts.allocations import StartQuoted

QUOTE: Final[Entity[Told, QuoteStart]] = Entity(SERVICE, "quote", DECIDER, VOCABULARY)
LOOK_S: Final = 0.5
AGAIN_S: Final = 20.0
"""Real seconds after which all of a line are looked at anew."""
DUTY: Final = 20
"""It rests so many times as long as it thought."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Quotes of one moment.

    Attributes:
        observed_runs: ended runs that it knew.
    """

    at: datetime
    pool_version: int
    observed_runs: int
    quotes: dict[str, Quote]
    stretch: Stretch


class Forecaster:
    """Asks the domain with what the board, the table and the pool know."""

    def __init__(
        self,
        commands: Commands,
        pool: Entity[Pool, PoolCommand],
        database: Database,
        allocations: Allocations,
        quotes: StartQuotes,
        board: Board,
        entitlements: Entitlements,
        purse: Purse,
        clock: Clock,
        policy: Policy,
    ) -> None:
        self._commands = commands
        self._pool = pool
        self._thinking = asyncio.Lock()
        self._database = database
        self._allocations = allocations
        self._quotes = quotes
        self._board = board
        self._entitlements = entitlements
        self._purse = purse
        self._clock = clock
        self._policy = policy

    def line(self, pool_id: str) -> list[Waiting]:
        """Who waits there and may start, in order."""
        desk, levels = self._board.desks.get(pool_id), self._purse.levels
        everybody = [each for _, lane in desk.line.lanes() for each in lane] if desk is not None else []
        return in_order([each for each in everybody if levels.bars(each.tenant_id, each.project_id) is None])

    async def of_line(
        self,
        pool_id: str,
        and_of: Waiting | None = None,
        more: Sequence[AddCapacity] = (),
        policy: Policy | None = None,
    ) -> Forecast:
        """Quotes for a pool's line, and for one more who would stand behind it; with machines and a policy in thought.

        Raises:
            NotFound: there is no such pool.
        """
        pool: Pool
        pool, _ = await self._commands.state(self._pool, PLATFORM, pool_id)
        if pool.events == 0:
            raise NotFound(f"there is no pool {pool_id}; see /v1/pools")
        copy, ended = kept.written(pool), await self._ended(pool_id)
        now, running = self._clock.now(), dict(self._board.running)
        line = self.line(pool_id)
        if and_of is not None:
            line.append(replace(and_of, arrival=max((each.arrival for each in line), default=0) + 1))
        way = Way(policy or self._policy, self._entitlements.rules(pool_id), dict(self._entitlements.in_pool(pool_id)))
        stretch = learnt(await self._earlier(pool_id, line, now))
        scene = (pool_id, line, running, ended, way, now)
        async with self._thinking:
            quotes = await asyncio.to_thread(_thought, copy, more, *scene)
        told = {name: stretch.of(quote, now) for name, quote in quotes.items()}
        return Forecast(now, pool.events, len(ended), told, stretch)

    async def _earlier(self, pool_id: str, line: Sequence[Waiting], now: datetime) -> list[Taught]:
        waits = [each.allocation_id for each in line]
        rows = await self._quotes.to_learn_from(self._database, pool_id, waits, QUOTES_MAX)
        return [
            Taught(
                p50_s=(row["first_p50_at"] - row["first_quoted_at"]).total_seconds()
                * ONE_MILLI
                / row["first_stretch_p50_milli"],
                p90_s=(row["first_p90_at"] - row["first_quoted_at"]).total_seconds()
                * ONE_MILLI
                / row["first_stretch_p90_milli"],
                waited_s=((row["started_at"] or now) - row["first_quoted_at"]).total_seconds(),
                started=row["started_at"] is not None,
            )
            for row in rows
        ]

    async def _ended(self, pool_id: str) -> list[tuple[Kind, datetime, datetime]]:
        rows = await self._allocations.lately_ended(self._database, pool_id, RUNS_MAX)
        return [
            (Kind(row["tenant_id"], row["replicas"] * row["gpus_per_replica"]), row["started_at"], row["ended_at"])
            for row in rows
        ]


def _thought(
    copy: bytes,
    more: Sequence[AddCapacity],
    pool_id: str,
    line: Sequence[Waiting],
    running: dict[str, Running],
    ended: Sequence[tuple[Kind, datetime, datetime]],
    way: Way,
    now: datetime,
) -> dict[str, Quote]:
    pool = kept.read(copy)
    for machine in more:
        pool = POOL_DECIDER.fold(POOL_DECIDER.decide(machine, pool), pool)
    still = [
        (Kind(claim.tenant_id, claim.gpu_count), now - work.started_at)
        for claim in pool.book.claims.values()
        if (work := running.get(claim.allocation_id)) is not None
    ]
    lengths = Lengths([(kind, over - since) for kind, since, over in ended], still)
    return forecast(Scene(pool_id, pool, line, running, lengths, way, now))


class Quoter:
    """Writes the quotes down."""

    def __init__(self, commands: Commands, board: Board, forecaster: Forecaster) -> None:
        self._commands = commands
        self._board = board
        self._forecaster = forecaster
        self._told: dict[str, set[str]] = {}
        self._last: dict[str, float] = {}

    async def quote(self) -> None:
        """For ever: a round for every line that has newcomers or was not looked at for a while."""
        while True:
            await asyncio.sleep(LOOK_S)
            for pool_id in list(self._board.desks):
                if not self._is_due(pool_id):
                    continue
                began = time.monotonic()
                try:
                    await self._round(pool_id)
                except (Conflict, NotFound, Unavailable) as late:
                    _log.info("quotes of pool %s wait: %s", pool_id, late.detail)
                self._last[pool_id] = time.monotonic()
                await asyncio.sleep(DUTY * (self._last[pool_id] - began))

    def _is_due(self, pool_id: str) -> bool:
        told, waits = self._told.setdefault(pool_id, set()), self._waiting(pool_id)
        told &= waits.keys()
        if not waits or not self._board.complete:
            return False
        return waits.keys() != told or time.monotonic() - self._last.get(pool_id, 0.0) > AGAIN_S

    def _waiting(self, pool_id: str) -> dict[str, Waiting]:
        """Who was told that it waits; of who is not, the scheduler has not yet thought."""
        untold = self._board.desk(pool_id).untold
        return {each.allocation_id: each for each in self._forecaster.line(pool_id) if each.allocation_id not in untold}

    async def _round(self, pool_id: str) -> None:
        found, waits = await self._forecaster.of_line(pool_id), self._waiting(pool_id)
        for name, quote in found.quotes.items():
            waiting, ask = waits.get(name), self._board.asks.get(name)
            # Looked at just before each: whoever was granted meanwhile is told nothing any more.
            if waiting is None or ask is None or name not in self._board.desk(pool_id).line:
                continue
            cause = ask.cause.at(f"quote {found.pool_version} {found.at.isoformat()}")
            order = QuoteStart(_said(pool_id, waiting, quote, found))
            await self._commands.execute(QUOTE, waiting.tenant_id, name, order, cause)
        # Who stands too far behind to be quoted is not asked about again at once.
        self._told[pool_id] |= waits.keys()


def _said(pool_id: str, waiting: Waiting, quote: Quote, found: Forecast) -> StartQuoted:
    return StartQuoted(
        allocation_id=waiting.allocation_id,
        tenant_id=waiting.tenant_id,
        project_id=waiting.project_id,
        pool_id=pool_id,
        gpu_model=waiting.shape.gpu_model,
        gpu_count=waiting.shape.gpu_count,
        quoted_at=found.at,
        p50_at=quote.p50_at,
        p90_at=quote.p90_at,
        pool_version=found.pool_version,
        requests_ahead=quote.requests_ahead,
        observed_runs=found.observed_runs,
        stretch_p50_milli=found.stretch.p50_milli,
        stretch_p90_milli=found.stretch.p90_milli,
        method=METHOD,
    )
