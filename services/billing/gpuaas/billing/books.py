"""The books, watched. One law: sums that should be equal and are not become an event, and nothing is mended by itself.

Read models are read one after the other, so while something is being written sums may differ for a moment. What is told
was found twice, with the same figures, with all of the log in every table before each look.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gpuaas.billing.domain.imbalance import IMBALANCE, TellImbalance
from gpuaas.billing.ports import Standing
from gpuaas.billing.projections.conservation import ConservationQuestions
from gpuaas.billing.reactions import SERVICE
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Database
from gpuaas.contracts.billing import ImbalanceFound

IMBALANCES: Final[Entity[ImbalanceFound | None, TellImbalance]] = Entity(
    SERVICE, "imbalance", IMBALANCE, Vocabulary(ImbalanceFound)
)


class BooksWatch:
    """Compares all sums of the books again and again. `interval_s`: between two looks, in seconds of this process."""

    def __init__(
        self, commands: Commands, log: EventLog, database: Database, standing: Standing, interval_s: float
    ) -> None:
        self._commands = commands
        self._log = log
        self._questions = ConservationQuestions(database)
        self._standing = standing
        self._interval_s = interval_s
        self._before: frozenset[TellImbalance] = frozenset()
        self._told: frozenset[TellImbalance] = frozenset()
        self._looked_at = 0

    async def run(self) -> None:
        """Until the service ends. What is away for a moment is looked at the next time."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except Unavailable:
                continue

    async def look(self) -> int:
        """One look; how many differences are told now. None is taken where nothing was written since a clean one.

        Raises:
            Unavailable: the tables are too far behind, or log or database are away.
        """
        position = await self._log.last_position()
        if position == self._looked_at and not self._before:
            return 0
        await self._standing.folded(position)
        sums = await self._questions.sums()
        found = frozenset(TellImbalance(d.check, d.tenant_id, d.thing, d.left, d.right) for d in sums.differences)
        standing, self._before, self._looked_at = found & self._before, found, position
        new, self._told = standing - self._told, standing
        for order in new:
            cause = Cause(id=order.imbalance_id, actor=SERVICE, actor_kind="service")
            await self._commands.execute(IMBALANCES, PLATFORM, order.imbalance_id, order, cause)
        return len(new)
