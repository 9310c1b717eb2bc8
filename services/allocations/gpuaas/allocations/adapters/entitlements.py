"""Quotas of all pools, in memory for the scheduler. One law: it is the log's word, read from its beginning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gpuaas.allocations.domain.quota import VOCABULARY, Scope
from gpuaas.allocations.projections.board import Board
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.contracts.allocations import QuotaSet

_SUBJECTS: Final = ["events.allocations.quota.>"]


class Entitlements(Reader):
    """Keeps quotas up to the log and wakes the scheduler when they change."""

    def __init__(self, log: EventLog, board: Board) -> None:
        super().__init__("entitlements", log)
        self._board = board
        self._of_pool: dict[str, dict[Scope, QuotaSet]] = {}

    def in_pool(self, pool_id: str) -> Mapping[Scope, QuotaSet]:
        """All quotas of a pool; empty: nobody has set any, and the line alone decides."""
        return self._of_pool.get(pool_id, {})

    async def _begin(self) -> int:
        self._of_pool.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_SUBJECTS, after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(VOCABULARY, batch.events):
            if isinstance(said := fact.event, QuotaSet):
                scopes = self._of_pool.setdefault(said.pool_id, {})
                scopes[said.tenant_id, said.gpu_model, said.project_id] = said
                self._board.news.set()
