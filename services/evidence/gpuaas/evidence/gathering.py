"""Everything a gate must look at. One law: gathered whole, as of one place in the log, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.errors import NotFound, Unavailable
from gpuaas.common.projections import Database, Record
from gpuaas.contracts.evidence import ClaimSubmitted, Profile, RequirementKind
from gpuaas.evidence.domain.attestation import inspect
from gpuaas.evidence.domain.dsse import ENVELOPE_BYTES_MAX, Check
from gpuaas.evidence.domain.inputs import ClaimOnFile, Inputs
from gpuaas.evidence.domain.judgement import CLAIMS_MAX, READBACKS_MAX, REQUIREMENTS_MAX, WAIVERS_MAX
from gpuaas.evidence.ports import ArtefactStore, Damaged
from gpuaas.evidence.projections.claims import Claims, claim_in
from gpuaas.evidence.projections.control_runs import ControlRuns
from gpuaas.evidence.projections.gates import Gates
from gpuaas.evidence.projections.releases import Releases
from gpuaas.evidence.projections.requirements import Requirements
from gpuaas.evidence.projections.waivers import Waivers

GATHERINGS_MAX: Final = 8
"""Tries to gather everything as of one position while the log grows."""

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


class Gatherer:
    """Puts together what one judgement rests on.

    Args:
        caught_up: waits until the read models have seen the whole log: a gate never decides on an old view.
        trusted: key id → check of every key whose statements count.
    """

    def __init__(
        self,
        store: ArtefactStore,
        clock: Clock,
        database: Database,
        views: Views,
        caught_up: CaughtUp,
        trusted: Mapping[str, Check],
    ) -> None:
        self._store = store
        self._clock = clock
        self.database = database
        self.views = views
        self.caught_up = caught_up
        self._trusted = trusted

    async def inputs(self, subject_sha256: str, profile: Profile, kinds: Sequence[RequirementKind] = ()) -> Inputs:
        """Everything a judgement of this subject rests on, as of one position of the log.

        Raises:
            Unavailable: evidence arrives faster than it can be gathered.
        """
        for _ in range(GATHERINGS_MAX):
            position = await self.caught_up()
            gathered = await self._gathered(subject_sha256, profile, kinds, position)
            if gathered.newest_position() <= position:
                return gathered
        raise Unavailable("evidence about this release is arriving faster than it can be gathered; ask again")

    async def _gathered(
        self, subject_sha256: str, profile: Profile, kinds: Sequence[RequirementKind], position: int
    ) -> Inputs:
        views, database = self.views, self.database
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
            abandoned=tuple(await views.claims.abandoned(database, subject_sha256, ids, limit=CLAIMS_MAX + 1)),
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
