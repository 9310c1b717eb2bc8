"""What who waited was told of its start, and how right that was. One law: one row per allocation, judged by its first
quote, which is what somebody decided by.

A quote that comes after the start it is about (two processes, one of them late) judges nothing and stays open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gpuaas.allocations.domain.stretch import ONE_MILLI
from gpuaas.common.envelope import Fact
from gpuaas.common.projections import Database, Projection, Record, Rows
from gpuaas.contracts.allocations import AllocationStarted, StartQuoted
from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, Table, Text, case, cast, func, or_, select
from sqlalchemy.dialects.postgresql import TIMESTAMP

TABLE: Final = Table(
    "start_quotes_v1",
    MetaData(),
    Column("allocation_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("pool_id", Text, nullable=False),
    Column("gpu_model", Text, nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("first_quoted_at", TIMESTAMP(timezone=True), nullable=False),
    Column("first_p50_at", TIMESTAMP(timezone=True)),
    Column("first_p90_at", TIMESTAMP(timezone=True)),
    Column("first_stretch_p50_milli", Integer, nullable=False),
    Column("first_stretch_p90_milli", Integer, nullable=False),
    Column("quoted_at", TIMESTAMP(timezone=True), nullable=False),
    Column("p50_at", TIMESTAMP(timezone=True)),
    Column("p90_at", TIMESTAMP(timezone=True)),
    Column("requests_ahead", Integer, nullable=False),
    Column("observed_runs", Integer, nullable=False),
    Column("method", Text, nullable=False),
    Column("quotes", Integer, nullable=False),
    Column("started_at", TIMESTAMP(timezone=True)),
    Column("started_position", BigInteger),
    Index("start_quotes_v1_by_position", "first_position"),
    Index("start_quotes_v1_by_project", "tenant_id", "project_id", "first_position"),
)
_NAMES: Final = tuple(TABLE.columns.keys())
_NEWEST: Final = ("quoted_at", "p50_at", "p90_at", "requests_ahead", "observed_runs", "method")
_QUOTED: Final = (
    f"INSERT INTO {TABLE.name} AS q ({', '.join(_NAMES)}) "  # noqa: S608 - names of our own columns
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(_NAMES) + 1))}) "
    "ON CONFLICT (allocation_id) DO UPDATE SET "
    + ", ".join(f"{name} = EXCLUDED.{name}" for name in _NEWEST)
    + ", quotes = q.quotes + EXCLUDED.quotes"
    + ", started_at = COALESCE(q.started_at, EXCLUDED.started_at)"
    + ", started_position = COALESCE(q.started_position, EXCLUDED.started_position)"
)
_STARTED: Final = (
    f"UPDATE {TABLE.name} SET started_at = $2, started_position = $3 "  # noqa: S608 - the table's own name
    "WHERE allocation_id = $1 AND started_at IS NULL"
)
ANY_MODEL: Final = "any"
By = Literal["pool", "model", "tenant"]
_GROUPS: Final[dict[By, tuple[str, ...]]] = {
    "pool": ("pool_id",),
    "model": ("pool_id", "gpu_model"),
    "tenant": ("pool_id", "gpu_model", "tenant_id"),
}
SHOWN: Final = ("quoted_at", "p50_at", "p90_at", "requests_ahead", "observed_runs", "method")


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose quotes are asked about; None does not narrow."""

    tenant_id: str | None = None
    project_id: str | None = None
    pool_id: str | None = None


