"""Price books of billing, in memory for ceilings in money. One law: as the log says, and not more."""

from __future__ import annotations

from typing import Final

from gpuaas.allocations.domain.price_list import PriceList
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.contracts.billing import PriceBookPublished

_WORDS: Final = Vocabulary(PriceBookPublished)


class Prices(Reader):
    """Keeps the list prices up to the log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__("prices", log)
        self.listed = PriceList()

    async def _begin(self) -> int:
        self.listed = PriceList()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            assert isinstance(fact.event, PriceBookPublished)
            self.listed = self.listed.with_book(fact.event)
