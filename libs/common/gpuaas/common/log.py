"""What a service needs of a log. One law: an append says on which position it was decided, or it is not made.

Implementations: `logs.jetstream` and `logs.memory`; both pass `testing.event_log_contract`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gpuaas.common.envelope import Recorded

BATCH_MAX: Final = 1_000
"""Most events in one atomic append (the broker's limit)."""


@dataclass(frozen=True, slots=True)
class Write:
    """One event to append.

    Attributes:
        subject: the entity's literal subject.
        expected: position of the last event on that subject when the decision was taken; 0 = there was none.
            Only the first write to a subject in one append states it; later ones in the same append say None.
        event_id: the CloudEvents id, by which an unknown outcome is settled.
    """

    subject: str
    expected: int | None
    event_id: str
    event_type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive events for one reader.

    Attributes:
        events: in log order; may be empty when only `seen` moved.
        seen: every matching event up to this position has been delivered.
        caught_up: nothing more was waiting when this was made.
    """

    events: Sequence[Recorded]
    seen: int
    caught_up: bool


class Follower(Protocol):
    """A reader's private, ordered view of the log from a position on."""

    def batches(self) -> AsyncIterator[Batch]:
        """Batches without gap or repeat, for ever; survives broker restarts by starting again at its position."""
        ...

    async def settle(self) -> int:
        """A position up to which the log holds nothing this reader has not been given; asks the broker."""
        ...

    async def close(self) -> None: ...


class EventLog(Protocol):
    """An append-only, totally ordered log of events with a guard on every append."""

    async def append(self, writes: Sequence[Write]) -> list[int]:
        """Append all or nothing; returns the position of each.

        Raises:
            Conflict: another event stands on a guarded subject.
            TooLarge: more than `BATCH_MAX` writes.
            NotPermitted: the broker does not let this service write there.
            Unavailable: full, or no answer; nothing is known to be written and a retry with the same ids is safe.
        """
        ...

    async def history(
        self, subject: str, after: int = 0, limit: int | None = None, *, reaching: int = 0
    ) -> list[Recorded]:
        """The events of one subject after `after`, in order; the first `limit` of them where one is given.

        Any copy of the log may answer, and one that is behind has not the newest. Who reacts to an event of this very
        subject names its position in `reaching`, and gets no answer without it.

        Raises:
            Unavailable: no copy has `reaching` yet.
        """
        ...

    async def at(self, position: int) -> Recorded | None:
        """The one event at `position`, or None if the log does not reach it."""
        ...

    def follow(self, subjects: Sequence[str], after: int) -> Follower:
        """A reader of the subjects (NATS filters), beginning after `after`."""
        ...

    async def newest(self, subjects: Sequence[str]) -> int:
        """Position of the newest event on any of the subjects (NATS filters), 0 for none.

        Authoritative, where `history` and a follower may be behind an acknowledged append for a moment.
        """
        ...

    async def last_position(self) -> int:
        """Position of the newest event; 0 for an empty log."""
        ...

    async def incarnation(self) -> str:
        """An id made when the log was created: another id means another log, whatever its positions say."""
        ...

    async def imprint(self) -> str:
        """How the log is kept, to be compared with what it was before.

        Another one means that stored events may have been exchanged or lost behind their readers: the log was made
        anew or restored, the server asked was restarted, another one leads, or events are gone. The same one does not
        mean that nothing was changed: bytes can be changed in place on a running server's disk.
        """
        ...
