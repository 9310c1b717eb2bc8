"""What a fault means: rules as versioned data. One law: a verdict is a pure function of the rules and the whole life.

The rules ship as `fault_rules.v1.json`, which names what was compared with NVIDIA's documentation and what was not. The
ladder reset, reboot, inspect, repair is climbed when a step was ordered as often as the rules allow in the whole life
of the component, wherever it sat.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, TypeAlias


class FaultClass(StrEnum):
    APPLICATION = "application"
    DRIVER = "driver"
    MEMORY_CORRECTED = "memory-corrected"
    MEMORY_UNCORRECTED = "memory-uncorrected"
    ROW_REMAP = "row-remap"
    ROW_REMAP_FAILED = "row-remap-failed"
    ENGINE = "engine"
    FIRMWARE = "firmware"
    NVLINK = "nvlink"
    NVSWITCH = "nvswitch"
    NVSWITCH_FATAL = "nvswitch-fatal"
    PCIE = "pcie"
    OFF_THE_BUS = "off-the-bus"
    THERMAL = "thermal"
    HEARTBEAT_LOST = "heartbeat-lost"
    UNKNOWN = "unknown"


class ComponentCondition(StrEnum):
    """From best to worst."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    DEGRADED = "degraded"
    FAILED = "failed"


class Action(StrEnum):
    """The ladder, from nothing upwards."""

    NONE = "none"
    WATCH = "watch"
    RESET = "reset"
    REBOOT = "reboot"
    INSPECT = "inspect"
    REPAIR = "repair"


CONDITIONS: Final = tuple(ComponentCondition)
LADDER: Final = tuple(Action)
CLOSING: Final = frozenset({ComponentCondition.DEGRADED, ComponentCondition.FAILED})
"""Conditions in which a component's machine gets no new work."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one fault of a class comes to before the component's history is asked."""

    condition: ComponentCondition
    action: Action


@dataclass(frozen=True, slots=True)
class Verdict:
    condition: ComponentCondition
    action: Action


@dataclass(frozen=True, slots=True)
class Life:
    """What the rules ask of a component's past.

    Attributes:
        ordered: how often each action was ordered in its whole life.
        fault_count: its faults in its whole life.
    """

    condition: ComponentCondition = ComponentCondition.HEALTHY
    ordered: Mapping[Action, int] = field(default_factory=dict)
    fault_count: int = 0


@dataclass(frozen=True, slots=True)
class FaultRules:
    """One version of the rules.

    Attributes:
        attempts: action → how often it may be ordered in one component's life before the next rung.
        xid: NVIDIA driver code → class; a code that is not here is `unknown`.
    """

    version: str
    classes: Mapping[FaultClass, Meaning]
    attempts: Mapping[Action, int]
    xid: Mapping[int, FaultClass]

    @classmethod
    def read(cls, text: str) -> FaultRules:
        """Rules written as JSON.

        Raises:
            ValueError, KeyError, TypeError: not rules, a class without a meaning, or a code in two classes.
        """
        said = json.loads(text)
        xid: dict[int, FaultClass] = {}
        for name, codes in said["xid"].items():
            for code in codes:
                if code in xid:
                    raise ValueError(f"XID {code} is in two classes: {xid[code]} and {name}")
                xid[code] = FaultClass(name)
        return cls(
            version=str(said["version"]),
            classes={
                kind: Meaning(
                    ComponentCondition(said["classes"][kind]["condition"]), Action(said["classes"][kind]["action"])
                )
                for kind in FaultClass
            },
            attempts={Action(name): int(count) for name, count in said["attempts"].items()},
            xid=xid,
        )

    def class_of_xid(self, code: int) -> FaultClass:
        return self.xid.get(code, FaultClass.UNKNOWN)

    def class_of(self, reported: FaultClass, code: str | None) -> FaultClass:
        """The class of a report: these rules' own for an XID, else what was reported."""
        kind, _, number = (code or "").partition(" ")
        return self.class_of_xid(int(number)) if kind == "XID" and number.isdecimal() else reported

    def judge(self, fault: FaultClass, life: Life) -> Verdict:
        """The condition never gets better by a fault; the action climbs by what was ordered before."""
        meaning = self.classes[fault]
        action = self._climbed(meaning.action, life)
        condition = max(life.condition, meaning.condition, key=CONDITIONS.index)
        if LADDER.index(action) >= LADDER.index(Action.RESET):
            condition = max(condition, ComponentCondition.DEGRADED, key=CONDITIONS.index)
        return Verdict(condition, action)

    def _climbed(self, action: Action, life: Life) -> Action:
        if action is Action.NONE:
            return action
        while action is not Action.REPAIR and life.ordered.get(action, 0) >= self.attempts.get(action, 1):
            action = LADDER[LADDER.index(action) + 1]
        return action


