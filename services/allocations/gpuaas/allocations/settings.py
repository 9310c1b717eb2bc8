"""What allocations is told beyond the settings of every service. One law: read once, at the start."""

from __future__ import annotations

from typing import Literal, Self

from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.common.settings import DURABLE_PROFILES, PREFIX, Settings
from pydantic import Field, model_validator


class AllocationsSettings(Settings):
    """Settings of the allocations service.

    Attributes:
        placement_policy: how a node is chosen among those that fit.
        runtime: what runs the workloads: `sim` only keeps time, `process` starts a real process here for each.
        stop_grace_s: with `process`: real seconds between asking a workload to end and ending it.
        exec_policy: with `process`: whether those who may, may run commands beside a workload.
        lease_notice_s: a tenant is told this long before a lease ends, or when three quarters of a shorter one are
            over; 0: never.
        node_grace_s: seconds of this world for which a machine may be silent before what stands on it ends.
    """

    placement_policy: Policy = LEAST_FRAGMENTS
    runtime: Literal["sim", "process"] = "sim"
    stop_grace_s: float = Field(default=10.0, ge=0, le=600)
    exec_policy: Literal["refused", "allowed"] = "refused"
    lease_notice_s: int = Field(default=3_600, ge=0, le=604_800)
    node_grace_s: int = Field(default=600, ge=1, le=604_800)

    @model_validator(mode="after")
    def _runs_safely(self) -> Self:
        if self.runtime == "process" and self.profile in DURABLE_PROFILES:
            raise ValueError(
                f"the process runtime is no sandbox and the {self.profile} profile refuses it; use another runtime"
            )
        if self.runtime == "process" and self.clock_pace is not None:
            raise ValueError(f"the process runtime runs on real time; unset {PREFIX}CLOCK_PACE or use the sim runtime")
        return self
