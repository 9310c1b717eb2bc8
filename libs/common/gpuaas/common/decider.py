"""The decider: how one entity answers commands. One law: pure, and the whole rule is these three fields.

Source: J. Chassaing, "Functional Event Sourcing Decider" (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

from gpuaas.common.events import Event

State = TypeVar("State")
Command = TypeVar("Command")


@dataclass(frozen=True, slots=True)
class Decider(Generic[State, Command]):
    """`decide(command, state)` gives the facts that follow or raises `Rejected`; `evolve` folds one fact."""

    initial: State
    decide: Callable[[Command, State], Sequence[Event]]
    evolve: Callable[[State, Event], State]

    def fold(self, events: Iterable[Event], start: State | None = None) -> State:
        """The state after `events`, beginning at `start` (default: the initial state)."""
        return reduce(self.evolve, events, self.initial if start is None else start)
