"""A run of the negative controls, on record. One law: it is written down as it came out, and never corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.evidence import Control, ControlsRun
from gpuaas.evidence.domain.records import UNSIGNED


@dataclass(frozen=True, slots=True)
class RecordControls:
    """Record what came out."""

    run_id: str
    rules: int
    controls: tuple[Control, ...]
    at: datetime
    statement_sha256: str = UNSIGNED


@dataclass(frozen=True, slots=True)
class Run:
    """`said`: what came out, once it is recorded."""

    said: ControlsRun | None = None


def ran(command: RecordControls) -> ControlsRun:
    """What `command` will say."""
    return ControlsRun(
        run_id=command.run_id,
        rules=command.rules,
        controls=command.controls,
        not_refused=sum(one.found != one.expected for one in command.controls),
        ran_at=command.at,
        statement_sha256=command.statement_sha256,
    )


def decide(command: RecordControls, run: Run) -> Sequence[Event]:
    if run.said is not None:
        raise Rejected("this run is recorded; run the controls again under a new id")
    return [ran(command)]


def evolve(_run: Run, event: Event) -> Run:
    match event:
        case ControlsRun() as said:
            return Run(said=said)
        case _:
            raise AssertionError(f"{event.TYPE} is not part of a run's history")


DECIDER: Final[Decider[Run, RecordControls]] = Decider(initial=Run(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(ControlsRun)
