"""A small entity for the kernel's own tests: a counter that may be opened, raised and closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gpuaas.common.commands import Cause, Entity
from gpuaas.common.decider import Decider
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.projections import Projection, Rows, insert, upsert
from sqlalchemy import BigInteger, Column, MetaData, Table, Text


class CounterOpened(Event):
    TYPE: ClassVar[str] = "gpuaas.testing.counter-opened.v1"
    SERVICE: ClassVar[str] = "testing"
    ENTITY: ClassVar[str] = "counter"
    SCHEMA: ClassVar[str] = "testing/counter-opened.v1.json"
    name: str


class CounterRaised(Event):
    TYPE: ClassVar[str] = "gpuaas.testing.counter-raised.v1"
    SERVICE: ClassVar[str] = "testing"
    ENTITY: ClassVar[str] = "counter"
    SCHEMA: ClassVar[str] = "testing/counter-raised.v1.json"
    by: int


@dataclass(frozen=True, slots=True)
class Open:
    name: str


@dataclass(frozen=True, slots=True)
class Raise:
    by: int
    only_at: int | None = None


@dataclass(frozen=True, slots=True)
class Counter:
    opened: bool = False
    value: int = 0


def decide(command: Open | Raise, counter: Counter) -> Sequence[Event]:
    match command:
        case Open(name) if not counter.opened:
            return [CounterOpened(name=name)]
        case Raise(by, only_at) if counter.opened and only_at in (None, counter.value):
            return [CounterRaised(by=by)]
        case _:
            raise Rejected(f"a counter at {counter} does not take {command}")


def evolve(counter: Counter, event: Event) -> Counter:
    match event:
        case CounterOpened():
            return Counter(opened=True)
        case CounterRaised(by=by):
            return Counter(opened=True, value=counter.value + by)
        case _:
            raise AssertionError(event)


WORDS = Vocabulary(CounterOpened, CounterRaised)
COUNTER: Entity[Counter, Open | Raise] = Entity("testing", "counter", Decider(Counter(), decide, evolve), WORDS)


def cause(identity: str | None = None, step: str = "") -> Cause:
    return Cause(id=identity or new_id(), actor="tester", actor_kind="user", step=step)


_META = MetaData()
VALUES = Table(
    "counter_values_v1",
    _META,
    Column("counter", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
)
RAISES = Table(
    "counter_raises_v1",
    _META,
    Column("position", BigInteger, primary_key=True),
    Column("by", BigInteger, nullable=False),
)


class CounterValues(Projection):
    answer = "counter_values"
    version = 1
    reads = (CounterOpened, CounterRaised)
    tables = (VALUES, RAISES)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        names = [fact.subject for fact in facts]
        known = await rows.fetch("SELECT counter, value FROM counter_values_v1 WHERE counter = ANY($1)", names)
        values = {row["counter"]: row["value"] for row in known}
        seen: dict[str, int] = {}
        for fact in facts:
            by = fact.event.by if isinstance(fact.event, CounterRaised) else 0
            values[fact.subject] = values.get(fact.subject, 0) + by
            seen[fact.subject] = fact.position
        await upsert(
            rows, VALUES, [{"counter": name, "value": values[name], "position": at} for name, at in seen.items()]
        )
        raises = [fact for fact in facts if isinstance(fact.event, CounterRaised)]
        await insert(rows, RAISES, [{"position": fact.position, "by": fact.event.by} for fact in raises])  # type: ignore[attr-defined]
