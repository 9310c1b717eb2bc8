"""The door to what runs: its log by ranges and by waiting, and further commands beside it. One law: a command is in the
trail before it runs, and a repeated request does not run it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.allocations.domain.allocation import Active, Allocation, Placed, Releasing, Unknown
from gpuaas.allocations.domain.orders import OrderCommand
from gpuaas.allocations.ports import LogPart, Run, Runtime
from gpuaas.allocations.reactions import ALLOCATION, run_of
from gpuaas.common.access import ABSENT
from gpuaas.common.errors import Conflict, NotFound, Rejected
from gpuaas.common.http import Body, Caller, permit
from gpuaas.common.service import Service
from pydantic import BaseModel, Field

LOG_BYTES_DEFAULT: Final = 65_536
LOG_BYTES_MAX: Final = 262_144
WAIT_S_MAX: Final = 25.0
LOOK_AGAIN_S: Final = 0.1
_UTF8_LONGEST: Final = 4
AllocationId = Annotated[str, Path(min_length=1, max_length=63)]
_ONE: Final = "/v1/tenants/{tenant_id}/projects/{project_id}/allocations/{allocation_id}"


class LogText(BaseModel):
    """Some of what a workload said.

    Attributes:
        text: decoded as UTF-8; what is not is replaced. A character is never cut in two.
        next_offset: ask for this offset next.
        size: bytes there are so far.
        complete: the workload has ended and this is all of it.
    """

    allocation_id: str
    offset: int
    next_offset: int
    size: int
    text: str
    complete: bool


class RunCommand(Body):
    """A command to run beside the workload. Keep secrets out, events are kept for ever."""

    command: tuple[str, ...] = Field(min_length=1, max_length=64)
    timeout_s: int = Field(default=30, ge=1, le=60, strict=True)


class CommandResult(BaseModel):
    """What came of a command; `output` is both its channels, cut to 64 KiB."""

    allocation_id: str
    exit_code: int
    output: str
    timed_out: bool


def door(service: Service, runtime: Runtime) -> APIRouter:
    """Logs for whoever may read the allocation, commands for whoever may execute in it."""
    router = APIRouter(tags=["workloads"])

    @router.get(_ONE + "/logs", summary="What the workload said, from a byte on; `wait_s` waits for more.")
    async def workload_log(
        tenant_id: str,
        project_id: str,
        allocation_id: AllocationId,
        caller: Annotated[Caller, Depends(permit("allocations.workload-log.read"))],
        offset: Annotated[int, Query(ge=0, lt=2**53, description="First byte wanted.")] = 0,
        limit_bytes: Annotated[int, Query(ge=_UTF8_LONGEST, le=LOG_BYTES_MAX)] = LOG_BYTES_DEFAULT,
        wait_s: Annotated[float, Query(ge=0, le=WAIT_S_MAX, description="Wait this long for more.")] = 0.0,
    ) -> LogText:
        state = await _visible(service, tenant_id, project_id, allocation_id)
        run = _run(state, allocation_id)
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            part = await runtime.read_log(run, offset, limit_bytes) if run is not None else _NOTHING_YET
            part = replace(part, complete=part.complete or state.name in _ENDED)
            if part.content or part.complete or asyncio.get_running_loop().time() >= deadline:
                return _text(allocation_id, offset, part, limit_bytes)
            await asyncio.sleep(LOOK_AGAIN_S)
            state = await _visible(service, tenant_id, project_id, allocation_id)
            run = _run(state, allocation_id)

    @router.post(_ONE + "/commands", summary="Run a command beside the workload and wait for its end.")
    async def run_command(
        tenant_id: str,
        project_id: str,
        allocation_id: AllocationId,
        ask: RunCommand,
        caller: Annotated[Caller, Depends(permit("allocations.workload.execute"))],
    ) -> CommandResult:
        state = await _visible(service, tenant_id, project_id, allocation_id)
        if not isinstance(state, Active):
            raise Rejected(f"allocation {allocation_id} is {state.name}: commands run beside an active one")
        order = OrderCommand(ask.command, ask.timeout_s)
        runtime.demand_commands_allowed()
        outcome = await service.commands.execute(ALLOCATION, tenant_id, allocation_id, order, caller.cause("command"))
        if outcome.repeated:
            raise Conflict("this command was run for an earlier request with the same key; what it said was told then")
        done = await runtime.execute(run_of(state), ask.command, float(ask.timeout_s))
        return CommandResult(
            allocation_id=allocation_id,
            exit_code=done.exit_code,
            output=done.output.decode("utf-8", "replace"),
            timed_out=done.timed_out,
        )

    return router


_ENDED: Final = frozenset({"released", "rejected"})
_NOTHING_YET: Final = LogPart(content=b"", size=0, complete=False)


async def _visible(service: Service, tenant_id: str, project_id: str, allocation_id: str) -> Any:
    state: Allocation
    state, _ = await service.commands.state(ALLOCATION, tenant_id, allocation_id)
    if isinstance(state, Unknown) or state.request.project_id != project_id:
        raise NotFound(ABSENT)
    return state


def _run(state: Allocation, allocation_id: str) -> Run | None:
    """What to ask the runtime about; None before it is placed."""
    if isinstance(state, Placed | Active | Releasing):
        return run_of(state)
    return Run(allocation_id, "", (), ()) if state.name in _ENDED else None


def _text(allocation_id: str, offset: int, part: LogPart, limit_bytes: int) -> LogText:
    content = part.content
    more_follows = not part.complete or len(content) == limit_bytes
    if more_follows:
        content = _whole_characters(content)
    next_offset = offset + len(content)
    return LogText(
        allocation_id=allocation_id,
        offset=offset,
        next_offset=next_offset,
        size=part.size,
        text=content.decode("utf-8", "replace"),
        complete=part.complete and next_offset >= part.size,
    )


def _whole_characters(content: bytes) -> bytes:
    """Without a character at the end of which only the beginning is there."""
    for back in range(1, min(_UTF8_LONGEST, len(content)) + 1):
        byte = content[-back]
        if byte & 0b1100_0000 == 0b1000_0000:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return content[:-back] if needed > back else content
    return content
