"""What taking machines out of service would break. One law: it reads the pools' own histories, as far as they are
folded, and the pool alone decides where a promise is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpuaas.common.projections import Database
from gpuaas.nodes.domain.promises import Unkept, unkept_without
from gpuaas.nodes.projections.node_claims import NodeClaims


@dataclass(frozen=True, slots=True)
class Promises:
    """Asks the pools' promises.

    Attributes:
        settled: waits until the pools' histories are folded up to the log's end; raises Unavailable.
        horizon_s: how far ahead a machine that is withdrawn with no end in sight is counted out, world seconds.
    """

    claims: NodeClaims
    database: Database
    settled: Callable[[], Awaitable[None]]
    horizon_s: float

    async def unkept_without(
        self, node_ids: Sequence[str], since: datetime, until: datetime, *, work_goes_on: bool
    ) -> list[Unkept]:
        """The windows in [since, until) that these machines are needed for.

        One that is withdrawn already is needed for none: its pool keeps what it can elsewhere.

        Raises:
            Unavailable: what the pools have promised by now is not known yet.
        """
        await self.settled()
        taken = sorted(await self.claims.offered(self.database, node_ids))
        promised = await self.claims.promised_on(self.database, taken, since, until) if taken else []
        if not promised:
            return []
        latest = max(each.ends_at for each in promised)
        found: list[Unkept] = []
        for pool_id in await self.claims.pools_of(self.database, taken):
            room = await self.claims.room(self.database, pool_id, since, latest)
            found += unkept_without(set(taken), room, since, work_goes_on)
        return [each for each in found if each.starts_at < until]

    async def unkept_of(self, node_id: str, now: datetime) -> list[Unkept]:
        """What closing a machine for new work would break within the horizon; what runs there goes on."""
        return await self.unkept_without([node_id], now, now + timedelta(seconds=self.horizon_s), work_goes_on=True)
