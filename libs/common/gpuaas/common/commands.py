"""execute(): read, decide, append at the position read; again when someone was faster. One law: once per cause.

Every event's id is derived from its cause, the step within it and its subject, so what a cause has already said in a
history is found again by id, whoever asks and however late. Entity states are cached; the append's guard decides, so
a stale cache costs a retry and never a wrong decision.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from gpuaas.common.clock import Clock, rfc3339
from gpuaas.common.decider import Decider
from gpuaas.common.envelope import Envelope, Fact, Recorded, data_of, encode, schema_uri, subject_of
from gpuaas.common.errors import Conflict, GpuaasError, Invalid, Rejected, Unavailable, Unreadable
from gpuaas.common.events import Event, Vocabulary, first_complaint
from gpuaas.common.ids import derived_id
from gpuaas.common.log import EventLog, Write
from gpuaas.common.sealing import Box, NoSeals, Seals
from gpuaas.common.snapshots import Keep, NoSnapshots, Snapshot, Snapshots, code_of
from gpuaas.common.telemetry import COMMAND_SECONDS, COMMANDS, current_traceparent
from pydantic import ValidationError

_log = logging.getLogger(__name__)
State = TypeVar("State")
Command = TypeVar("Command")

ATTEMPTS_MAX: Final = 24
"""Decisions of one command against faster writers before the caller is told to come back."""
HISTORIES_MAX: Final = 20_000
"""Entity histories kept folded in memory; the least recently used goes first."""
CATCH_UP: Final = 1_000
"""Events of one history read at once."""
_BACKOFF_S: Final = 0.002
NEARLY_FULL_RETRY_S: Final = 30
_NEARLY_FULL: Final = (
    "the log is nearly full, so only what ends work is taken now (release, stop, revoke); an operator enlarges it"
)
_KEY_IN_USE: Final = "this Idempotency-Key came before with another request; use a new key for a new request"


@dataclass(frozen=True, slots=True)
class Entity(Generic[State, Command]):
    """One kind of history: whose it is, how it decides, which events it is made of.

    Attributes:
        keep: how its state is written down, where histories grow so long that folding one anew would be felt.
    """

    service: str
    name: str
    decider: Decider[State, Command]
    vocabulary: Vocabulary
    keep: Keep[State] | None = None

    def subject(self, tenant_id: str, entity_id: str) -> str:
        return subject_of(self.service, self.name, tenant_id, entity_id)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a command is given, and by whom.

    Attributes:
        id: the event's or the request's id; with `step` and the subject it makes the effect unique.
        step: which of the things this cause orders.
        digest: of what was asked, so that the same id with another wish is noticed; None: its id says it all.
        relief: taken even when the log is nearly full: what ends work, and what follows from what has happened.
    """

    id: str
    actor: str
    actor_kind: str
    correlation_id: str = ""
    project_id: str | None = None
    on_behalf_of: str | None = None
    traceparent: str | None = None
    step: str = ""
    digest: str | None = None
    relief: bool = True

    def at(self, step: str) -> Cause:
        """The same cause, for another thing it orders."""
        return replace(self, step=step)

    @classmethod
    def of(cls, fact: Fact, actor: str, step: str) -> Cause:
        """The cause of a reaction: `actor` (a service) answers `fact`."""
        return cls(
            id=fact.envelope.id,
            actor=actor,
            actor_kind="service",
            correlation_id=fact.envelope.correlationid,
            project_id=fact.envelope.projectid,
            traceparent=fact.envelope.traceparent,
            step=step,
        )


@dataclass(frozen=True, slots=True)
class Order(Generic[State, Command]):
    """A command to one entity, for `execute_together`."""

    entity: Entity[State, Command]
    tenant_id: str
    entity_id: str
    command: Command


@dataclass(frozen=True, slots=True)
class Outcome(Generic[State]):
    """What a command led to.

    Attributes:
        position: of its last event; for a command with nothing to say, of the last event it was decided on.
        repeated: this cause had spoken before; `events` are what it said then.
    """

    position: int
    events: tuple[Event, ...]
    state: State
    repeated: bool


@dataclass(slots=True)
class _History(Generic[State]):
    """One entity folded: its state, where it stands, and what each cause has said in it.

    Attributes:
        said: event id → position, of every event behind it.
        kept: the version of its newest snapshot; at version `due` the next one is made.
        unkept: what was said since that; None for an entity that is not kept.
    """

    state: State
    position: int = 0
    version: int = 0
    said: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    due: int = 0
    unkept: dict[str, int] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def heard(self, event_id: str, position: int) -> None:
        """One more event stands in this history."""
        self.position = position
        self.version += 1
        self.said[event_id] = position
        if self.unkept is not None:
            self.unkept[event_id] = position


