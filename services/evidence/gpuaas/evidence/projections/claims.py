"""Which claims there are and how they were read back. One law: nothing is summed up that a gate must see whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpuaas.common.projections import Database, Fact, Projection, Record, Rows, upsert
from gpuaas.contracts.evidence import ClaimAbandoned, ClaimOpened, ClaimReadBack, ClaimSubmitted
from gpuaas.evidence.domain.inputs import AbandonedOnFile, ReadbackOnFile
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Index,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

_META = MetaData()
CLAIMS = Table(
    "claims_v3",
    _META,
    Column("claim_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("submitted_at", DateTime(timezone=True), nullable=False),
    Column("submitted_by", Text, nullable=False),
    Column("requirement_id", Text, nullable=False),
    Column("subject_sha256", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("statement_sha256", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("said", JSONB, nullable=False),
    Index("claims_v3_subject", "subject_sha256", "position"),
    Index("claims_v3_requirement", "requirement_id", "position"),
    Index("claims_v3_position", "position"),
)
OPENINGS = Table(
    "openings_v3",
    _META,
    Column("claim_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("requirement_id", Text, nullable=False),
    Column("subject_sha256", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("closes_at", DateTime(timezone=True), nullable=False),
    Column("said", JSONB, nullable=False),
    Index("openings_v3_position", "position"),
)
ABANDONED = Table(
    "abandoned_v3",
    _META,
    Column("claim_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("said", JSONB, nullable=False),
)
READBACKS = Table(
    "readbacks_v3",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("claim_id", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("read_at", DateTime(timezone=True), nullable=False),
    Column("statement_sha256", Text),
    Index("readbacks_v3_claim", "claim_id", "position"),
)
_SHOWN = [column for column in CLAIMS.c if column.name != "said"]


class Claims(Projection):
    """Claims as they were opened, said and given up (`said` is the event's data), and every readback of each."""

    answer = "claims"
    version = 3
    reads = (ClaimOpened, ClaimAbandoned, ClaimSubmitted, ClaimReadBack)
    tables = (CLAIMS, OPENINGS, ABANDONED, READBACKS)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        await upsert(
            rows, CLAIMS, [_claim_row(fact, said) for fact in facts if isinstance(said := fact.event, ClaimSubmitted)]
        )
        openings = [_opening_row(fact, event) for fact in facts if isinstance(event := fact.event, ClaimOpened)]
        await upsert(rows, OPENINGS, openings)
        ended = [_abandoned_row(fact, event) for fact in facts if isinstance(event := fact.event, ClaimAbandoned)]
        await upsert(rows, ABANDONED, ended)
        found = [_readback_row(fact, read) for fact in facts if isinstance(read := fact.event, ClaimReadBack)]
        await upsert(rows, READBACKS, found)

    async def listed(
        self,
        database: Database,
        *,
        limit: int,
        before_position: int | None = None,
        subject_sha256: str | None = None,
        requirement_id: str | None = None,
    ) -> list[Record]:
        """Up to `limit` claims, newest first, with `status` and `level` out of their readbacks."""
        query = select(*_SHOWN, *_standing()).order_by(CLAIMS.c.position.desc()).limit(limit)
        if before_position is not None:
            query = query.where(CLAIMS.c.position < before_position)
        if subject_sha256 is not None:
            query = query.where(CLAIMS.c.subject_sha256 == subject_sha256)
        if requirement_id is not None:
            query = query.where(CLAIMS.c.requirement_id == requirement_id)
        return await database.fetch(query)

    async def open(self, database: Database, *, limit: int, before_position: int | None = None) -> list[Record]:
        """Up to `limit` claims that were opened and neither submitted nor abandoned yet, newest opening first."""
        unsubmitted = ~select(CLAIMS.c.claim_id).where(CLAIMS.c.claim_id == OPENINGS.c.claim_id).exists()
        waiting = ~select(ABANDONED.c.claim_id).where(ABANDONED.c.claim_id == OPENINGS.c.claim_id).exists()
        query = select(OPENINGS).where(unsubmitted, waiting).order_by(OPENINGS.c.position.desc()).limit(limit)
        if before_position is not None:
            query = query.where(OPENINGS.c.position < before_position)
        return await database.fetch(query)

    async def openings(self, database: Database, claim_ids: Sequence[str]) -> dict[str, tuple[int, ClaimOpened]]:
        """Claim id → where and how it was opened, for those that were."""
        rows = await database.fetch(select(OPENINGS).where(OPENINGS.c.claim_id.in_(claim_ids)))
        return {row["claim_id"]: (row["position"], ClaimOpened.model_validate(row["said"])) for row in rows}

    async def abandoned(
        self, database: Database, subject_sha256: str, requirement_ids: Sequence[str], *, limit: int
    ) -> list[AbandonedOnFile]:
        """Up to `limit` runs about this subject that gave nothing, in log order."""
        opening = [OPENINGS.c.position.label("opened_position"), OPENINGS.c.said.label("opened")]
        query = (
            select(ABANDONED, *opening)
            .join(OPENINGS, OPENINGS.c.claim_id == ABANDONED.c.claim_id)
            .where(OPENINGS.c.subject_sha256 == subject_sha256, OPENINGS.c.requirement_id.in_(requirement_ids))
        )
        return [
            AbandonedOnFile(
                position=row["position"],
                opened=ClaimOpened.model_validate(row["opened"]),
                opened_position=row["opened_position"],
                said=ClaimAbandoned.model_validate(row["said"]),
            )
            for row in await database.fetch(query.order_by(ABANDONED.c.position).limit(limit))
        ]

    async def resting_on(self, database: Database, sha256: str, *, limit: int) -> list[ClaimSubmitted]:
        """Up to `limit` claims that name the artefact `sha256`, newest first."""
        named = CLAIMS.c.said["artefacts"].contains([{"sha256": sha256}])
        query = select(CLAIMS.c.said).where(named).order_by(CLAIMS.c.position.desc()).limit(limit)
        return [ClaimSubmitted.model_validate(row["said"]) for row in await database.fetch(query)]

    async def claimers(self, database: Database, subject_sha256: str, requirement_id: str) -> frozenset[str]:
        """Who opened or submitted a claim about this requirement and subject."""
        found: set[str] = set()
        for table, who in ((CLAIMS, CLAIMS.c.submitted_by), (OPENINGS, OPENINGS.c.opened_by)):
            about = (table.c.subject_sha256 == subject_sha256, table.c.requirement_id == requirement_id)
            found |= {str(row[who.name]) for row in await database.fetch(select(who).where(*about).distinct())}
        return frozenset(found)

    async def one(self, database: Database, claim_id: str) -> Record | None:
        """One claim with everything it says, `status` and `level`."""
        return await database.fetch_one(select(CLAIMS, *_standing()).where(CLAIMS.c.claim_id == claim_id))

    async def for_gate(
        self, database: Database, subject_sha256: str, requirement_ids: Sequence[str], *, limit: int
    ) -> list[Record]:
        """The claims a gate looks at, in log order.

        Every claim about the subject; and for a requirement, the newest claim about anything else, so that a gate
        can say that a claim exists but is about another subject.
        """
        others = _newest_elsewhere(subject_sha256, requirement_ids).subquery()
        wanted = or_(
            and_(CLAIMS.c.subject_sha256 == subject_sha256, CLAIMS.c.requirement_id.in_(requirement_ids)),
            CLAIMS.c.claim_id.in_(select(others.c.claim_id)),
        )
        return await database.fetch(select(CLAIMS).where(wanted).order_by(CLAIMS.c.position).limit(limit))

    async def readbacks(self, database: Database, claim_ids: Sequence[str], *, limit: int) -> list[ReadbackOnFile]:
        """Up to `limit` readbacks of these claims, in log order."""
        query = select(READBACKS).where(READBACKS.c.claim_id.in_(claim_ids)).order_by(READBACKS.c.position)
        return [
            ReadbackOnFile(
                position=row["position"],
                readback=ClaimReadBack.model_validate({name: row[name] for name in ClaimReadBack.model_fields}),
            )
            for row in await database.fetch(query.limit(limit))
        ]


def claim_in(row: Record) -> ClaimSubmitted:
    """The event behind a row."""
    return ClaimSubmitted.model_validate(row["said"])


def _newest_elsewhere(subject_sha256: str, requirement_ids: Sequence[str]) -> Select[Any]:
    return (
        select(CLAIMS.c.claim_id)
        .where(CLAIMS.c.requirement_id.in_(requirement_ids), CLAIMS.c.subject_sha256 != subject_sha256)
        .ext(distinct_on(CLAIMS.c.requirement_id))
        .order_by(CLAIMS.c.requirement_id, CLAIMS.c.position.desc())
    )


def _standing() -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """`status`: contradicted, confirmed, unreadable or submitted; `level`: the deepest confirmed one."""
    mine = READBACKS.c.claim_id == CLAIMS.c.claim_id

    def any_of(outcome: str) -> ColumnElement[bool]:
        return select(READBACKS.c.position).where(mine, READBACKS.c.outcome == outcome).exists()

    status = case(
        (any_of("contradicted"), "contradicted"),
        (any_of("confirmed"), "confirmed"),
        (any_of("unreadable"), "unreadable"),
        else_="submitted",
    )
    deepest = select(func.max(READBACKS.c.level)).where(mine, READBACKS.c.outcome == "confirmed").scalar_subquery()
    return status.label("status"), func.coalesce(deepest, "R0").label("level")


def _claim_row(fact: Fact, event: ClaimSubmitted) -> dict[str, Any]:
    said = event.model_dump(mode="json", exclude_none=True)
    shown = ("claim_id", "requirement_id", "subject_sha256", "profile", "result", "statement_sha256")
    return {
        **{name: said[name] for name in shown},
        "expires_at": event.expires_at,
        "position": fact.position,
        "submitted_at": fact.time,
        "submitted_by": fact.envelope.onbehalfof or fact.envelope.actor,
        "said": said,
    }


def _opening_row(fact: Fact, event: ClaimOpened) -> dict[str, Any]:
    said = event.model_dump(mode="json", exclude_none=True)
    return {
        **{name: said[name] for name in ("claim_id", "requirement_id", "subject_sha256", "profile")},
        "closes_at": event.closes_at,
        "position": fact.position,
        "opened_by": fact.envelope.onbehalfof or fact.envelope.actor,
        "said": said,
    }


def _abandoned_row(fact: Fact, event: ClaimAbandoned) -> dict[str, Any]:
    said = event.model_dump(mode="json", exclude_none=True)
    return {"claim_id": event.claim_id, "position": fact.position, "said": said}


def _readback_row(fact: Fact, event: ClaimReadBack) -> dict[str, Any]:
    return {"position": fact.position, **event.model_dump()}
