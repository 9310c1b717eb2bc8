"""Every event names the one before it in its history. One law: what a copy of the log leaves out is noticed.

A server whose stored copy of a message is damaged passes over it without a word, to consumers and to direct gets. But
each append carried a guard, the position of the newest event on its subject, and the guard is stored with the message.
So whoever reads whole histories can tell that one is missing as soon as its successor arrives. The newest event of a
history has no successor yet; its loss is found by audit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpuaas.common.envelope import Recorded
from gpuaas.common.errors import Unreadable
from gpuaas.common.logs.wire import EXPECTED_LAST


class Missed(Unreadable):
    """An event was passed over by the broker.

    Attributes:
        position: where it stands.
    """

    def __init__(self, position: int, told_by: Recorded) -> None:
        super().__init__(
            f"position {position} of {told_by.subject} was never delivered, and {told_by.position} follows it: the "
            "server's copy is damaged. Heal it from another copy, then rebuild what had read past it."
        )
        self.position = position


def stated(headers: Mapping[str, str]) -> int | None:
    """The guard that a stored message was appended with; None: without."""
    guard = headers.get(EXPECTED_LAST)
    return int(guard) if guard is not None and guard.isdecimal() else None


def missing_before(history: Sequence[Recorded], after: int) -> int:
    """Position of the first event that one subject's `history` after `after` leaves out; 0: none is known to be."""
    known = after
    for recorded in history:
        if recorded.decided_on is not None and recorded.decided_on > known:
            return recorded.decided_on
        known = recorded.position
    return 0


class Delivered:
    """What one reader of whole histories has been given, a bit for each position.

    Args:
        after: it is given everything that matches after this position, and is told nothing about what stands before.
    """

    def __init__(self, after: int) -> None:
        self._after = after
        self._bits = bytearray()

    def take(self, events: Sequence[Recorded]) -> None:
        """Note events in the order of the log.

        Raises:
            Missed: one of them follows an event of its history that was not delivered.
        """
        if not events:
            return
        needed = ((events[-1].position - self._after) >> 3) + 1
        if needed > len(self._bits):
            self._bits.extend(bytes(max(needed - len(self._bits), len(self._bits))))
        for event in events:
            before = event.decided_on
            if before is not None and before > self._after:
                at = before - self._after
                if not self._bits[at >> 3] >> (at & 7) & 1:
                    raise Missed(before, event)
            at = event.position - self._after
            self._bits[at >> 3] |= 1 << (at & 7)
