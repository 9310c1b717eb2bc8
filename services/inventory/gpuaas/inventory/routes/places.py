"""The door to the tree, to a GPU's life and to parts of GPUs. One law: every list is paged, also the leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.common.clock import Clock
from gpuaas.common.errors import Invalid, NotFound
from gpuaas.common.http import Caller, Page, Paging, fresh, paging, permit, public
from gpuaas.common.projections import Database
from gpuaas.contracts.inventory import PartitionProfile
from gpuaas.inventory.domain.conservation import Window
from gpuaas.inventory.domain.partitioning import room_for
from gpuaas.inventory.projections.device_faults import DeviceFaults
from gpuaas.inventory.projections.devices import Devices
from gpuaas.inventory.projections.gpu_time import GpuTimes
from gpuaas.inventory.projections.partitionings import Partitionings
from gpuaas.inventory.projections.places import LEVELS, Places
from gpuaas.inventory.routes.gpu_time import Filters, When, dimensions_of, instant_of

Text = Annotated[str | None, Query(max_length=64)]
MODELS_MAX: Final = 500


def place_routes(door: APIRouter, places: Places, devices: Devices, database: Database) -> None:
    """Add the route into the tree."""
    seen = [Depends(fresh(places)), Depends(fresh(devices))]

    @door.get("/topology/below", dependencies=seen, summary="What stands right below a place, down to single GPUs.")
    async def list_below(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))],
        asked: Annotated[Paging, Depends(paging)],
        region: Text = None,
        site: Text = None,
        pod: Text = None,
        rack: Text = None,
        nvlink_domain: Text = None,
        machine_id: Text = None,
        pool_id: Text = None,
        gpu_model: Text = None,
    ) -> Page:
        path = _path((region, site, pod, rack, nvlink_domain, machine_id))
        if machine_id is not None:
            rows = await devices.matching(database, {"machine_id": machine_id}, asked.key(str), asked.limit + 1)
            shown = ("device_id", "slot", "gpu_model", "memory_mib")
            leaves = [{"level": "gpu", "name": row["serial"], **{n: row[n] for n in shown}} for row in rows]
            return asked.page(leaves, ["name"])
        filters = {"pool_id": pool_id, "gpu_model": gpu_model}
        wanted = {name: value for name, value in filters.items() if value is not None}
        found = await places.below(database, path, wanted, asked.key(str), asked.limit + 1)
        return asked.page([{"level": LEVELS[len(path)], **dict(row)} for row in found], ["name"])


def _path(values: tuple[str | None, ...]) -> list[str]:
    """The names down to the deepest one given.

    Raises:
        Invalid: a level is named and one above it is not.
    """
    path = [value for value in values if value is not None]
    if any(value is None for value in values[: len(path)]):
        missing = LEVELS[[value is None for value in values].index(True)]
        raise Invalid(f"name the {missing} too: a place is named from the region down")
    return path


def life_routes(door: APIRouter, faults: DeviceFaults, devices: Devices, database: Database) -> None:
    """Add the routes about what GPUs went through."""
    seen = Depends(fresh(faults))

    @door.get("/devices/{serial}/faults", dependencies=[seen], summary="Every fault of one GPU, wherever it sat.")
    async def list_device_faults(
        serial: Annotated[str, Path(max_length=64)],
        caller: Annotated[Caller, Depends(permit("inventory.device.read"))],
        asked: Annotated[Paging, Depends(paging)],
    ) -> Page:
        rows = await faults.faults(database, serial, asked.key(int), asked.limit + 1)
        if not rows and await devices.device(database, serial) is None:
            raise NotFound(f"no GPU with the serial number {serial} was ever in the books", serial=serial)
        return asked.page([dict(row) for row in rows], ["position"])

    @door.get("/fleet-health", dependencies=[seen], summary="GPUs in the books by condition, and who offends again.")
    async def get_fleet_health(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))],
        by: Annotated[str, Query(max_length=100, description="Dimensions, with commas; empty: one total.")] = "pool_id",
    ) -> Page:
        names = dimensions_of(by, ("pool_id", "gpu_model"))
        return Page(items=[dict(row) for row in await faults.counts(database, names)])


def part_routes(
    door: APIRouter, partitionings: Partitionings, times: GpuTimes, database: Database, clock: Clock
) -> None:
    """Add the routes about instances of GPUs."""
    seen = Depends(fresh(partitionings))

    @door.get("/partitionings", dependencies=[seen], summary="Into which instances GPUs can be cut; open to everyone.")
    @public
    async def list_partitionings(asked: Annotated[Paging, Depends(paging)]) -> Page:
        rows = await partitionings.listed(database, asked.key(str), asked.limit + 1)
        shown = [{**dict(row), "profiles": row["profiles"]["items"]} for row in rows]
        return asked.page(shown, ["gpu_model"])

    @door.get(
        "/capacity/partitions",
        dependencies=[seen, Depends(fresh(times))],
        summary="How many instances of each profile would fit into what is idle, at a moment.",
    )
    async def get_partition_capacity(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))], asked: Filters, at: When = None
    ) -> Page:
        at_ms = instant_of(at, clock)
        return Page(items=await _rooms(partitionings, times, database, at_ms, asked.wanted))


async def _rooms(
    partitionings: Partitionings, times: GpuTimes, database: Database, at_ms: int, wanted: Mapping[str, str]
) -> list[dict[str, Any]]:
    tables = {
        row["gpu_model"]: [PartitionProfile.model_validate(each) for each in row["profiles"]["items"]]
        for row in await partitionings.listed(database, None, MODELS_MAX)
    }
    rooms: Counter[tuple[str, str, str]] = Counter()
    window = Window(at_ms, at_ms + 1)
    async for life in times.all_lives(database, window, wanted):
        idle_milli = life.time(window).idle_us
        for profile in tables.get(life.where["gpu_model"], ()):
            rooms[life.where["pool_id"], life.where["gpu_model"], profile.profile] += room_for(profile, idle_milli)
    names = ("pool_id", "gpu_model", "profile")
    return [{**dict(zip(names, key, strict=True)), "instances": count} for key, count in sorted(rooms.items())]
