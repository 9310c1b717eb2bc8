"""What follows from evidence itself. One law: a yes does not outlive its evidence.

A submitted claim is read back at once, as deep as its requirement asks. Bad news (a contradiction, a failed claim, a
withdrawn waiver) makes every gate that had passed that subject decide again.
"""

from __future__ import annotations

from gpuaas.common.commands import Cause
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Rejected
from gpuaas.common.projections import Database
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.evidence import ClaimReadBack, ClaimSubmitted, WaiverWithdrawn
from gpuaas.evidence.entities import SERVICE
from gpuaas.evidence.gathering import CaughtUp
from gpuaas.evidence.keeping import Gatekeeper
from gpuaas.evidence.projections.claims import Claims, claim_in
from gpuaas.evidence.projections.waivers import Waivers
from gpuaas.evidence.reading import ClaimReader


class ReadBackNewClaims(Reaction):
    """A submitted claim is read back as deep as its facts allow and its requirement asks."""

    name = "claim-readback"
    reads = (ClaimSubmitted,)
    concurrency = 4

    def __init__(self, reader: ClaimReader) -> None:
        self._reader = reader

    async def react(self, fact: Fact) -> None:
        if not isinstance(fact.event, ClaimSubmitted):
            return
        try:
            level = await self._reader.demanded(fact.event)
            await self._reader.read_back(fact.event, level, Cause.of(fact, SERVICE, "read-back-"))
        except Rejected:
            # Someone else's readback contradicted the claim first; there is nothing left to find out.
            return


class ReviewPassedGates(Reaction):
    """Bad news about a subject makes every gate that had passed it decide again."""

    name = "gate-review"
    reads = (ClaimSubmitted, ClaimReadBack, WaiverWithdrawn)
    concurrency = 4

    def __init__(
        self, keeper: Gatekeeper, database: Database, claims: Claims, waivers: Waivers, caught_up: CaughtUp
    ) -> None:
        self._keeper = keeper
        self._database = database
        self._claims = claims
        self._waivers = waivers
        self._caught_up = caught_up

    async def react(self, fact: Fact) -> None:
        match fact.event:
            case ClaimSubmitted(result="failed", subject_sha256=subject):
                await self._keeper.review(subject, Cause.of(fact, SERVICE, ""))
            case ClaimReadBack(outcome="contradicted" | "unreadable", claim_id=claim_id):
                await self._caught_up()
                if (row := await self._claims.one(self._database, claim_id)) is not None:
                    await self._keeper.review(claim_in(row).subject_sha256, Cause.of(fact, SERVICE, ""))
            case WaiverWithdrawn(waiver_id=waiver_id):
                await self._caught_up()
                if (waived := await self._waivers.subject_of(self._database, waiver_id)) is not None:
                    await self._keeper.review(waived, Cause.of(fact, SERVICE, ""))
            case _:
                return