class StartQuotes(Projection):
    """Quotes and what came of them."""

    answer = "start_quotes"
    version = 1
    reads = (StartQuoted, AllocationStarted)
    tables = (TABLE,)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        quoted: dict[str, dict[str, Any]] = {}
        started: list[tuple[Any, ...]] = []
        for fact in facts:
            match fact.event:
                case StartQuoted() as said:
                    quoted[said.allocation_id] = _after(quoted.get(said.allocation_id), fact, said)
                case AllocationStarted() as start if start.allocation_id in quoted:
                    quoted[start.allocation_id] |= {"started_at": start.started_at, "started_position": fact.position}
                case AllocationStarted() as start:
                    started.append((start.allocation_id, start.started_at, fact.position))
        if started:
            await rows.executemany(_STARTED, started)
        if quoted:
            await rows.executemany(_QUOTED, [tuple(row[name] for name in _NAMES) for row in quoted.values()])

    # -- questions ---------------------------------------------------------------------------------------------

    async def of(self, db: Database, allocation_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The newest quote of each that has one."""
        found = await db.fetch(select(TABLE).where(TABLE.c.allocation_id.in_(list(allocation_ids))))
        return {row["allocation_id"]: {name: row[name] for name in SHOWN} for row in found}

    async def to_learn_from(self, db: Database, pool_id: str, waiting: Iterable[str], limit: int) -> list[Record]:
        """The newest first quotes of a pool with a p90, of what has started or is in `waiting`."""
        t = TABLE.c
        query = select(TABLE).where(
            t.pool_id == pool_id,
            t.first_p90_at.is_not(None),
            or_(t.started_at.is_not(None), t.allocation_id.in_(list(waiting))),
        )
        return await db.fetch(query.order_by(t.first_position.desc()).limit(limit))

    async def newest(
        self, db: Database, whose: Whose, before: int | None, limit: int, as_of: int | None
    ) -> list[Record]:
        """First quotes made before position `before`, the newest first; starts later than `as_of` are not told."""
        t = TABLE.c
        known = t.started_position <= as_of if as_of is not None else t.started_position.is_not(None)
        query = select(
            *(t[name] for name in _NAMES if name not in (*_NEWEST, "quotes", "started_at", "started_position")),
            case((known, t.started_at)).label("started_at"),
        )
        query = _narrowed(query, whose).order_by(t.first_position.desc()).limit(limit)
        for least in (before, None if as_of is None else as_of + 1):
            if least is not None:
                query = query.where(t.first_position < least)
        return await db.fetch(query)

    async def accuracy(
        self, db: Database, whose: Whose, by: By, after: Sequence[str], limit: int, as_of: int | None
    ) -> list[Record]:
        """How right the first quotes of those that started were, by group, in order of the group's names.

        Times in seconds. `covered_p50` and `covered_p90`: the share that had started by then; 0.5 and 0.9 are wanted.
        """
        t = TABLE.c
        groups = [t[name] for name in _GROUPS[by]]
        off_s = func.extract("epoch", t.started_at - t.first_p50_at)
        query = select(
            *groups,
            func.count().label("started"),
            func.count(t.first_p90_at).label("foreseen"),
            _share(t.started_at <= t.first_p50_at, t.first_p50_at).label("covered_p50"),
            _share(t.started_at <= t.first_p90_at, t.first_p90_at).label("covered_p90"),
            _median(func.abs(off_s)).label("absolute_error_s_p50"),
            _median(off_s).label("late_s_p50"),
            _median(func.extract("epoch", t.started_at - t.first_quoted_at)).label("waited_s_p50"),
            _median(func.extract("epoch", t.first_p90_at - t.first_quoted_at)).label("quoted_p90_s_p50"),
        ).where(t.started_at.is_not(None))
        query = _narrowed(query, whose).group_by(*groups).order_by(*groups).limit(limit)
        if as_of is not None:
            query = query.where(t.started_position <= as_of)
        if after:
            query = query.having(func.row(*groups) > func.row(*after))
        return await db.fetch(query)


def groups_of(by: By) -> tuple[str, ...]:
    """The columns that tell the groups apart."""
    return _GROUPS[by]


def _narrowed(query: Any, whose: Whose) -> Any:
    for column, value in (
        (TABLE.c.tenant_id, whose.tenant_id),
        (TABLE.c.project_id, whose.project_id),
        (TABLE.c.pool_id, whose.pool_id),
    ):
        if value is not None:
            query = query.where(column == value)
    return query


def _share(met: Any, known: Any) -> Any:
    return cast(func.avg(case((known.is_not(None), case((met, 1.0), else_=0.0)))), Float)


def _median(value: Any) -> Any:
    return cast(func.percentile_cont(0.5).within_group(value), Float)


def _after(before: dict[str, Any] | None, fact: Fact, said: StartQuoted) -> dict[str, Any]:
    newest = {name: getattr(said, name) for name in _NEWEST}
    if before is not None:
        return before | newest | {"quotes": before["quotes"] + 1}
    return {
        "allocation_id": said.allocation_id,
        "tenant_id": said.tenant_id,
        "project_id": said.project_id,
        "pool_id": said.pool_id,
        "gpu_model": said.gpu_model or ANY_MODEL,
        "gpu_count": said.gpu_count,
        "first_position": fact.position,
        "first_quoted_at": said.quoted_at,
        "first_p50_at": said.p50_at,
        "first_p90_at": said.p90_at,
        "first_stretch_p50_milli": said.stretch_p50_milli or ONE_MILLI,
        "first_stretch_p90_milli": said.stretch_p90_milli or ONE_MILLI,
        **newest,
        "quotes": 1,
        "started_at": None,
        "started_position": None,
    }
