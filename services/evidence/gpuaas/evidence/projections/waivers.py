"""Which waivers there are and who stands behind them. One law: everybody who spoke is kept, nobody is summed up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.projections import Database, Fact, Projection, Record, Rows, upsert
from gpuaas.contracts.evidence import WaiverApproved, WaiverRequested, WaiverWithdrawn
from gpuaas.evidence.domain.inputs import WaiverOnFile
from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB

_META = MetaData()
WAIVERS = Table(
    "waivers_v1",
    _META,
    Column("waiver_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("subject_sha256", Text, nullable=False),
    Column("requirement_id", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("said", JSONB, nullable=False),
    Index("waivers_v1_subject", "subject_sha256", "profile", "position"),
    Index("waivers_v1_position", "position"),
)
VOICES = Table(
    "waiver_voices_v1",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("waiver_id", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("said", JSONB, nullable=False),
    Index("waiver_voices_v1_waiver", "waiver_id", "position"),
)
VOICES_MAX = 17
"""Of one waiver: its approvals and its end."""


class Waivers(Projection):
    """Waivers as they were asked for, and every approval and withdrawal of each."""

    answer = "waivers"
    version = 1
    reads = (WaiverRequested, WaiverApproved, WaiverWithdrawn)
    tables = (WAIVERS, VOICES)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        asked = [_row(fact, event) for fact in facts if isinstance(event := fact.event, WaiverRequested)]
        await upsert(rows, WAIVERS, asked)
        voices = [
            _voice(fact, event) for fact in facts if isinstance(event := fact.event, WaiverApproved | WaiverWithdrawn)
        ]
        await upsert(rows, VOICES, voices)

    async def listed(
        self, database: Database, *, limit: int, before_position: int | None = None, subject_sha256: str | None = None
    ) -> list[dict[str, Any]]:
        """Up to `limit` waivers, newest first, with who approved them and whether they were withdrawn."""
        query = select(WAIVERS).order_by(WAIVERS.c.position.desc()).limit(limit)
        if before_position is not None:
            query = query.where(WAIVERS.c.position < before_position)
        if subject_sha256 is not None:
            query = query.where(WAIVERS.c.subject_sha256 == subject_sha256)
        rows = await database.fetch(query)
        return [shown(row, voices) for row, voices in await self._with_voices(database, rows)]

    async def subject_of(self, database: Database, waiver_id: str) -> str | None:
        """The release that a waiver is for."""
        row = await database.fetch_one(select(WAIVERS.c.subject_sha256).where(WAIVERS.c.waiver_id == waiver_id))
        return None if row is None else str(row["subject_sha256"])

    async def for_gate(
        self, database: Database, subject_sha256: str, profile: str, *, limit: int
    ) -> list[WaiverOnFile]:
        """The waivers for this subject and profile, in log order."""
        query = select(WAIVERS).where(WAIVERS.c.subject_sha256 == subject_sha256, WAIVERS.c.profile == profile)
        rows = await database.fetch(query.order_by(WAIVERS.c.position).limit(limit))
        return [
            WaiverOnFile(
                position=max([row["position"], *(voice["position"] for voice in voices)]),
                requested=WaiverRequested.model_validate(row["said"]),
                approvals=tuple(
                    WaiverApproved.model_validate(voice["said"]) for voice in voices if voice["what"] == "approved"
                ),
                withdrawn=any(voice["what"] == "withdrawn" for voice in voices),
            )
            for row, voices in await self._with_voices(database, rows)
        ]

    async def _with_voices(self, database: Database, rows: Sequence[Record]) -> list[tuple[Record, list[Record]]]:
        ids = [row["waiver_id"] for row in rows]
        query = select(VOICES).where(VOICES.c.waiver_id.in_(ids)).order_by(VOICES.c.position)
        found = await database.fetch(query.limit(len(ids) * VOICES_MAX)) if ids else []
        return [(row, [one for one in found if one["waiver_id"] == row["waiver_id"]]) for row in rows]


def shown(row: Record, voices: Sequence[Record]) -> dict[str, Any]:
    """A waiver as it was asked for, with what was said about it."""
    return {
        **row["said"],
        "position": row["position"],
        "approvals": [voice["said"] for voice in voices if voice["what"] == "approved"],
        "withdrawn": next((voice["said"] for voice in voices if voice["what"] == "withdrawn"), None),
    }


def _row(fact: Fact, event: WaiverRequested) -> dict[str, Any]:
    said = event.model_dump(mode="json", exclude_none=True)
    kept = ("waiver_id", "subject_sha256", "requirement_id", "profile")
    return {
        **{name: said[name] for name in kept},
        "expires_at": event.expires_at,
        "position": fact.position,
        "said": said,
    }


def _voice(fact: Fact, event: WaiverApproved | WaiverWithdrawn) -> dict[str, Any]:
    return {
        "position": fact.position,
        "waiver_id": event.waiver_id,
        "what": "approved" if isinstance(event, WaiverApproved) else "withdrawn",
        "said": event.model_dump(mode="json", exclude_none=True),
    }