def lived(life: Life, verdict: Verdict) -> Life:
    """The life after one more fault that was judged so."""
    ordered = {**life.ordered, verdict.action: life.ordered.get(verdict.action, 0) + 1}
    return Life(condition=verdict.condition, ordered=ordered, fault_count=life.fault_count + 1)


@dataclass(frozen=True, slots=True)
class Difference:
    """One fault that two versions of the rules judge differently; `turn`: which of the history it is, from 0."""

    component_id: str
    fault_number: int
    fault: FaultClass
    before: Verdict
    after: Verdict
    turn: int


Turn: TypeAlias = tuple[str, FaultClass | None, str | None]
"""(component id, its fault as it was reported, its code); without a fault: it recovered."""


def replayed(history: Iterable[Turn], before: FaultRules, after: FaultRules) -> list[Difference]:
    """Where two versions part over a history, before the newer one is switched on.

    Args:
        history: in the order of the log.
    """
    lives: dict[str, tuple[Life, Life]] = {}
    found: list[Difference] = []
    for turn, (component_id, fault, code) in enumerate(history):
        old, new = lives.get(component_id, (Life(), Life()))
        if fault is None:
            lives[component_id] = (recovered(old), recovered(new))
            continue
        verdicts = before.judge(before.class_of(fault, code), old), after.judge(after.class_of(fault, code), new)
        if verdicts[0] != verdicts[1]:
            found.append(Difference(component_id, old.fault_count + 1, fault, *verdicts, turn))
        lives[component_id] = (lived(old, verdicts[0]), lived(new, verdicts[1]))
    return found


def recovered(life: Life) -> Life:
    """Healthy again; what was ordered and what failed stays on record."""
    return Life(condition=ComponentCondition.HEALTHY, ordered=life.ordered, fault_count=life.fault_count)


@lru_cache(maxsize=1)
def provenance() -> dict[int, dict[str, Any]]:
    """XID → what NVIDIA's own table does about it (its bucket), and the names of the sources it was read in."""
    told = json.loads(files("gpuaas.nodes.domain").joinpath("fault_rules.v1.json").read_text("utf-8"))
    bucket = {code: name for name, codes in told["nvidia"].items() for code in codes}
    return {
        code: {
            "nvidia": name,
            "sources": [each["name"] for each in told["sources"] if each["codes"] == "all" or code in each["codes"]],
            "milder_because": told["milder"].get(str(code)),
        }
        for code, name in sorted(bucket.items())
    }


@lru_cache(maxsize=1)
def sources() -> list[dict[str, Any]]:
    """What the rules were compared with: name, address, and what it is."""
    told = json.loads(files("gpuaas.nodes.domain").joinpath("fault_rules.v1.json").read_text("utf-8"))
    return [{name: each[name] for name in ("name", "url", "about")} for each in told["sources"]]


@lru_cache(maxsize=1)
def built_in() -> FaultRules:
    """The rules this release ships with."""
    return FaultRules.read(files("gpuaas.nodes.domain").joinpath("fault_rules.v1.json").read_text("utf-8"))
