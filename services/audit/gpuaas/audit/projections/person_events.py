"""What the trail holds of one person's data. One law: found by the key's name and the history, never by content."""

from __future__ import annotations

from typing import Final

from gpuaas.audit.domain.certificates import Erasure
from gpuaas.audit.projections.audit_trail import TRAIL
from gpuaas.audit.projections.trail_search import evidence_in, payloads_at
from gpuaas.common.envelope import PLATFORM, subject_of
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.tables import Database
from gpuaas.contracts.catalogue import ALL
from gpuaas.contracts.iam import UserRegistered
from sqlalchemy import func, or_, select

EVENTS_MAX: Final = 20_000
"""Events in one certificate at most."""
_PERSONAL: Final = [event.TYPE for event in ALL if event.PERSONAL]


def person_subject(subject_id: str) -> str:
    """The log's subject of the person's own history."""
    return subject_of(UserRegistered.SERVICE, UserRegistered.ENTITY, PLATFORM, subject_id)


async def demand_known(db: Database, subject_id: str) -> None:
    """Raises NotFound: the log tells of no such person."""
    if (
        await db.fetch_one(select(TRAIL.c.position).where(TRAIL.c.subject == person_subject(subject_id)).limit(1))
        is None
    ):
        raise NotFound(f"the log tells of no person {subject_id}; `GET /v1/users` of iam lists those it knows")


async def personal_events(db: Database, subject_id: str, sealed_by: str, up_to: int) -> tuple[int, int]:
    """How many events hold the person's data: sealed by that key, and in the clear in the person's own history."""
    sealed = select(func.count()).where(TRAIL.c.sealed_by == sealed_by, TRAIL.c.position <= up_to)
    clear = select(func.count()).where(
        TRAIL.c.subject == person_subject(subject_id),
        TRAIL.c.type.in_(_PERSONAL),
        TRAIL.c.sealed_by.is_(None),
        TRAIL.c.position <= up_to,
    )
    row = await db.fetch_one(select(sealed.scalar_subquery().label("sealed"), clear.scalar_subquery().label("clear")))
    assert row is not None
    return row["sealed"], row["clear"]


async def erasure_evidence(db: Database, orders_subject: str, subject_id: str, sealed_by: str) -> Erasure:
    """Every event that a certificate rests on, without proofs.

    Raises:
        Invalid: more than one document carries.
    """
    mine = or_(TRAIL.c.subject == person_subject(subject_id), TRAIL.c.sealed_by == sealed_by)
    chosen = select(TRAIL).where(or_(TRAIL.c.subject == orders_subject, mine)).order_by(TRAIL.c.position)
    rows = await db.fetch(chosen.limit(EVENTS_MAX + 1))
    if len(rows) > EVENTS_MAX:
        raise Invalid(f"more than {EVENTS_MAX:,} events hold data of {subject_id}; one certificate carries no more")
    bytes_of = await payloads_at(db, [row["position"] for row in rows])
    events = [(row["subject"], evidence_in(row, bytes_of[row["position"]])) for row in rows]
    return Erasure(
        subject_id=subject_id,
        orders=[event for subject, event in events if subject == orders_subject],
        person=[event for subject, event in events if subject != orders_subject],
    )
