"""What waits and what runs, in memory, for the scheduler and the runtime. One law: it is the log's word, read again.

It begins with the allocations that have not ended, as `allocations_v5` has them, and follows the log from the position
that this is true at: nothing that happened while no process ran is missed. A failure begins it anew from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from gpuaas.allocations.domain.asking import forms_in
from gpuaas.allocations.domain.outlook import Deferral
from gpuaas.allocations.domain.pool import VOCABULARY as POOL_WORDS
from gpuaas.allocations.domain.preemption import Running
from gpuaas.allocations.domain.queue import Line, Waiting
from gpuaas.allocations.ports import Run
from gpuaas.allocations.projections.allocations import Allocations, forms_of_row, members_of, shape_of
from gpuaas.common.commands import Cause
from gpuaas.common.envelope import Envelope, Recorded
from gpuaas.common.errors import Unreadable
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.readers import Reader
from gpuaas.common.tables import LIVE, Database
from gpuaas.contracts import allocations as said

SERVICE: Final = "allocations"
_POOL_EVENTS: Final = frozenset(event.TYPE for event in POOL_WORDS.types)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that has not ended: what it wants, what it will run, and the cause of all that is done about it."""

    waiting: Waiting
    pool_id: str
    lease_s: int
    image: str
    command: tuple[str, ...]
    cause: Cause
    ends_by: datetime | None = None
    idle_after_s: int | None = None

    def run(self, members: tuple[said.Member, ...]) -> Run:
        return Run(self.waiting.allocation_id, self.image, self.command, members)


@dataclass(slots=True)
class Desk:
    """One pool's waiting line.

    Attributes:
        untold: in the line, and not yet told why they wait.
        pool_version: the newest version of the pool that the log has shown.
        own_version: the newest version that this process itself has made; up to there the line knows it already.
        deferred: in the line, and told that their time has not come.
        recovered: the line was just read from the table, which may lag behind the pool's claims.
    """

    line: Line = field(default_factory=Line)
    untold: dict[str, None] = field(default_factory=dict)
    deferred: dict[str, Deferral] = field(default_factory=dict)
    pool_version: int = 0
    own_version: int = 0
    recovered: bool = True

    def news_of_time(self, deferred: Mapping[str, Deferral]) -> list[tuple[str, Deferral]]:
        """Who is to be told until when; those whose time has come and who still wait are newcomers again."""
        told = [(name, said) for name, said in deferred.items() if self.deferred.get(name) != said]
        for name in [name for name in self.deferred if name not in deferred and name in self.line]:
            self.untold[name] = None
        for name in deferred:
            self.untold.pop(name, None)
        self.deferred = dict(deferred)
        return told


@dataclass(frozen=True, slots=True)
class Lease:
    """For how long GPUs are lent: `lease_s` from the start, and not beyond `ends_by`."""

    lease_s: int
    ends_by: datetime | None = None

    def end(self, started_at: datetime) -> datetime:
        ends = started_at + timedelta(seconds=self.lease_s)
        return min(ends, self.ends_by or ends)


class Supervision(Protocol):
    """Who is told of runs that begin and end."""

    def begin(self, run: Run, started_at: datetime, lease: Lease, tenant_id: str, cause: Cause) -> None: ...

    def renew(self, allocation_id: str, lease_s: int) -> None: ...

    def over(self, allocation_id: str) -> None: ...


