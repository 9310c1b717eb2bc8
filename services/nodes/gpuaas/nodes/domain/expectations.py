"""How long a machine may stay where it is, and what then. One law: a list of steps, in order, and then an end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Final

from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import NodeStateOverdue
from gpuaas.nodes.domain.axes import Lifecycle, Node
from gpuaas.nodes.domain.orders import RecordOverdue

STEPS_MAX: Final = 16
EXPECTED_S_MAX: Final = 365 * 86_400


class Step(StrEnum):
    """What can be done about a machine that stays too long."""

    ONBOARD_AGAIN = "onboard-again"
    LOOK_AGAIN = "look-again"
    WIPE_AGAIN = "wipe-again"
    POWER_CYCLE = "power-cycle"
    CALL_A_PERSON = "call-a-person"


@dataclass(frozen=True, slots=True)
class Expectation:
    """Seconds in a state, and the steps taken one after the other, each after that time again."""

    expected_s: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Expectations:
    """One version of them; a state that is not there may last for ever."""

    version: str
    states: Mapping[Lifecycle, Expectation]

    @classmethod
    def read(cls, text: str) -> Expectations:
        """Expectations written as JSON. Raises ValueError, KeyError, TypeError: they are none."""
        told = json.loads(text)
        states = {
            Lifecycle(name): Expectation(int(each["expected_s"]), tuple(Step(step) for step in each["steps"]))
            for name, each in told["states"].items()
        }
        for name, each in states.items():
            if not 1 <= each.expected_s <= EXPECTED_S_MAX or not 1 <= len(each.steps) <= STEPS_MAX:
                raise ValueError(f"{name}: use 1 to {EXPECTED_S_MAX} s and 1 to {STEPS_MAX} steps")
        return cls(str(told["version"]), states)


@lru_cache(maxsize=1)
def usual() -> Expectations:
    """What this release ships with."""
    return Expectations.read(files("gpuaas.nodes.domain").joinpath("expectations.v1.json").read_text("utf-8"))


def overdue(node: Node, found: RecordOverdue) -> list[Event]:
    """The next step for a machine that is where it was found; nothing where its list has ended.

    Raises:
        Rejected: it has moved on, or its time for this step is not over.
    """
    if node.lifecycle.value != found.lifecycle:
        raise Rejected(f"node {node.node_id} is {node.lifecycle.value} by now, and not {found.lifecycle}")
    if node.overdue >= len(found.steps):
        return []
    due_at = found.since + timedelta(seconds=found.expected_s * (node.overdue + 1))
    if found.now < due_at:
        raise Rejected(f"node {node.node_id} has until {due_at.isoformat()}")
    return [_said(node, found, due_at)]


def _said(node: Node, found: RecordOverdue, due_at: datetime) -> NodeStateOverdue:
    return NodeStateOverdue(
        node_id=node.node_id,
        lifecycle=node.lifecycle.value,
        since=found.since,
        expected_s=found.expected_s,
        overdue_at=max(found.now, due_at),
        attempt=node.overdue + 1,
        step=Step(found.steps[node.overdue]).value,
        policy_version=found.policy_version,
        withheld=None if found.enabled else True,
    )
