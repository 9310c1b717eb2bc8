"""The keeper of the gates. One law: it looks at everything there is up to one place in the log, and keeps looking.

A decision rests on `Inputs`, gathered as of one log position and stored beside it. What passed is judged again on a
schedule, and read back again before it goes stale; a yes that no longer holds is taken back as an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Outcome
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, Rejected, Unavailable
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.projections import Record
from gpuaas.contracts.evidence import Profile, RequirementKind
from gpuaas.evidence.domain import controls_run, gate
from gpuaas.evidence.domain.controls import run_controls
from gpuaas.evidence.domain.inputs import RULES, ClaimOnFile, Inputs, RequirementOnFile, demand_of
from gpuaas.evidence.domain.judgement import CLAIMS_MAX, CONTROLS_MAX_AGE_S, decide_gate
from gpuaas.evidence.domain.specimens import Specimens
from gpuaas.evidence.entities import CONTROLS, GATE, SERVICE
from gpuaas.evidence.gathering import Gatherer
from gpuaas.evidence.notary import Notary
from gpuaas.evidence.ports import ArtefactStore, whole
from gpuaas.evidence.projections.gates import kinds_of
from gpuaas.evidence.reading import ClaimReader

GATES_MAX: Final = 1_000
STANDING_PAGE: Final = 200
DECISIONS_MAX: Final = 4
"""Tries to decide while others let the same gate decide in between."""

About = tuple[str, Profile, Sequence[RequirementKind]]
"""Subject digest, profile and kinds of requirement (none: all)."""


class Gatekeeper:
    """Lets gates decide, keeps looking at what passed, and shows itself that it can say no.

    Args:
        specimens: what the negative controls are made with.
    """

    def __init__(
        self,
        commands: Commands,
        store: ArtefactStore,
        clock: Clock,
        gatherer: Gatherer,
        notary: Notary,
        specimens: Specimens,
    ) -> None:
        self._commands = commands
        self._store = store
        self._clock = clock
        self._gatherer = gatherer
        self._database = gatherer.database
        self._views = gatherer.views
        self._caught_up = gatherer.caught_up
        self._notary = notary
        self._specimens = specimens

    async def inputs(self, subject_sha256: str, profile: Profile, kinds: Sequence[RequirementKind] = ()) -> Inputs:
        """Everything a judgement of this subject rests on now. Raises Unavailable."""
        return await self._gatherer.inputs(subject_sha256, profile, kinds)

    async def decide(
        self, gate_id: str, about: About, cause: Cause, *, asked_by: str | None = None
    ) -> Outcome[gate.Gate]:
        """Let the gate decide, once for this cause; what it decided on is stored under `inputs_sha256`.

        Args:
            asked_by: the principal who asks; None when the service looks again by itself.

        Raises:
            Rejected: the asker made a claim or a waiver in it, or this was decided before.
            Unavailable: others let the same gate decide again and again.
        """
        await self.run_controls_if_due(timedelta(seconds=CONTROLS_MAX_AGE_S / 2))
        for _ in range(DECISIONS_MAX):
            inputs = await self.inputs(*about)
            await self._store.put(inputs.sha256, whole(inputs.encode()))
            order = await self._signed(gate.DecideGate(gate_id=gate_id, inputs=inputs, asked_by=asked_by))
            try:
                return await self._commands.execute(GATE, PLATFORM, gate_id, order, cause)
            except gate.DecidedMeanwhile:
                continue
        raise Unavailable(f"the gate {gate_id} is being decided by others all the time; ask again")

    async def _signed(self, order: gate.DecideGate) -> gate.DecideGate:
        """The order with the digests of what has to be said in it: the decision, and every pass that it takes back."""
        subject, decision = [order.inputs.subject_sha256], gate.decided(order)
        state, _ = await self._commands.state(GATE, PLATFORM, order.gate_id)
        return replace(
            order,
            statement_sha256=await self._notary.attest(decision, subject),
            revoking={
                one.revoked_inputs_sha256: await self._notary.attest(one, subject)
                for one in gate.revocations(decision, state)
            },
        )

    async def claimers(self, subject_sha256: str, requirement_id: str) -> frozenset[str]:
        """Who made claims about this requirement and subject, as of now."""
        await self._caught_up()
        return await self._views.claims.claimers(self._database, subject_sha256, requirement_id)

    async def run_controls_if_due(self, interval: timedelta) -> bool:
        """Run the negative controls unless they were run with these rules within `interval`; whether they ran."""
        await self._caught_up()
        newest = await self._views.controls.for_gate(self._database)
        now = self._clock.now()
        if newest is not None and newest.ran.rules == RULES and timedelta(0) <= now - newest.ran.ran_at < interval:
            return False
        await self.run_controls(Cause(id=new_id(), actor=SERVICE, actor_kind="service", step="controls"))
        await self._caught_up()
        return True

    async def run_controls(self, cause: Cause) -> Outcome[controls_run.Run]:
        """Show the gate every poisoned package, now, and record how it judged."""
        order = controls_run.RecordControls(
            run_id=f"controls-{derived_id(cause.id, 'controls')}",
            rules=RULES,
            controls=await asyncio.to_thread(run_controls, self._specimens),
            at=self._clock.now(),
        )
        order = replace(order, statement_sha256=await self._notary.attest(controls_run.ran(order)))
        return await self._commands.execute(CONTROLS, PLATFORM, order.run_id, order, cause)

    async def look_again(self, reader: ClaimReader) -> int:
        """Read back what would go stale and judge every standing pass again; how many were taken back."""
        await self._caught_up()
        taken_back, after = 0, None
        while rows := await self._views.gates.standing(self._database, limit=STANDING_PAGE, after=after):
            for row in rows:
                taken_back += await self._look_again_at(row, reader)
            last = rows[-1]
            after = (last["gate_id"], last["subject_sha256"], last["profile"], last["kinds"])
        return taken_back

    async def review(self, subject_sha256: str, cause: Cause) -> None:
        """Bad news about a subject: every gate that had passed it, in whatever profile, decides again."""
        await self._caught_up()
        after = None
        while rows := await self._views.gates.standing(self._database, limit=STANDING_PAGE, after=after):
            for row in rows:
                if row["subject_sha256"] == subject_sha256:
                    await self._decide_again(row, cause.at(f"review-{row['gate_id']}-{row['profile']}-{row['kinds']}"))
            last = rows[-1]
            after = (last["gate_id"], last["subject_sha256"], last["profile"], last["kinds"])

    async def tell_damage(self, sha256: str, reader: ClaimReader) -> int:
        """The store no longer gives the bytes of `sha256`: read back every claim that rests on them; how many."""
        await self._caught_up()
        resting = await self._views.claims.resting_on(self._database, sha256, limit=CLAIMS_MAX)
        for one in resting:
            with suppress(Rejected):  # contradicted before: nothing rests on it any more
                await reader.read_back(one, "R1", Cause(new_id(), SERVICE, "service", step="damaged-"))
        return len(resting)

    async def _look_again_at(self, row: Record, reader: ClaimReader) -> int:
        subject, profile, kinds = row["subject_sha256"], row["profile"], kinds_of(row)
        inputs = await self.inputs(subject, profile, kinds)
        if await self._refresh(inputs, reader):
            inputs = await self.inputs(subject, profile, kinds)
        if decide_gate(inputs).verdict == "pass":
            return 0
        cause = derived_id(row["said"]["inputs_sha256"], "looked-again")
        await self._decide_again(row, Cause(id=cause, actor=SERVICE, actor_kind="service", step="look-again"))
        return 1

    async def _decide_again(self, row: Record, cause: Cause) -> None:
        try:
            await self.decide(row["gate_id"], (row["subject_sha256"], row["profile"], kinds_of(row)), cause)
        except (Rejected, Invalid):
            # The gate was decided again meanwhile, by someone who saw this news too.
            return

    async def _refresh(self, inputs: Inputs, reader: ClaimReader) -> bool:
        """Read back the claims whose readings have lived half of their time; whether there were any."""
        refreshed = False
        for required in inputs.requirements:
            demand = demand_of(required.published, inputs.profile)
            half = timedelta(seconds=demand.max_age_s / 2)
            for one in _deciding_claims(required, inputs):
                readings = [found for found in inputs.readbacks if found.readback.claim_id == one.claim.claim_id]
                if not readings or inputs.now - readings[-1].readback.read_at < half:
                    continue
                cause = Cause(derived_id(one.claim.claim_id, readings[-1].position), SERVICE, "service", step="again-")
                with suppress(Rejected):  # contradicted meanwhile: the judgement that follows will see it
                    await reader.read_back(one.claim, await reader.demanded(one.claim), cause)
                refreshed = True
        return refreshed


def _deciding_claims(required: RequirementOnFile, inputs: Inputs) -> list[ClaimOnFile]:
    """The newest claim about a requirement that says yes: the one a pass rests on."""
    mine = [
        one
        for one in inputs.claims
        if one.claim.requirement_id == required.published.requirement_id
        and one.claim.subject_sha256 == inputs.subject_sha256
        and one.claim.profile == inputs.profile
        and one.claim.result == "passed"
        and one.claim.expires_at > inputs.now
    ]
    return mine[-1:]
