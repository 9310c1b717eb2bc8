"""What follows from evidence itself. One law: a claim is read back by us, from the store, and never by its author.

A submitted claim is read back at once, as deep as its facts allow. Bad news (a contradiction, a failed claim) makes
every gate that had passed that subject decide again, so a yes does not outlive its evidence.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity, Outcome
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.projections import Database
from gpuaas.common.reactions import Reaction
from gpuaas.contracts.evidence import (
    Artefact,
    ClaimReadBack,
    ClaimSubmitted,
    Profile,
    ReadbackLevel,
)
from gpuaas.evidence.domain import claim, gate, requirement
from gpuaas.evidence.domain.attestation import inspect
from gpuaas.evidence.domain.dsse import ENVELOPE_BYTES_MAX, Check
from gpuaas.evidence.domain.judgement import CLAIMS_MAX, READBACKS_MAX, REQUIREMENTS_MAX, ClaimOnFile, Inputs
from gpuaas.evidence.domain.readback import Reading, reread
from gpuaas.evidence.domain.rederivation import DERIVABLE_BYTES_MAX
from gpuaas.evidence.ports import ArtefactStore, Damaged, whole
from gpuaas.evidence.projections.claims import Claims, claim_in
from gpuaas.evidence.projections.gates import Gates
from gpuaas.evidence.projections.requirements import Requirements

SERVICE: Final = "evidence"
GATES_MAX: Final = 1_000

CaughtUp = Callable[[], Awaitable[None]]
"""Waits until the read models have seen everything that the log holds now."""

CLAIM: Final = Entity(SERVICE, "claim", claim.DECIDER, claim.VOCABULARY)
GATE: Final = Entity(SERVICE, "gate", gate.DECIDER, gate.VOCABULARY)
REQUIREMENT: Final = Entity(SERVICE, "requirement", requirement.DECIDER, requirement.VOCABULARY)


class ClaimReader:
    """Reads claims back from the store and records what it finds."""

    def __init__(self, commands: Commands, store: ArtefactStore, clock: Clock) -> None:
        self._commands = commands
        self._store = store
        self._clock = clock

    async def read_back(
        self, submitted: ClaimSubmitted, level: ReadbackLevel, cause: Cause
    ) -> list[Outcome[claim.Claim]]:
        """Read `submitted` back at `level` (R1 or R2) and record it, once for this cause.

        Raises:
            Rejected: the claim was contradicted before.
        """
        outcomes = []
        for reading in await self.look(submitted, level):
            record = claim.RecordReadback(
                claim_id=submitted.claim_id,
                level=reading.level,
                outcome=reading.outcome,
                detail=reading.detail,
                read_at=self._clock.now(),
            )
            step = cause.at(f"{cause.step}{reading.level}")
            outcomes.append(await self._commands.execute(CLAIM, PLATFORM, submitted.claim_id, record, step))
        return outcomes

    async def look(self, submitted: ClaimSubmitted, level: ReadbackLevel) -> list[Reading]:
        """What reading back gives now. R2 confirmed stands for R1 too; R2 unreadable leaves R1 standing."""
        facts = submitted.facts if level != "R1" else ()
        unreadable: list[Reading] = []
        for artefact in submitted.artefacts:
            pointed = [fact for fact in facts if fact.artefact == artefact.name]
            fetched = await self._fetch(artefact, keep=bool(pointed))
            if isinstance(fetched, Reading):
                return [fetched]
            if pointed:
                reading = await asyncio.to_thread(reread, artefact, fetched, pointed)
                if reading.outcome == "contradicted":
                    return [reading]
                unreadable += [reading] if reading.outcome == "unreadable" else []
        fetched_bytes = sum(artefact.size_bytes for artefact in submitted.artefacts)
        said = f"{len(submitted.artefacts)} artefacts with {fetched_bytes} bytes fetched, digests equal"
        if unreadable or not facts:
            return [Reading("R1", "confirmed", said), *unreadable[:1]]
        return [Reading("R2", "confirmed", f"{said}; {len(facts)} facts derived again")]

    async def _fetch(self, artefact: Artefact, *, keep: bool) -> bytes | Reading:
        """The artefact's bytes (if kept), hashed here as well: the store's word is not taken for it."""
        hashed, size, kept = hashlib.sha256(), 0, bytearray()
        try:
            async for piece in self._store.read(artefact.sha256):
                hashed.update(piece)
                size += len(piece)
                if keep and size <= DERIVABLE_BYTES_MAX:
                    kept += piece
        except NotFound:
            return Reading("R1", "unreadable", f"{artefact.name} is not in the store")
        except Damaged:
            return Reading("R1", "unreadable", f"{artefact.name} is damaged in the store; upload it again")
        if hashed.hexdigest() != artefact.sha256:
            return Reading("R1", "unreadable", f"the store gave other bytes for {artefact.name} than were filed")
        if size != artefact.size_bytes:
            said = f"{artefact.name} has {size} bytes, not {artefact.size_bytes} as claimed"
            return Reading("R1", "contradicted", said)
        return bytes(kept)


class Gatekeeper:
    """Gathers everything a gate must look at, and lets it decide.

    Args:
        caught_up: waits until the read models have seen the whole log: a gate never decides on an old view.
        trusted: key id → check of every key whose statements count.
    """

    def __init__(
        self,
        commands: Commands,
        store: ArtefactStore,
        clock: Clock,
        database: Database,
        views: tuple[Requirements, Claims],
        caught_up: CaughtUp,
        trusted: Mapping[str, Check],
    ) -> None:
        self._commands = commands
        self._store = store
        self._clock = clock
        self._database = database
        self._requirements, self._claims = views
        self._caught_up = caught_up
        self._trusted = trusted

    async def inputs(self, subject_sha256: str, profile: Profile) -> Inputs:
        """Everything a judgement of this subject rests on, as of now."""
        await self._caught_up()
        required = await self._requirements.in_force(self._database, profile, limit=REQUIREMENTS_MAX + 1)
        ids = [one.published.requirement_id for one in required]
        rows = await self._claims.for_gate(self._database, subject_sha256, ids, limit=CLAIMS_MAX + REQUIREMENTS_MAX + 1)
        claims = [
            ClaimOnFile(
                position=row["position"],
                submitted_at=row["submitted_at"],
                claim=(submitted := claim_in(row)),
                fault=inspect(submitted, await self._statement(submitted), self._trusted),
                missing=await self._missing(submitted),
            )
            for row in rows
        ]
        names = [one.claim.claim_id for one in claims]
        return Inputs(
            subject_sha256=subject_sha256,
            profile=profile,
            now=self._clock.now(),
            requirements=tuple(required),
            claims=tuple(claims),
            readbacks=tuple(await self._claims.readbacks(self._database, names, limit=READBACKS_MAX + 1)),
        )

    async def decide(self, gate_id: str, subject_sha256: str, profile: Profile, cause: Cause) -> Outcome[gate.Gate]:
        """Let the gate decide, once for this cause; what it decided on is stored under `inputs_sha256`."""
        inputs = await self.inputs(subject_sha256, profile)
        await self._store.put(inputs.sha256, whole(inputs.encode()))
        order = gate.DecideGate(gate_id=gate_id, inputs=inputs)
        return await self._commands.execute(GATE, PLATFORM, gate_id, order, cause)

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


class ReadBackNewClaims(Reaction):
    """A submitted claim is read back as deep as its facts allow."""

    name = "claim-readback"
    reads = (ClaimSubmitted,)
    concurrency = 4

    def __init__(self, reader: ClaimReader) -> None:
        self._reader = reader

    async def react(self, fact: Fact) -> None:
        if not isinstance(fact.event, ClaimSubmitted):
            return
        try:
            await self._reader.read_back(fact.event, "R2", Cause.of(fact, SERVICE, "read-back-"))
        except Rejected:
            # Someone else's readback contradicted the claim first; there is nothing left to find out.
            return


class ReviewPassedGates(Reaction):
    """Bad news about a subject makes every gate that had passed it decide again."""

    name = "gate-review"
    reads = (ClaimSubmitted, ClaimReadBack)
    concurrency = 4

    def __init__(
        self,
        keeper: Gatekeeper,
        database: Database,
        claims: Claims,
        gates: Gates,
        caught_up: CaughtUp,
    ) -> None:
        self._keeper = keeper
        self._database = database
        self._claims = claims
        self._gates = gates
        self._caught_up = caught_up

    async def react(self, fact: Fact) -> None:
        match fact.event:
            case ClaimSubmitted(result="failed") as submitted:
                await self._review(submitted, fact)
            case ClaimReadBack(outcome="contradicted", claim_id=claim_id):
                await self._caught_up()
                if (row := await self._claims.one(self._database, claim_id)) is not None:
                    await self._review(claim_in(row), fact)
            case _:
                return

    async def _review(self, submitted: ClaimSubmitted, fact: Fact) -> None:
        await self._caught_up()
        subject, profile = submitted.subject_sha256, submitted.profile
        for decision in await self._gates.newest_about(self._database, subject, profile, limit=GATES_MAX):
            if decision["verdict"] != "pass":
                continue
            try:
                cause = Cause.of(fact, SERVICE, f"review-{decision['gate_id']}")
                await self._keeper.decide(decision["gate_id"], subject, profile, cause)
            except (Rejected, Invalid):
                # The gate was decided again meanwhile, by someone who saw this news too.
                continue
