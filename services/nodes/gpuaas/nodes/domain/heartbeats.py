"""Which nodes have fallen silent. One law: only the time a heartbeat was *received* counts, never what its sender says.

Deterministic: every moment comes in as an argument, in seconds of one steady real clock of the receiver.
Bounded: one small record per watched node, whatever arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

WATCHED_MAX: Final = 100_000


class Receipt(StrEnum):
    """What became of one heartbeat."""

    COUNTED = "counted"
    TOO_SOON = "too-soon"
    OLD = "old"
    NOT_WATCHED = "not-watched"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long silence is borne.

    Attributes:
        silence_s: silence after which a node is lost.
        grace_s: time after the start of the watch, or of watching a node, in which nothing is declared lost.
        beat_min_s: beats of one node that follow each other faster are not counted.
    """

    silence_s: float
    grace_s: float
    beat_min_s: float = 0.5

    def __post_init__(self) -> None:
        if not (self.silence_s > 0 and self.grace_s >= 0 and 0 <= self.beat_min_s < self.silence_s):
            raise ValueError("patience needs silence_s > beat_min_s >= 0 and grace_s >= 0")


@dataclass(frozen=True, slots=True)
class Lost:
    """Verdict: nothing was heard from the node for too long; `last_seen_at` is when it last was."""

    node_id: str
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Restored:
    """Verdict: a node that counted as lost was heard again at `seen_at`."""

    node_id: str
    seen_at: datetime


Verdict = Lost | Restored


@dataclass(frozen=True, slots=True)
class _Watched:
    since_s: float
    heard_s: float
    heard_at: datetime
    heard: bool
    lost: bool


@dataclass(slots=True)
class HeartbeatWatch:
    """The last sign of life per node, and what follows from it.

    Args:
        patience: the thresholds.
        started_s: when this watch began, on the receiver's steady clock.
    """

    patience: Patience
    started_s: float
    _nodes: dict[str, _Watched] = field(default_factory=dict)

    def watch(self, nodes: Mapping[str, bool], now_s: float, now_at: datetime) -> None:
        """From now on watch exactly `nodes`.

        Args:
            nodes: node id → whether the log counts it as lost already; at most `WATCHED_MAX`.
            now_s, now_at: this moment on the steady clock and in world time.
        """
        if len(nodes) > WATCHED_MAX:
            raise ValueError(f"{len(nodes)} nodes to watch; one watch carries {WATCHED_MAX}")
        for gone in self._nodes.keys() - nodes.keys():
            del self._nodes[gone]
        for node_id, lost in nodes.items():
            known = self._nodes.get(node_id)
            if known is None:
                self._nodes[node_id] = _Watched(now_s, now_s, now_at, heard=False, lost=lost)
            elif known.lost != lost:
                self._nodes[node_id] = replace(known, lost=lost)

    def beat(self, node_id: str, received_s: float, received_at: datetime) -> Receipt:
        """One heartbeat of `node_id`, received at `received_s` (steady clock) = `received_at` (world time)."""
        known = self._nodes.get(node_id)
        if known is None:
            return Receipt.NOT_WATCHED
        if known.heard and received_s < known.heard_s:
            return Receipt.OLD
        if known.heard and received_s - known.heard_s < self.patience.beat_min_s:
            return Receipt.TOO_SOON
        self._nodes[node_id] = replace(known, heard_s=received_s, heard_at=received_at, heard=True)
        return Receipt.COUNTED

    def verdicts(self, now_s: float) -> list[Verdict]:
        """What has changed by `now_s` against what the log says, in order of node id.

        A verdict is repeated until `watch` is told that the log has it: the command behind it is idempotent.
        """
        found = (self._verdict(node_id, watched, now_s) for node_id, watched in self._nodes.items())
        return sorted((verdict for verdict in found if verdict is not None), key=lambda v: v.node_id)

    def _verdict(self, node_id: str, watched: _Watched, now_s: float) -> Verdict | None:
        silence_s = now_s - watched.heard_s
        if watched.lost:
            fresh = watched.heard and silence_s < self.patience.silence_s
            return Restored(node_id, watched.heard_at) if fresh else None
        in_grace = now_s - max(self.started_s, watched.since_s) < self.patience.grace_s
        if in_grace or silence_s < self.patience.silence_s:
            return None
        return Lost(node_id, watched.heard_at)
