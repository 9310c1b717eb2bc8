"""What is under way to prove a machine again: a burn-in, a remedy. One law: what was tried is never forgotten."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

POLICY: Final = "policy:health"
"""Owner of the holds that verdicts place; nobody else lifts them."""


class Occasion(StrEnum):
    """Why a machine has to prove itself, from the mildest to the weightiest; of two the weightier stands."""

    RETURNED = "returned"
    SERVICED = "serviced"
    REMEDIED = "remedied"
    REPAIRED = "repaired"
    NEW = "new"


class Load(StrEnum):
    """What one step of a burn-in loads and checks."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    NETWORK = "network"
    GPU_MEMORY = "gpu-memory"
    GPU_COMPUTE = "gpu-compute"
    GPU_LINK = "gpu-link"


class RemedyAction(StrEnum):
    """What the platform can do about a component by itself, from the milder to the stronger."""

    RESET = "reset"
    REBOOT = "reboot"


@dataclass(frozen=True, slots=True)
class Trial:
    """One step, and the seconds it is expected to take; after twice that it has failed."""

    load: Load
    expected_s: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a burn-in, in order, as version `policy_version` of the policy names them."""

    name: str
    policy_version: str
    trials: tuple[Trial, ...]

    @property
    def loads(self) -> frozenset[Load]:
        return frozenset(trial.load for trial in self.trials)


@dataclass(frozen=True, slots=True)
class BurnIn:
    """A burn-in under way.

    Attributes:
        passed: how many of its steps have passed.
        since: when the step that is under way was begun.
    """

    plan: str
    trials: tuple[Trial, ...]
    started_at: datetime
    since: datetime
    passed: int = 0

    @property
    def done(self) -> bool:
        return self.passed == len(self.trials)


@dataclass(frozen=True, slots=True)
class Remedy:
    """A reset or reboot that answers a component's fault; `outcome` None: it is under way."""

    component_id: str
    fault_number: int
    action: RemedyAction
    slot: int | None
    started_at: datetime
    outcome: str | None = None

    def answers(self, component_id: str, fault_number: int, action: RemedyAction) -> bool:
        return (self.component_id, self.fault_number, self.action) == (component_id, fault_number, action)


@dataclass(frozen=True, slots=True)
class RemedyPolicy:
    """Whether resets and reboots are carried out by the platform here, and within which real seconds each ends."""

    enabled: bool
    timeout_s: float


def weightier(one: Occasion | None, other: Occasion) -> Occasion:
    """Of two occasions the one that asks for more proof."""
    order = list(Occasion)
    return other if one is None or order.index(other) > order.index(one) else one


def with_outcome(remedy: Remedy, outcome: str) -> Remedy:
    return replace(remedy, outcome=outcome)
