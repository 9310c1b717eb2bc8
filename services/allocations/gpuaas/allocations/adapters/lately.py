"""What tenants held lately, for the scheduler. One law: the log's word, read from its beginning."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gpuaas.allocations.domain.decay import Holder, PastUse
from gpuaas.allocations.domain.shape import WHOLE_MILLI
from gpuaas.common.clock import Clock
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.contracts.allocations import ClaimGranted, ClaimReturned, QueueRulesSet

_WORDS: Final = Vocabulary(ClaimGranted, ClaimReturned, QueueRulesSet)


class Lately(Reader):
    """Keeps the averages of all pools up to the log."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        super().__init__("lately", log)
        self._clock = clock
        self._pools: dict[str, PastUse] = {}

    def in_pool(self, pool_id: str, now: datetime | None = None) -> dict[Holder, float]:
        """Thousandths of GPUs that tenants held lately; empty where past use does not count."""
        past = self._pools.get(pool_id)
        return dict(past.at(now or self._clock.now())) if past is not None else {}

    async def _begin(self) -> int:
        self._pools.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            match fact.event:
                case ClaimGranted() as claim:
                    milli = sum(len(m.device_ids) * (m.share_milli or WHOLE_MILLI) for m in claim.members)
                    past = self._pools.setdefault(claim.pool_id, PastUse())
                    past.granted(claim.allocation_id, claim.tenant_id, claim.gpu_model, milli, fact.time)
                case ClaimReturned() as back:
                    self._pools.setdefault(back.pool_id, PastUse()).returned(back.allocation_id, fact.time)
                case QueueRulesSet() as rules:
                    half_life = timedelta(seconds=rules.half_life_s)
                    self._pools.setdefault(rules.pool_id, PastUse()).fading(half_life, fact.time)