class Board(Reader):
    """Keeps `desks` and `asks` up to the log, and tells the supervision what runs."""

    def __init__(self, log: EventLog, database: Database, allocations: Allocations, supervision: Supervision) -> None:
        super().__init__("board", log)
        self._database = database
        self._allocations = allocations
        self._supervision = supervision
        self.desks: dict[str, Desk] = {}
        self.asks: dict[str, Ask] = {}
        self.running: dict[str, Running] = {}
        self.runs: dict[str, Run] = {}
        self.ending: set[str] = set()
        self.complete = False
        self.news = asyncio.Event()

    def desk(self, pool_id: str) -> Desk:
        return self.desks.setdefault(pool_id, Desk())

    async def _begin(self) -> int:
        projection = self._allocations
        self.complete = False
        await self._database.open_checkpoint(projection.name, projection.tables, await self._log.incarnation(), LIVE)
        async with self._database.reading() as rows:
            unfinished, position = await projection.unfinished(rows)
        self.desks.clear()
        self.asks.clear()
        self.running.clear()
        self.runs.clear()
        self.ending.clear()
        for row in unfinished:
            self._recover(dict(row))
        return position

    def _follow(self, after: int) -> Follower:
        return self._log.follow(["events.allocations.allocation.>", "events.allocations.pool.>"], after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for recorded in batch.events:
            self._take(recorded)

    async def _arrive(self, batch: Batch) -> None:
        if batch.caught_up and not self.complete:
            self.complete = True
            self.news.set()
        await super()._arrive(batch)

    # -- from the table ----------------------------------------------------------------------------------------

    def _recover(self, row: Mapping[str, Any]) -> None:
        allocation_id: str = row["allocation_id"]
        forms = forms_of_row(row)
        cause = Cause(
            id=row["request_event_id"],
            actor=SERVICE,
            actor_kind="service",
            correlation_id=row["correlation_id"],
            project_id=row["project_id"],
        )
        arrival: int = row["place"]
        ask = Ask(
            Waiting(
                allocation_id,
                row["tenant_id"],
                row["project_id"],
                shape_of(row),
                row["priority"],
                arrival,
                row["preemptible"],
                row["lease_s"],
                row["start_at"],
                row["reservation_id"],
                forms,
            ),
            row["pool_id"],
            row["renewed_lease_s"] or row["lease_s"],
            row["workload"]["image"],
            tuple(row["workload"]["command"]),
            cause,
            row["ends_by"],
            row["idle_after_s"],
        )
        self.asks[allocation_id] = ask
        match row["state"]:
            case "requested" | "queued" as state:
                self._join(ask, told=state == "queued")
            case "releasing":
                self.ending.add(allocation_id)
            case "active":
                started = Cause(
                    id=row["start_event_id"],
                    actor=SERVICE,
                    actor_kind="service",
                    correlation_id=row["correlation_id"],
                    project_id=row["project_id"],
                )
                self._begin_run(ask, members_of(row), row["started_at"], started)

    # -- from the log ------------------------------------------------------------------------------------------

    def _take(self, recorded: Recorded) -> None:
        envelope = recorded.envelope()
        last_token = recorded.subject.rpartition(".")[2]
        match envelope.type:
            case said.AllocationRequested.TYPE:
                self._requested(recorded.position, envelope)
            case said.AllocationQueued.TYPE | said.AllocationDeferred.TYPE:
                if (ask := self.asks.get(last_token)) is not None:
                    self.desk(ask.pool_id).untold.pop(last_token, None)
            case said.AllocationPlaced.TYPE:
                self._leave(last_token)
                if (ask := self.asks.get(last_token)) is not None and ask.waiting.reservation_id is not None:
                    placed = said.AllocationPlaced.model_validate_json(bytes(envelope.data))
                    self.asks[last_token] = replace(ask, ends_by=placed.ends_by)
            case said.AllocationLeaseRenewed.TYPE:
                renewed = said.AllocationLeaseRenewed.model_validate_json(bytes(envelope.data))
                self._supervision.renew(last_token, renewed.lease_s)
            case said.AllocationStarted.TYPE:
                self._started(last_token, envelope)
            case said.AllocationReleased.TYPE | said.AllocationRejected.TYPE:
                self._leave(last_token)
                self.asks.pop(last_token, None)
                self.running.pop(last_token, None)
                self.runs.pop(last_token, None)
                self.ending.discard(last_token)
                self._supervision.over(last_token)
            case said.AllocationReleaseRequested.TYPE | said.AllocationPreempted.TYPE:
                self.ending.add(last_token)
            case said.AllocationCommandOrdered.TYPE | said.AllocationNotified.TYPE | said.AllocationRetried.TYPE:
                pass
            case kind if kind in _POOL_EVENTS:
                self._pool_changed(self.desk(last_token), kind, envelope)
            case unknown:
                raise Unreadable(
                    f"position {recorded.position} on {recorded.subject}: the scheduler knows no {unknown}; "
                    "deploy a version that does"
                )

    def _requested(self, position: int, envelope: Envelope) -> None:
        event = said.AllocationRequested.model_validate_json(bytes(envelope.data))
        forms = forms_in(event)
        plain = len(forms) == 1 and not forms[0].is_elastic
        ask = Ask(
            Waiting(
                event.allocation_id,
                event.tenant_id,
                event.project_id,
                forms[0].shape,
                event.priority,
                position if event.place_kept is None else event.place_kept,
                event.preemptible,
                event.lease_s,
                event.start_at,
                event.reservation_id,
                () if plain else forms,
            ),
            event.pool_id,
            event.lease_s,
            event.workload.image,
            event.workload.command,
            _cause(envelope),
            idle_after_s=event.idle_after_s,
        )
        self.asks[event.allocation_id] = ask
        self._join(ask, told=False)

    def _join(self, ask: Ask, *, told: bool) -> None:
        desk = self.desk(ask.pool_id)
        desk.line.join(ask.waiting)
        if not told:
            desk.untold[ask.waiting.allocation_id] = None
        self.news.set()

    def _leave(self, allocation_id: str) -> None:
        if (ask := self.asks.get(allocation_id)) is not None:
            desk = self.desk(ask.pool_id)
            desk.line.leave(allocation_id)
            desk.untold.pop(allocation_id, None)

    def _started(self, allocation_id: str, envelope: Envelope) -> None:
        self._leave(allocation_id)
        if (ask := self.asks.get(allocation_id)) is not None:
            event = said.AllocationStarted.model_validate_json(bytes(envelope.data))
            self._begin_run(ask, event.members, event.started_at, _cause(envelope))

    def _begin_run(self, ask: Ask, members: tuple[said.Member, ...], started_at: datetime, cause: Cause) -> None:
        waiting = ask.waiting
        self.running[waiting.allocation_id] = Running(waiting.priority, waiting.preemptible, started_at)
        run = self.runs[waiting.allocation_id] = ask.run(members)
        self._supervision.begin(run, started_at, Lease(ask.lease_s, ask.ends_by), ask.waiting.tenant_id, cause)

    def _pool_changed(self, desk: Desk, kind: str, envelope: Envelope) -> None:
        """What another process did to the pool, or another part of this one; our own cycles are known already."""
        desk.pool_version = max(desk.pool_version, envelope.version)
        if envelope.version <= desk.own_version:
            return
        if kind == said.ClaimGranted.TYPE:
            self._leave(said.ClaimGranted.model_validate_json(bytes(envelope.data)).allocation_id)
        self.news.set()


def _cause(envelope: Envelope) -> Cause:
    return Cause(
        id=envelope.id,
        actor=SERVICE,
        actor_kind="service",
        correlation_id=envelope.correlationid,
        project_id=envelope.projectid,
        traceparent=envelope.traceparent,
    )
