"""The keeper of the gates. One law: it looks at everything there is up to one place in the log, and keeps looking.

A decision rests on `Inputs`, gathered as of one log position and stored beside it. What passed is judged again on a
schedule, and read back again before it goes stale; a yes that no longer holds is taken back as an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Outcome
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unavailable
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.projections import Database, Record
from gpuaas.contracts.evidence import ClaimSubmitted, Profile, RequirementKind
from gpuaas.evidence.domain import controls_run, gate
from gpuaas.evidence.domain.attestation import inspect
from gpuaas.evidence.domain.controls import run_controls
from gpuaas.evidence.domain.dsse import ENVELOPE_BYTES_MAX, Check
from gpuaas.evidence.domain.inputs import RULES, ClaimOnFile, Inputs, RequirementOnFile, demand_of
from gpuaas.evidence.domain.judgement import (
    CLAIMS_MAX,
    CONTROLS_MAX_AGE_S,
    READBACKS_MAX,
    REQUIREMENTS_MAX,
    WAIVERS_MAX,
    decide_gate,
)
from gpuaas.evidence.domain.specimens import Specimens
from gpuaas.evidence.entities import CONTROLS, GATE, SERVICE
from gpuaas.evidence.notary import Notary
from gpuaas.evidence.ports import ArtefactStore, Damaged, whole
from gpuaas.evidence.projections.claims import Claims, claim_in
from gpuaas.evidence.projections.control_runs import ControlRuns
from gpuaas.evidence.projections.gates import Gates, kinds_of
from gpuaas.evidence.projections.releases import Releases
from gpuaas.evidence.projections.requirements import Requirements
from gpuaas.evidence.projections.waivers import Waivers
from gpuaas.evidence.reading import ClaimReader

GATES_MAX: Final = 1_000
GATHERINGS_MAX: Final = 8
"""Tries to gather everything as of one position while the log grows."""
STANDING_PAGE: Final = 200

CaughtUp = Callable[[], Awaitable[int]]
"""Waits until the read models have seen everything that the log holds now; the position up to where that is."""


@dataclass(frozen=True, slots=True)
class Views:
    """The read models that a judgement is gathered from."""

    requirements: Requirements
    claims: Claims
    releases: Releases
    waivers: Waivers
    controls: ControlRuns
    gates: Gates


class Gatekeeper:
    """Gathers everything a gate must look at, and lets it decide.

    Args:
        caught_up: waits until the read models have seen the whole log: a gate never decides on an old view.
        trusted: key id → check of every key whose statements count.
        specimens: what the negative controls are made with.
    """

    def __init__(
        self,
        commands: Commands,
        store: ArtefactStore,
        clock: Clock,
        database: Database,
        views: Views,
        caught_up: CaughtUp,
        trusted: Mapping[str, Check],
        notary: Notary,
        specimens: Specimens,
    ) -> None:
        self._commands = commands
        self._store = store
        self._clock = clock
        self._database = database
        self._views = views
        self._caught_up = caught_up
        self._trusted = trusted
        self._notary = notary
        self._specimens = specimens

    async def inputs(self, subject_sha256: str, profile: Profile, kinds: Sequence[RequirementKind] = ()) -> Inputs:
        """Everything a judgement of this subject rests on, as of one position of the log.

        Raises:
            Unavailable: evidence arrives faster than it can be gathered.
        """
        for _ in range(GATHERINGS_MAX):
            position = await self._caught_up()
            gathered = await self._gathered(subject_sha256, profile, kinds, position)
            if gathered.newest_position() <= position:
                return gathered
        raise Unavailable("evidence about this release is arriving faster than it can be gathered; ask again")

    async def decide(
        self,
        gate_id: str,
        about: tuple[str, Profile, Sequence[RequirementKind]],
        cause: Cause,
        *,
        asked_by: str | None = None,
    ) -> Outcome[gate.Gate]:
        """Let the gate decide, once for this cause; what it decided on is stored under `inputs_sha256`.

        Args:
            about: subject digest, profile and kinds of requirement (none: all).
            asked_by: the principal who asks; None when the service looks again by itself.

        Raises:
            Rejected: the asker made a claim or a waiver in it, or this was decided before.
        """
        await self.run_controls_if_due(timedelta(seconds=CONTROLS_MAX_AGE_S / 2))
        inputs = await self.inputs(*about)
        await self._store.put(inputs.sha256, whole(inputs.encode()))
        order = gate.DecideGate(gate_id=gate_id, inputs=inputs, asked_by=asked_by)
        statement = await self._notary.attest(gate.decided(order), [inputs.subject_sha256])
        return await self._commands.execute(GATE, PLATFORM, gate_id, replace(order, statement_sha256=statement), cause)

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

    async def _gathered(
        self, subject_sha256: str, profile: Profile, kinds: Sequence[RequirementKind], position: int
    ) -> Inputs:
        views, database = self._views, self._database
        required = await views.requirements.in_force(database, profile, limit=REQUIREMENTS_MAX + 1)
        ids = [one.published.requirement_id for one in required]
        rows = await views.claims.for_gate(database, subject_sha256, ids, limit=CLAIMS_MAX + REQUIREMENTS_MAX + 1)
        names = [row["claim_id"] for row in rows]
        openings = await views.claims.openings(database, names)
        return Inputs(
            subject_sha256=subject_sha256,
            profile=profile,
            kinds=tuple(sorted(set(kinds))),
            now=self._clock.now(),
            log_position=position,
            release=await views.releases.for_gate(database, subject_sha256),
            controls=await views.controls.for_gate(database),
            requirements=tuple(required),
            claims=tuple([await self._on_file(row, openings.get(row["claim_id"])) for row in rows]),
            readbacks=tuple(await views.claims.readbacks(database, names, limit=READBACKS_MAX + 1)),
            waivers=tuple(await views.waivers.for_gate(database, subject_sha256, profile, limit=WAIVERS_MAX + 1)),
        )

    async def _on_file(self, row: Record, opening: tuple[int, object] | None) -> ClaimOnFile:
        submitted = claim_in(row)
        position, opened = opening or (0, None)
        return ClaimOnFile.model_validate(
            {
                "position": row["position"],
                "submitted_at": row["submitted_at"],
                "submitted_by": row["submitted_by"],
                "claim": submitted,
                "opened": opened,
                "opened_position": position,
                "fault": inspect(submitted, await self._statement(submitted), self._trusted),
                "missing": await self._missing(submitted),
            }
        )

    async def _statement(self, submitted: ClaimSubmitted) -> bytes | None:
        stored = await self._store.stored(submitted.statement_sha256)
        if stored is None or stored.size_bytes > ENVELOPE_BYTES_MAX:
            return None
        try:
            return b"".join([piece async for piece in self._store.read(submitted.statement_sha256)])
        except (NotFound, Damaged):
            return None

    async def _missing(self, submitted: ClaimSubmitted) -> tuple[str, ...]:
        missing = []
        for artefact in submitted.artefacts:
            stored = await self._store.stored(artefact.sha256)
            if stored is None or stored.size_bytes != artefact.size_bytes:
                missing.append(artefact.name)
        return tuple(missing)


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
