"""Divergences: where the log is not what the trail has seen. One law: a finding is said once and never unsaid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.audit import DivergenceFound, DivergenceKind


@dataclass(frozen=True, slots=True)
class ReportDivergence:
    """Order the record of a finding.

    Attributes:
        expected_sha256, found_sha256: digests (hex) of the bytes the trail holds and of those found; None: no bytes.
    """

    kind: DivergenceKind
    position: int
    expected_sha256: str | None
    found_sha256: str | None
    detail: str

    @property
    def divergence_id(self) -> str:
        """One history for each kind and position."""
        return f"{self.kind}-{self.position}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing found there."""


@dataclass(frozen=True, slots=True)
class Found:
    """The finding that stands."""

    expected_sha256: str | None
    found_sha256: str | None


DivergenceState = Unknown | Found


def decide(command: ReportDivergence, state: DivergenceState) -> list[Event]:
    """The finding, nothing if it stands already, or one more if the log has changed again."""
    if state == Found(command.expected_sha256, command.found_sha256):
        return []
    if command.position < 0:
        raise Rejected("a divergence stands at a position of the log")
    return [
        DivergenceFound(
            kind=command.kind,
            position=command.position,
            expected_sha256=command.expected_sha256,
            found_sha256=command.found_sha256,
            detail=command.detail[:1000],
        )
    ]


def evolve(_: DivergenceState, event: Event) -> DivergenceState:
    """What stands after the event."""
    match event:
        case DivergenceFound() as found:
            return Found(found.expected_sha256, found.found_sha256)
        case _:
            raise AssertionError(f"{type(event).__name__} is not of a divergence")


DIVERGENCES: Final[Decider[DivergenceState, ReportDivergence]] = Decider(
    initial=Unknown(), decide=decide, evolve=evolve
)