@dataclass(slots=True)
class _Draft(Generic[State]):
    """A decision not yet appended."""

    history: _History[State]
    state: State
    events: tuple[Event, ...]
    writes: list[Write]
    ids: list[str]


class Commands:
    """Gives commands to entities of one service.

    Args:
        service: the `source` of the events, and the owner of their subjects.
        snapshots: where entities that say how (`Entity.keep`) are kept folded.
        seals: what seals personal data; without it an event that holds any is not written.

    Attributes:
        nearly_full: only causes that bring relief are taken; the service says so when the log's room runs out.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        service: str,
        profile: str,
        snapshots: Snapshots | None = None,
        seals: Seals | NoSeals | None = None,
    ) -> None:
        self._log = log
        self._snapshots = snapshots or NoSnapshots()
        self._saving: set[asyncio.Task[None]] = set()
        self.nearly_full = False
        self._clock = clock
        self._service = service
        self._profile = profile
        self.seals = seals or NoSeals()
        self._histories: OrderedDict[str, _History[Any]] = OrderedDict()

    async def execute(
        self,
        entity: Entity[State, Command],
        tenant_id: str,
        entity_id: str,
        command: Command,
        cause: Cause,
        *,
        fresh: bool = False,
    ) -> Outcome[State]:
        """Let one entity decide on `command`, once for this cause.

        Args:
            fresh: the caller believes that this history is empty, which saves the read; the guard checks it.

        Raises:
            Rejected, Invalid: the decider said no; nothing was appended.
            Invalid: this cause has ordered something else before (`Cause.digest`).
            Unavailable: the log does not answer or is nearly full, or others were always faster.
        """
        outcomes = await self.execute_together([Order(entity, tenant_id, entity_id, command)], cause, fresh=fresh)
        return outcomes[0]

    async def execute_together(
        self, orders: Sequence[Order[Any, Any]], cause: Cause, *, fresh: bool = False
    ) -> list[Outcome[Any]]:
        """Let several entities decide and append all their events in one atomic batch, or none.

        Raises: as `execute`; Invalid when two orders name one entity.
        """
        subjects = [order.entity.subject(order.tenant_id, order.entity_id) for order in orders]
        if len(set(subjects)) != len(subjects):
            raise Invalid("two orders of one batch name the same entity; give it one command")
        if self.nearly_full and not cause.relief:
            raise Unavailable(_NEARLY_FULL, retry_after_s=NEARLY_FULL_RETRY_S)
        label = orders[0].entity.name
        histories = [self._history_of(order.entity, subject) for order, subject in zip(orders, subjects, strict=True)]
        with COMMAND_SECONDS.labels(label).time():
            try:
                async with AsyncExitStack() as held:
                    for _, history in sorted(zip(subjects, histories, strict=True), key=lambda pair: pair[0]):
                        await held.enter_async_context(history.lock)
                    outcomes = await self._until_appended(orders, subjects, histories, cause, fresh)
                    for order, subject, history in zip(orders, subjects, histories, strict=True):
                        self._keep(order.entity, subject, history)
            except GpuaasError as refused:
                COMMANDS.labels(label, refused.code).inc()
                raise
        COMMANDS.labels(label, "repeated" if outcomes[0].repeated else "done").inc()
        return outcomes

    async def state(self, entity: Entity[State, Command], tenant_id: str, entity_id: str) -> tuple[State, int]:
        """The newest state of one entity, and its version (0: it has no history)."""
        subject = entity.subject(tenant_id, entity_id)
        history: _History[State] = self._history_of(entity, subject)
        async with history.lock:
            await self._catch_up(entity, subject, history)
            return history.state, history.version

    async def _until_appended(
        self,
        orders: Sequence[Order[Any, Any]],
        subjects: Sequence[str],
        histories: Sequence[_History[Any]],
        cause: Cause,
        fresh: bool,
    ) -> list[Outcome[Any]]:
        named = list(zip(orders, subjects, histories, strict=True))
        firsts = [_event_id(cause, subject, 0) for subject in subjects]
        current = False
        for attempt in range(ATTEMPTS_MAX):
            if attempt or (not fresh and any(history.version == 0 for history in histories)):
                for order, subject, history in named:
                    await self._catch_up(order.entity, subject, history)
                current = True
            if any(first in history.said for first, history in zip(firsts, histories, strict=True)):
                return await self._said_before(orders, subjects, histories, cause)
            refused: Rejected | None = None
            drafts: list[_Draft[Any]] = []
            try:
                drafts = [await self._draft(*each, cause, first) for each, first in zip(named, firsts, strict=True)]
            except Rejected as said:
                refused = said
            # A refusal, like a decision to say nothing, has no guard to check it: it counts only when it is current.
            unguarded = refused is not None or not all(draft.writes for draft in drafts)
            if unguarded and not (current and await self._is_newest(subjects, histories)):
                continue
            if refused is not None:
                raise refused
            try:
                return await self._append(drafts)
            except Conflict:
                await asyncio.sleep(_BACKOFF_S * random.random() * 2 ** min(attempt, 8))
        raise Conflict(f"{subjects[0]} is changing faster than this command can be decided; send it again")

    async def _is_newest(self, subjects: Sequence[str], histories: Sequence[_History[Any]]) -> bool:
        """Whether these histories are folded to their ends, as the log's leader knows them."""
        ends = await asyncio.gather(*(self._log.newest([subject]) for subject in subjects))
        return all(end <= history.position for end, history in zip(ends, histories, strict=True))

    async def _append(self, drafts: Sequence[_Draft[Any]]) -> list[Outcome[Any]]:
        writes = [write for draft in drafts for write in draft.writes]
        positions = iter(await self._log.append(writes)) if writes else iter(())
        outcomes: list[Outcome[Any]] = []
        for draft in drafts:
            history = draft.history
            for event_id in draft.ids:
                history.heard(event_id, next(positions))
            history.state = draft.state
            outcomes.append(Outcome(history.position, draft.events, history.state, repeated=False))
        return outcomes

    async def _draft(
        self, order: Order[Any, Any], subject: str, history: _History[Any], cause: Cause, first: str
    ) -> _Draft[Any]:
        decider = order.entity.decider
        try:
            events = tuple(decider.decide(order.command, history.state))
        except ValidationError as refused:
            raise Invalid(f"{order.entity.name}: {first_complaint(refused)}") from refused
        state = history.state
        writes: list[Write] = []
        ids: list[str] = []
        shown: list[Event] = []
        if any(event.PERSONAL for event in events):
            # A digest of what was asked would let anybody try names against it, long after they were erased.
            cause = replace(cause, digest=None)
        for number, event in enumerate(events):
            event_id = _event_id(cause, subject, number) if number else first
            box: Box | None = None
            if event.PERSONAL:
                event, box = await self.seals.seal(event, event_id)
            shown.append(event)
            envelope = self._envelope(event, order, event_id, history.version + number + 1, cause, box)
            expected = history.position if number == 0 else None
            writes.append(Write(subject, expected, event_id, event.TYPE, encode(envelope)))
            ids.append(event_id)
            state = decider.evolve(state, event)
        return _Draft(history, state, tuple(shown), writes, ids)

    def _envelope(
        self, event: Event, order: Order[Any, Any], event_id: str, version: int, cause: Cause, box: Box | None
    ) -> Envelope:
        return Envelope(
            specversion="1.0",
            id=event_id,
            source=f"gpuaas/{self._service}",
            type=event.TYPE,
            subject=f"{order.entity.name}/{order.tenant_id}/{order.entity_id}",
            time=rfc3339(self._clock.now()),
            datacontenttype="application/json",
            dataschema=schema_uri(event),
            tenantid=order.tenant_id,
            projectid=cause.project_id,
            actor=cause.actor,
            actorkind=cause.actor_kind,
            onbehalfof=cause.on_behalf_of,
            causationid=cause.id,
            correlationid=cause.correlation_id or cause.id,
            sequence=f"{version:010d}",
            traceparent=current_traceparent() or cause.traceparent,
            causedigest=cause.digest,
            profile=self._profile,
            sealed=None if box is None else box.sealed,
            sealedby=None if box is None else box.sealed_by,
            data=data_of(event),
        )

    async def _said_before(
        self,
        orders: Sequence[Order[Any, Any]],
        subjects: Sequence[str],
        histories: Sequence[_History[Any]],
        cause: Cause,
    ) -> list[Outcome[Any]]:
        """What this cause has already said; an atomic batch was said as a whole, so any part tells for all."""
        outcomes: list[Outcome[Any]] = []
        for order, subject, history in zip(orders, subjects, histories, strict=True):
            positions = _positions_of(cause, subject, history)
            recorded = (
                await self._log.history(subject, positions[0] - 1, len(positions), reaching=positions[-1])
                if positions
                else []
            )
            envelopes = [each.envelope() for each in recorded]
            if cause.digest is not None and any(each.causedigest not in (None, cause.digest) for each in envelopes):
                raise Invalid(_KEY_IN_USE)
            events = tuple(order.entity.vocabulary.read(each.type, bytes(each.data)) for each in envelopes)
            last = positions[-1] if positions else history.position
            outcomes.append(Outcome(last, events, history.state, repeated=True))
        return outcomes

    def _history_of(self, entity: Entity[State, Command], subject: str) -> _History[State]:
        if (history := self._histories.get(subject)) is not None:
            self._histories.move_to_end(subject)
            return history
        history = self._histories[subject] = _History(
            entity.decider.initial, unkept=None if entity.keep is None else {}
        )
        while len(self._histories) > HISTORIES_MAX:
            oldest, idle = next(iter(self._histories.items()))
            if idle.lock.locked():
                break
            del self._histories[oldest]
        return history

    def _keep(self, entity: Entity[State, Command], subject: str, history: _History[State]) -> None:
        """Order a snapshot when one is due. The state is written down here, before anything else is folded."""
        if entity.keep is None or history.unkept is None:
            return
        history.due = history.due or history.kept + entity.keep.every
        if history.version < history.due:
            return
        snapshot = Snapshot(
            subject=subject,
            code=code_of(entity.service),
            position=history.position,
            version=history.version,
            state=entity.keep.write(history.state),
            said=history.unkept,
            since=history.kept,
        )
        history.unkept, history.kept = {}, history.version
        history.due = history.version + entity.keep.every
        task = asyncio.create_task(self._save(history, snapshot))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _save(self, history: _History[Any], snapshot: Snapshot) -> None:
        try:
            await self._snapshots.save(snapshot)
        except Unavailable as away:
            _log.warning("the state of %s was not kept: %s", snapshot.subject, away.detail)
            # The next one tells of everything since the one that was kept.
            history.unkept = {**snapshot.said, **(history.unkept or {})}
            history.kept = min(history.kept, snapshot.since)

    async def settle(self) -> None:
        """Wait until the snapshots under way are kept."""
        await asyncio.gather(*self._saving)

    async def _recall(self, entity: Entity[State, Command], subject: str, history: _History[State]) -> None:
        """Begin at the newest snapshot, if there is one to believe."""
        if entity.keep is None:
            return
        try:
            snapshot = await self._snapshots.load(subject, code_of(entity.service))
        except Unavailable as away:
            # Commands need the log alone.
            _log.warning("%s is folded from its beginning: %s", subject, away.detail)
            return
        if snapshot is not None:
            history.state = entity.keep.read(snapshot.state)
            history.position, history.version = snapshot.position, snapshot.version
            history.kept, history.said = snapshot.version, snapshot.said

    async def _catch_up(self, entity: Entity[State, Command], subject: str, history: _History[State]) -> None:
        if history.version == 0:
            await self._recall(entity, subject, history)
        while True:
            newer = await self._log.history(subject, history.position, CATCH_UP)
            for recorded in newer:
                self._take(entity, history, recorded)
            if len(newer) < CATCH_UP:
                return

    def _take(self, entity: Entity[State, Command], history: _History[State], recorded: Recorded) -> None:
        envelope = recorded.envelope()
        if envelope.version != history.version + 1:
            raise Unreadable(
                f"{recorded.subject} has version {envelope.version} after {history.version} at position "
                f"{recorded.position}: an event is missing or was not written by its owner"
            )
        event = entity.vocabulary.read(envelope.type, bytes(envelope.data))
        history.state = entity.decider.evolve(history.state, event)
        history.heard(envelope.id, recorded.position)


def _event_id(cause: Cause, subject: str, number: int) -> str:
    return derived_id(cause.id, cause.step, subject, number)


def _positions_of(cause: Cause, subject: str, history: _History[Any]) -> list[int]:
    """Where this cause's events stand in this history."""
    positions: list[int] = []
    while (position := history.said.get(_event_id(cause, subject, len(positions)))) is not None:
        positions.append(position)
    return positions
