"""The log kernel: a command against a raw publish, a rebuild against COPY. One law: both sides in turn, in one run."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.embedded.process import free_port
from gpuaas.common.http import Accepted, Caller, permit
from gpuaas.common.service import Service
from gpuaas.common.settings import Settings
from gpuaas.common.testing.counter import COUNTER, CounterValues, Open, Raise, cause
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import running
from gpuaas.common.testing.stack import TestStack

from tests.bench.on_the_log import copy_rate, fill, fresh_log, kept, open_database, rebuild_rate_of
from tests.bench.rows import Row, at_least, at_most, in_turn
from tests.bench.wire_client import WireClient

COMMANDS_PER_BLOCK: Final = 250
REBUILT_EVENTS: Final = 60_000
FILLER: Final = b"x" * 700


async def command_latency(stack: TestStack) -> list[Row]:
    """execute() to a durable event, new and existing entities, against nats-py's acknowledged publish of equal size."""
    async with fresh_log(stack) as log:
        commands = Commands(log, WallClock(), "testing", "dev")
        jetstream = log.wire.client.jetstream()

        async def raw(number: int) -> None:
            await jetstream.publish(f"events.bench.raw.acme.r{number}", FILLER)

        async def opened(number: int) -> None:
            await commands.execute(COUNTER, "acme", f"c{number}", Open("x"), cause(), fresh=True)

        async def raised(_: int) -> None:
            await commands.execute(COUNTER, "acme", "c0", Raise(1), cause())

        baseline, fresh, again = await in_turn(raw, opened, raised, calls=COMMANDS_PER_BLOCK)
        base_us = baseline * 1e6
        is_raw = "a raw acknowledged publish"
        return [
            at_most(
                "command to durable event, new entity", fresh * 1e6, "µs", ratio=2, baseline=base_us, baseline_is=is_raw
            ),
            at_most(
                "command to durable event, known entity",
                again * 1e6,
                "µs",
                ratio=2,
                baseline=base_us,
                baseline_is=is_raw,
            ),
        ]


def _counting(settings: Settings) -> Service:
    service = Service("testing", settings)
    router = APIRouter()

    @router.post("/v1/tenants/{tenant_id}/counters/{counter_id}")
    async def open_counter(
        tenant_id: str, counter_id: str, caller: Annotated[Caller, Depends(permit("testing.counter.open"))]
    ) -> Accepted:
        done = await service.commands.execute(COUNTER, tenant_id, counter_id, Open("x"), caller.cause(), fresh=True)
        return caller.accepted(done, counter_id)

    service.serve(router)
    return service


async def door_latency(stack: TestStack) -> list[Row]:
    """A command through HTTP (client and server in one process) against a raw acknowledged publish."""
    async with stack.fresh_log() as address, stack.fresh_database() as dsn:
        settings = Settings(
            nats_url=address.url, postgres_dsn=dsn, http_port=free_port(), log_level="ERROR", requests_per_s=1_000_000
        )
        service = _counting(settings)
        async with running(service):
            headers = await (await Identities.on(service.log)).member("acme")
            jetstream = service.broker.connection.jetstream()

            async def raw(number: int) -> None:
                await jetstream.publish(f"events.bench.raw.acme.r{number}", FILLER)

            async with WireClient(settings.http_host, settings.http_port, headers) as client:

                async def asked(number: int) -> None:
                    status, said = await client.post(f"/v1/tenants/acme/counters/c{number}")
                    assert status == 200, said

                baseline, value = await in_turn(raw, asked, calls=COMMANDS_PER_BLOCK)
    return [
        at_most(
            "HTTP door to durable event",
            value * 1e6,
            "µs",
            ratio=6,
            baseline=baseline * 1e6,
            baseline_is="a raw acknowledged publish",
        )
    ]


async def rebuild_rate(stack: TestStack) -> list[Row]:
    """A simple projection folded from position 0, against COPY of the same rows."""
    async with fresh_log(stack) as log, open_database(stack) as database:
        await fill(log, REBUILT_EVENTS)
        async with kept(CounterValues(), log, database) as projector:
            rate = await rebuild_rate_of(projector, REBUILT_EVENTS)
        rows = [(f"events.testing.counter.acme.s{number}", 0, number) for number in range(REBUILT_EVENTS)]
        copied = await copy_rate(database, "counter text PRIMARY KEY, value bigint, position bigint", rows)
    return [
        at_least("projection rebuild", rate, "events/s", 30_000),
        Row(
            "projection rebuild against COPY",
            rate,
            "events/s",
            copied,
            rate / copied,
            "≥ 0.5 × COPY",
            rate >= copied / 2,
        ),
    ]
