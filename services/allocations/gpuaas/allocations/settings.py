"""What allocations is told beyond the settings of every service. One law: read once, at the start."""

from __future__ import annotations

from typing import Literal

from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS, Policy
from gpuaas.common.settings import Settings


class AllocationsSettings(Settings):
    """Settings of the allocations service.

    Attributes:
        placement_policy: how a node is chosen among those that fit.
        runtime: what runs the workloads.
    """

    placement_policy: Policy = LEAST_FRAGMENTS
    runtime: Literal["sim"] = "sim"
