"""The histories that evidence keeps. One law: one list of them, for doors, rooms and tests."""

from __future__ import annotations

from typing import Final

from gpuaas.common.commands import Entity
from gpuaas.evidence.domain import claim, controls_run, gate, release, requirement, waiver

SERVICE: Final = "evidence"
CLAIM: Final = Entity(SERVICE, "claim", claim.DECIDER, claim.VOCABULARY)
CONTROLS: Final = Entity(SERVICE, "controls", controls_run.DECIDER, controls_run.VOCABULARY)
GATE: Final = Entity(SERVICE, "gate", gate.DECIDER, gate.VOCABULARY)
RELEASE: Final = Entity(SERVICE, "release", release.DECIDER, release.VOCABULARY)
REQUIREMENT: Final = Entity(SERVICE, "requirement", requirement.DECIDER, requirement.VOCABULARY)
WAIVER: Final = Entity(SERVICE, "waiver", waiver.DECIDER, waiver.VOCABULARY)
