"""A machine under load before it is available: the policy, its steps, and their ends. One law: no step is skipped.

Which plan a pool's machines run, and on which occasion, is data with a version. A step that fails, is refused or is
late sends the machine to repair; what failed is then reported as a fault of its component.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    BurnInTrial,
    Mismatch,
    NodeBecameAvailable,
    NodeBurnInStarted,
    NodeBurnInStepEnded,
    NodeHardwareObserved,
    NodeMaintenanceStarted,
    NodeRemedyStarted,
    NodeSanitizingStarted,
    NodeValidationFailed,
)
from gpuaas.nodes.domain.axes import Node
from gpuaas.nodes.domain.faults import FaultClass
from gpuaas.nodes.domain.hardware import DIFFERENCE_MAX, Field
from gpuaas.nodes.domain.orders import RecordBurnInStep
from gpuaas.nodes.domain.proofs import BurnIn, Load, Occasion, Plan, Trial, weightier

TRIALS_MAX: Final = 16
EXPECTED_S_MAX: Final = 604_800
LATE_AFTER: Final = 2
"""Times the expected seconds after which a step that has not reported has failed."""
PASSED: Final = "passed"
HOST: Final = "host"
"""The plan of machines whose GPUs nobody can load."""
GPU_LOADS: Final = frozenset({Load.GPU_MEMORY, Load.GPU_COMPUTE, Load.GPU_LINK})
FAULT_OF: Final[Mapping[Load, FaultClass]] = {
    Load.CPU: FaultClass.UNKNOWN,
    Load.MEMORY: FaultClass.UNKNOWN,
    Load.DISK: FaultClass.UNKNOWN,
    Load.NETWORK: FaultClass.UNKNOWN,
    Load.GPU_MEMORY: FaultClass.MEMORY_UNCORRECTED,
    Load.GPU_COMPUTE: FaultClass.ENGINE,
    Load.GPU_LINK: FaultClass.NVLINK,
}
"""What a step that failed says about the component that failed it."""
_DUE: Final[Mapping[type[Event], Occasion]] = {
    NodeValidationFailed: Occasion.REPAIRED,
    NodeRemedyStarted: Occasion.REMEDIED,
    NodeMaintenanceStarted: Occasion.SERVICED,
    NodeSanitizingStarted: Occasion.RETURNED,
}


@dataclass(frozen=True, slots=True)
class BurnInPolicy:
    """One version of the policy: pool → occasion → plan; `usual` for pools that are not named."""

    version: str
    plans: Mapping[str, Plan]
    usual: Mapping[Occasion, str | None]
    pools: Mapping[str, Mapping[Occasion, str | None]]

    @classmethod
    def read(cls, text: str, profile: str) -> BurnInPolicy:
        """A policy written as JSON, for one profile. Raises ValueError, KeyError, TypeError, AttributeError: none."""
        told = json.loads(text)
        version = str(told["version"])
        plans = {name: Plan(name, version, _trials(name, steps)) for name, steps in told["plans"].items()}
        usual = _named(told["usual"][profile], plans)
        pools = {pool_id: {**usual, **_named(said, plans)} for pool_id, said in told.get("pools", {}).items()}
        return cls(version, plans, usual, pools)

    def plan_for(self, pool_id: str, occasion: Occasion | None) -> Plan | None:
        """The plan for a machine of the pool; None: it needs none."""
        if occasion is None:
            return None
        name = self.pools.get(pool_id, self.usual).get(occasion)
        return None if name is None else self.plans[name]

    def without_gpus(self) -> BurnInPolicy:
        """The same with the plan `host` for every plan that loads GPUs. Raises KeyError, ValueError: there is none."""
        if self.plans[HOST].loads & GPU_LOADS:
            raise ValueError(f"the plan {HOST} loads GPUs")
        instead = {name: HOST if plan.loads & GPU_LOADS else name for name, plan in self.plans.items()}

        def on_host(said: Mapping[Occasion, str | None]) -> dict[Occasion, str | None]:
            return {occasion: None if name is None else instead[name] for occasion, name in said.items()}

        pools = {pool_id: on_host(said) for pool_id, said in self.pools.items()}
        return replace(self, usual=on_host(self.usual), pools=pools)

    def beyond(self, loads: frozenset[Load]) -> dict[str, frozenset[Load]]:
        """Plans that some machine may have to run → what of them a provider with these `loads` cannot do."""
        used = {name for told in (self.usual, *self.pools.values()) for name in told.values() if name is not None}
        lacking = {name: self.plans[name].loads - loads for name in sorted(used)}
        return {name: missing for name, missing in lacking.items() if missing}


def _trials(name: str, steps: list[Any]) -> tuple[Trial, ...]:
    trials = tuple(Trial(Load(step["step"]), int(step["expected_s"])) for step in steps)
    if not 1 <= len(trials) <= TRIALS_MAX or any(not 1 <= each.expected_s <= EXPECTED_S_MAX for each in trials):
        raise ValueError(f"{name}: use 1 to {TRIALS_MAX} steps of 1 to {EXPECTED_S_MAX} s")
    return trials


def _named(said: Mapping[str, str | None], plans: Mapping[str, Plan]) -> dict[Occasion, str | None]:
    for name in said.values():
        if name is not None and name not in plans:
            raise ValueError(f"there is no plan {name}; there are {', '.join(sorted(plans))}")
    return {Occasion(occasion): name for occasion, name in said.items()}


@lru_cache(maxsize=8)
def usual_policy(profile: str) -> BurnInPolicy:
    """What this release ships with."""
    return BurnInPolicy.read(files("gpuaas.nodes.domain").joinpath("burn_in.v1.json").read_text("utf-8"), profile)


def started(node: Node, plan: Plan, now: datetime) -> NodeBurnInStarted:
    """The order of a burn-in for a machine that is as ordered and clean."""
    assert node.proof_due is not None
    return NodeBurnInStarted(
        node_id=node.node_id,
        plan=plan.name,
        policy_version=plan.policy_version,
        occasion=node.proof_due.value,
        steps=tuple(BurnInTrial(step=each.load.value, expected_s=each.expected_s) for each in plan.trials),
        started_at=now,
    )


def step_ended(node: Node, report: RecordBurnInStep) -> list[Event]:
    """The end of the step that is under way; of one that ended before there is nothing to add.

    Raises:
        Rejected: no burn-in is under way, or a step before it has not ended.
    """
    burn_in = node.burn_in
    if burn_in is None:
        raise Rejected(f"node {node.node_id} is not burnt in now; nothing of it is recorded")
    if report.number <= burn_in.passed:
        return []
    if report.number != burn_in.passed + 1 or burn_in.done:
        raise Rejected(f"step {report.number} of node {node.node_id} has not begun; {burn_in.passed} have ended")
    if report.outcome not in (PASSED, "failed", "refused", "late"):
        raise Invalid(f"outcome {report.outcome!r} is none; use passed, failed, refused or late")
    trial = burn_in.trials[burn_in.passed]
    devices = node.hardware.devices if node.hardware else ()
    ended = NodeBurnInStepEnded(
        node_id=node.node_id,
        number=report.number,
        step=trial.load.value,
        outcome=report.outcome,
        expected_s=trial.expected_s,
        detail=report.detail[:500] or "no detail",
        ended_at=report.now,
        device_id=next((device.device_id for device in devices if device.slot == report.slot), None),
        measured=report.measured,
        unit=report.unit,
        report_sha256=report.report_sha256,
    )
    if report.outcome == PASSED:
        return [ended]
    observed = f"{report.outcome}: {report.detail}"[:DIFFERENCE_MAX]
    mismatch = Mismatch(field=Field.BURN_IN, expected=f"{trial.load.value} passes", observed=observed)
    return [ended, NodeValidationFailed(node_id=node.node_id, mismatches=(mismatch,))]


def with_proofs(node: Node, event: Event) -> Node:
    """The node after an event that asks for a proof or gives one; other events change nothing here."""
    if (occasion := _DUE.get(type(event))) is not None:
        return replace(node, burn_in=None, proof_due=weightier(node.proof_due, occasion))
    match event:
        case NodeHardwareObserved():
            return replace(node, burn_in=None)
        case NodeBurnInStarted() as fact:
            trials = tuple(Trial(Load(each.step), each.expected_s) for each in fact.steps)
            return replace(node, burn_in=BurnIn(fact.plan, trials, fact.started_at, fact.started_at))
        case NodeBurnInStepEnded(outcome="passed") as fact if node.burn_in is not None:
            return replace(node, burn_in=replace(node.burn_in, passed=fact.number, since=fact.ended_at))
        case NodeBecameAvailable():
            proved_at = node.burn_in.started_at if node.burn_in is not None else node.burned_in_at
            return replace(node, burn_in=None, proof_due=None, burned_in_at=proved_at)
        case _:
            return node
