"""Claims read back. One law: the reader is the service itself, and it reads what is there now.

R1 fetches every artefact again, R2 derives every fact again from the bytes, R3 runs the procedure again,
R4 observes the installation, which has to run the code that the release ships. What R3 and R4 find must say the same
words and still satisfy the requirement; numbers may have moved.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Outcome
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.contracts.evidence import Artefact, ClaimSubmitted, ReadbackLevel
from gpuaas.evidence.domain import claim
from gpuaas.evidence.domain.inputs import demand_of
from gpuaas.evidence.domain.live_state import other_code
from gpuaas.evidence.domain.readback import Reading, compare_with_fresh, reread
from gpuaas.evidence.domain.rederivation import DERIVABLE_BYTES_MAX, LIVE_STATE
from gpuaas.evidence.domain.release import Registered, id_of
from gpuaas.evidence.domain.requirement import Published
from gpuaas.evidence.domain.strict_json import read_json
from gpuaas.evidence.entities import CLAIM, RELEASE, REQUIREMENT
from gpuaas.evidence.notary import Notary
from gpuaas.evidence.ports import ArtefactStore, Damaged, Installation, NotRun, Procedures

STORE_LEVELS: Final = frozenset({"R1", "R2"})


class ClaimReader:
    """Reads claims back and records what it finds."""

    def __init__(
        self,
        commands: Commands,
        store: ArtefactStore,
        clock: Clock,
        notary: Notary,
        procedures: Procedures,
        installation: Installation,
    ) -> None:
        self._commands = commands
        self._store = store
        self._clock = clock
        self._notary = notary
        self._procedures = procedures
        self._installation = installation

    async def read_back(
        self, submitted: ClaimSubmitted, level: ReadbackLevel, cause: Cause
    ) -> list[Outcome[claim.Claim]]:
        """Read `submitted` back at `level` (R1 to R4) and record it, once for this cause.

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
            about = [submitted.subject_sha256, submitted.statement_sha256]
            record = replace(record, statement_sha256=await self._notary.attest(claim.read_back(record), about))
            step = cause.at(f"{cause.step}{reading.level}")
            outcomes.append(await self._commands.execute(CLAIM, PLATFORM, submitted.claim_id, record, step))
        return outcomes

    async def demanded(self, submitted: ClaimSubmitted) -> ReadbackLevel:
        """How deep this claim has to be read back: at least R2, else as its requirement asks in its profile."""
        state, _ = await self._commands.state(REQUIREMENT, PLATFORM, submitted.requirement_id)
        if not isinstance(state, Published):
            return "R2"
        asked = demand_of(state.newest, submitted.profile).minimum_readback
        return max("R2", asked, key=claim.LEVELS.index)

    async def look(self, submitted: ClaimSubmitted, level: ReadbackLevel) -> list[Reading]:
        """What reading back gives now. R2 confirmed stands for R1 too; R2 unreadable leaves R1 standing."""
        found = await self._from_store(submitted, facts=level != "R1")
        if level in STORE_LEVELS or any(reading.outcome != "confirmed" for reading in found):
            return found
        return [*found, await (self._run_again(submitted) if level == "R3" else self._observe(submitted))]

    async def _from_store(self, submitted: ClaimSubmitted, *, facts: bool) -> list[Reading]:
        stated = submitted.facts if facts else ()
        unreadable: list[Reading] = []
        for artefact in submitted.artefacts:
            pointed = [fact for fact in stated if fact.artefact == artefact.name]
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
        if unreadable or not stated:
            return [Reading("R1", "confirmed", said), *unreadable[:1]]
        return [Reading("R2", "confirmed", f"{said}; {len(stated)} facts derived again")]

    async def _run_again(self, submitted: ClaimSubmitted) -> Reading:
        if submitted.procedure_id is None:
            return Reading("R3", "unreadable", "the claim names no procedure that can be run again")
        try:
            made = await self._procedures.run(submitted.procedure_id, submitted.subject_sha256)
        except NotRun as refused:
            return Reading("R3", "unreadable", refused.detail)
        return await self._compared("R3", submitted, made)

    async def _observe(self, submitted: ClaimSubmitted) -> Reading:
        live = [artefact.name for artefact in submitted.artefacts if artefact.media_type == LIVE_STATE]
        if not live:
            return Reading("R4", "unreadable", f"the claim rests on no artefact of {LIVE_STATE}")
        observed = await self._installation.observe()
        release, _ = await self._commands.state(RELEASE, PLATFORM, id_of(submitted.subject_sha256))
        if isinstance(release, Registered):
            wrong = other_code(read_json(observed), release.said.components)
            if wrong is not None:
                return Reading("R4", "contradicted", wrong)
        return await self._compared("R4", submitted, dict.fromkeys(live, observed))

    async def _compared(self, level: ReadbackLevel, submitted: ClaimSubmitted, made: Mapping[str, bytes]) -> Reading:
        state, _ = await self._commands.state(REQUIREMENT, PLATFORM, submitted.requirement_id)
        if not isinstance(state, Published):
            return Reading(level, "unreadable", f"there is no requirement {submitted.requirement_id}")
        predicate = demand_of(state.newest, submitted.profile).predicate
        return await asyncio.to_thread(compare_with_fresh, level, submitted, made, predicate)

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
