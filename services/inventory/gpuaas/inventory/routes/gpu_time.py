"""The door to where GPUs' time went and how the fleet stood at a moment. One law: what does not add up is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from gpuaas.common.clock import Clock
from gpuaas.common.errors import Invalid
from gpuaas.common.http import YEARS, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.projections import Database
from gpuaas.inventory.domain.conservation import BUCKETS, GpuTime, Window, instant_ms, moment_of
from gpuaas.inventory.projections.fleet_capacity import DIMENSIONS
from gpuaas.inventory.projections.gpu_time import FILTERS, GpuTimes, Sums

Text = Annotated[str | None, Query(max_length=64)]
BY_DEFAULT: Final = "pool_id,gpu_model"
By = Annotated[str, Query(max_length=100, description="Dimensions, with commas; empty: the total alone.")]
When = Annotated[datetime | None, Query(description="World time with its zone.")]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which GPUs a question is about."""

    wanted: Mapping[str, str]


def chosen(
    region: Text = None,
    site: Text = None,
    pod: Text = None,
    rack: Text = None,
    pool_id: Text = None,
    gpu_model: Text = None,
    machine_id: Text = None,
    serial: Text = None,
) -> Chosen:
    """The filters every question of this file takes."""
    given = (region, site, pod, rack, pool_id, gpu_model, machine_id, serial)
    return Chosen({name: value for name, value in zip(FILTERS, given, strict=True) if value is not None})


Filters = Annotated[Chosen, Depends(chosen)]


def gpu_time_routes(door: APIRouter, times: GpuTimes, database: Database, clock: Clock) -> None:
    """Add the routes of this file."""
    seen = Depends(fresh(times))

    @door.get(
        "/conservation", dependencies=[seen], summary="Where GPU time went; it adds up, or it says by how much not."
    )
    async def get_conservation(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))],
        asked: Filters,
        since: When = None,
        until: When = None,
        by: By = BY_DEFAULT,
    ) -> dict[str, Any]:
        window = await _window(times, database, clock, since, until)
        dimensions = dimensions_of(by)
        found = await times.sums(database, window, dimensions, asked.wanted)
        total = Sums()
        for sums in found.values():
            total.gpus += sums.gpus
            total.time += sums.time
        whole = {} if asked.wanted else await _beside_billing(times, database, window)
        return {
            "since": moment_of(window.since_ms),
            "until": moment_of(window.until_ms),
            "items": [{**dict(zip(dimensions, key, strict=True)), **_sums(sums)} for key, sums in found.items()],
            "total": {**_sums(total), **whole},
        }

    @door.get("/conservation/gpus", dependencies=[seen], summary="The same GPU by GPU, in order of device id.")
    async def list_gpu_time(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))],
        page: Annotated[Paging, Depends(paging)],
        asked: Filters,
        since: When = None,
        until: When = None,
    ) -> Page:
        window = await _window(times, database, clock, since, until)
        lives = await times.lives(database, window, asked.wanted, page.key(str), page.limit + 1)
        rows = [{"device_id": life.device_id, **life.where, **_time(life.time(window))} for life in lives]
        return page.page(rows, ["device_id"])

    @door.get("/capacity/moment", dependencies=[seen], summary="How the fleet stood at a moment; without one: now.")
    async def get_capacity_at(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))],
        asked: Filters,
        at: When = None,
        by: By = BY_DEFAULT,
    ) -> dict[str, Any]:
        at_ms = instant_of(at, clock)
        dimensions = dimensions_of(by)
        found = await times.sums(database, Window(at_ms, at_ms + 1), dimensions, asked.wanted)
        items = [{**dict(zip(dimensions, key, strict=True)), **_milli(sums)} for key, sums in found.items()]
        return {"at": moment_of(at_ms), "items": items}


async def _window(
    times: GpuTimes, database: Database, clock: Clock, since: datetime | None, until: datetime | None
) -> Window:
    """From the first GPU until now, where the question does not say."""
    until_ms = instant_of(until, clock)
    if (given := _moment(since)) is not None:
        return Window(instant_ms(given), until_ms)
    first_ms = await times.first_ms(database)
    return Window(until_ms if first_ms is None else min(first_ms, until_ms), until_ms)


def instant_of(at: datetime | None, clock: Clock) -> int:
    """The millisecond that is asked for, or this one."""
    return instant_ms(_moment(at) or clock.now())


def _moment(given: datetime | None) -> datetime | None:
    if given is not None and given.year not in YEARS:
        raise Invalid(f"moments lie in the years {YEARS.start} to {YEARS.stop - 1}")
    return given


def dimensions_of(by: str, allowed: Sequence[str] = DIMENSIONS) -> list[str]:
    names = [name.strip() for name in by.split(",") if name.strip()]
    if (unknown := set(names) - set(allowed)) or len(set(names)) != len(names):
        raise Invalid(f"by={by!r}: use each of {', '.join(allowed)} at most once", unknown=sorted(unknown))
    return names


async def _beside_billing(times: GpuTimes, database: Database, window: Window) -> dict[str, str]:
    """Of allocations that have ended: what was sold here, and what billing metered of the same time."""
    sold, metered = await times.closed_sales_us(database, window), await times.metered_us(database, window)
    return {"ended_sales_us": str(sold), "metered_us": str(metered)}


def _sums(sums: Sums) -> dict[str, Any]:
    return {"gpus": sums.gpus, **_time(sums.time)}


def _time(time: GpuTime) -> dict[str, str]:
    """64-bit numbers are strings, as everywhere."""
    names: Sequence[str] = ("elapsed", *BUCKETS, "outside", "difference")
    return {f"{name}_us": str(getattr(time, f"{name}_us")) for name in names}


def _milli(sums: Sums) -> dict[str, int]:
    """Of one millisecond, microseconds are thousandths of GPUs."""
    return {"gpus": sums.gpus, **{f"{name}_milli": getattr(sums.time, f"{name}_us") for name in BUCKETS}}
