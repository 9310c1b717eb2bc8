"""Quotas and queue rules of all pools, in memory for the scheduler. One law: as the log says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gpuaas.allocations.domain.quota import Scope
from gpuaas.allocations.domain.rules import Rules, rules_of
from gpuaas.allocations.projections.board import Board
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.contracts.allocations import QueueRulesSet, QuotaSet

_WORDS: Final = Vocabulary(QuotaSet, QueueRulesSet)


class Entitlements(Reader):
    """Keeps quotas up to the log and wakes the scheduler when they change."""

    def __init__(self, log: EventLog, board: Board) -> None:
        super().__init__("entitlements", log)
        self._board = board
        self._of_pool: dict[str, dict[Scope, QuotaSet]] = {}
        self._rules: dict[str, Rules] = {}

    def in_pool(self, pool_id: str) -> Mapping[Scope, QuotaSet]:
        """All quotas of a pool; empty: nobody has set any, and the line alone decides."""
        return self._of_pool.get(pool_id, {})

    def rules(self, pool_id: str) -> Rules:
        """How the line of a pool goes."""
        return self._rules.get(pool_id) or rules_of(None)

    async def _begin(self) -> int:
        self._of_pool.clear()
        self._rules.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            match fact.event:
                case QuotaSet() as said:
                    scopes = self._of_pool.setdefault(said.pool_id, {})
                    scopes[said.tenant_id, said.gpu_model, said.project_id] = said
                case QueueRulesSet() as rules:
                    self._rules[rules.pool_id] = rules_of(rules)
            self._board.news.set()
