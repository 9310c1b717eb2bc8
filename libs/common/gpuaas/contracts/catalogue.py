"""All events of the suite. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gpuaas.common.events import Event
from gpuaas.contracts import allocations
from gpuaas.contracts import audit
from gpuaas.contracts import billing
from gpuaas.contracts import evidence
from gpuaas.contracts import iam
from gpuaas.contracts import inventory
from gpuaas.contracts import nodes

ALL: tuple[type[Event], ...] = (
    *allocations.EVENTS,
    *audit.EVENTS,
    *billing.EVENTS,
    *evidence.EVENTS,
    *iam.EVENTS,
    *inventory.EVENTS,
    *nodes.EVENTS,
)
"""The newest version of every event, by service."""

BY_TYPE: Mapping[str, type[Event]] = MappingProxyType({event.TYPE: event for event in ALL})
"""CloudEvents type → class."""
