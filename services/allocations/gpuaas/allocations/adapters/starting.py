"""Starting a workload at a runtime that may fail. One law: tried a bounded number of times, and what may have been
started is stopped before anybody else gets its GPUs.

A call that found no answer is not believed to have failed: `start` leaves alone what already runs under its name, so
the next call observes it. What is refused (no such image, not allowed) is not tried again here; whether the request is,
its own retry policy says.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Final

from gpuaas.allocations.ports import Run, Runtime
from gpuaas.common.errors import Rejected, Unavailable

TRIES_MAX: Final = 6
FIRST_WAIT_S: Final = 0.25
"""Real seconds before the second try; doubled with each further one."""
_log: Final = logging.getLogger(__name__)


async def begun(runtime: Runtime, run: Run, tries_max: int = TRIES_MAX, wait_s: float = FIRST_WAIT_S) -> datetime | str:
    """Prepare and start `run`: when it started, or in words why it could not be."""
    detail = "nobody tried"
    for tried in range(1, tries_max + 1):
        try:
            await runtime.prepare(run)
            return await runtime.start(run)
        except Rejected as refused:
            return f"the runtime refuses to start it: {refused.detail}"
        except Unavailable as away:
            _log.warning("start of %s, try %d of %d: %s", run.allocation_id, tried, tries_max, away.detail)
            detail = f"the runtime could not start it in {tried} tries: {away.detail}"
        if tried < tries_max:
            await asyncio.sleep(wait_s * 2 ** (tried - 1))
    return detail
