"""A service that hangs, and a clock that jumps. One law: order is the log's; slowness and time cannot change it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from time import monotonic
from typing import Final

import pytest
from gpuaas.cli.readiness import asked
from gpuaas.common.clock import Pace

from tests.drills.ordeal import RATE, Night, lines, night

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.long]
HANGS_S: Final = 12.0
STEPS: Final = (timedelta(minutes=30), -timedelta(minutes=45))
SLOW: Final = ("billing", "audit", "inventory")


async def test_services_hang_and_catch_up_without_losing_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    async def fault(passing: Night) -> None:
        pids = [pid for name in SLOW if (pid := passing.world.stack.pid(name)) is not None]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            before, began = len(passing.load.acknowledged), monotonic()
            await asyncio.sleep(HANGS_S)
            passing.figures["acknowledged_meanwhile"] = len(passing.load.acknowledged) - before
            assert passing.figures["acknowledged_meanwhile"] > 0, "others waited for the ones that hang"
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        began = monotonic()
        told = (await asked(passing.world.endpoints.ports["billing"])).told
        behind = [reader["position"] for reader in told.get("readers", ())]
        passing.figures["furthest_behind_events"] = max(0, (told.get("log_position") or 0) - min(behind, default=0))
        passing.figures["recovered_s"] = await passing.recovered(began)

    figures = await night("slow-services", fault)
    with capsys.disabled():
        print(lines(figures))


async def test_the_clock_of_one_service_jumps_forward_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    async def fault(passing: Night) -> None:
        for step in STEPS:
            moved = Pace(time.time(), passing.world.clock.now() + step, RATE)
            passing.world.stack.remember({"GPUAAS_CLOCK_PACE": moved.encode()})
            began = monotonic()
            await passing.world.stack.restart("allocations")
            passing.figures[f"jump_{int(step.total_seconds())}_s_recovered_s"] = monotonic() - began
            await passing.acknowledged(15)
        true = Pace(time.time(), passing.world.clock.now(), RATE)
        passing.world.stack.remember({"GPUAAS_CLOCK_PACE": true.encode()})
        await passing.world.stack.restart("allocations")

    figures = await night("clock-step", fault)
    with capsys.disabled():
        print(lines(figures))
