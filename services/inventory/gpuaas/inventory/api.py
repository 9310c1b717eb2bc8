"""The door of inventory: what exists, where, and what of it can be sold. One law: enrolling is nodes' business."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit, public
from gpuaas.common.projections import Database, Projection, Record
from gpuaas.contracts.inventory import Label
from gpuaas.inventory.domain.gpu_model import MEMORY_MIB_MAX, NAME_MAX, WORDING_MAX, DefineGpuModel, GpuModel
from gpuaas.inventory.entities import GPU_MODEL_ENTITY
from gpuaas.inventory.projections import devices as device_view
from gpuaas.inventory.projections import fleet_capacity as capacity_view
from gpuaas.inventory.projections import machines as machine_view
from gpuaas.inventory.projections.device_faults import DeviceFaults
from gpuaas.inventory.projections.devices import Devices
from gpuaas.inventory.projections.expectations import Expectations
from gpuaas.inventory.projections.fleet_capacity import DIMENSIONS, FleetCapacity
from gpuaas.inventory.projections.gpu_models import GpuModels
from gpuaas.inventory.projections.gpu_time import GpuTimes
from gpuaas.inventory.projections.machines import PLACES, Machines
from gpuaas.inventory.projections.partitionings import Partitionings
from gpuaas.inventory.projections.places import Places
from gpuaas.inventory.projections.skus import Skus
from gpuaas.inventory.reactions import Books
from gpuaas.inventory.routes.gpu_time import dimensions_of, gpu_time_routes
from gpuaas.inventory.routes.places import life_routes, part_routes, place_routes
from gpuaas.inventory.routes.plans import plan_routes
from pydantic import Field

Text = Annotated[str | None, Query(max_length=64)]
DEVICES_SHOWN_MAX: Final = 64
BY_DEFAULT: Final = "pool_id,gpu_model"
Word = Annotated[str, Field(min_length=1, max_length=NAME_MAX)]


class NewGpuModel(Body):
    """A model for the catalogue."""

    gpu_model: Annotated[Label, Field(description="Its name; it means the same device for ever.")]
    vendor: Word
    memory_mib: Annotated[int, Field(strict=True, ge=1, le=MEMORY_MIB_MAX, description="As the driver reports it.")]
    interconnect: Annotated[Word, Field(description="How the GPUs of one machine are connected: nvlink-4, pcie-5.")]
    description: Annotated[str, Field(min_length=1, max_length=WORDING_MAX)]

    def order(self) -> DefineGpuModel:
        return DefineGpuModel(
            GpuModel(
                gpu_model=self.gpu_model,
                vendor=self.vendor,
                memory_mib=self.memory_mib,
                interconnect=self.interconnect,
                description=self.description,
            )
        )


@dataclass(frozen=True, slots=True)
class Views:
    """Every read model of this service."""

    machines: Machines = field(default_factory=Machines)
    devices: Devices = field(default_factory=Devices)
    capacity: FleetCapacity = field(default_factory=FleetCapacity)
    models: GpuModels = field(default_factory=GpuModels)
    skus: Skus = field(default_factory=Skus)
    expectations: Expectations = field(default_factory=Expectations)
    times: GpuTimes = field(default_factory=GpuTimes)
    faults: DeviceFaults = field(default_factory=DeviceFaults)
    places: Places = field(default_factory=Places)
    partitionings: Partitionings = field(default_factory=Partitionings)

    def all(self) -> list[Projection]:
        return [getattr(self, each.name) for each in fields(self)]


def router(views: Views, database: Database, commands: Commands, books: Books, clock: Clock) -> APIRouter:
    """All routes of this service."""
    door = APIRouter(prefix="/v1", tags=["inventory"])
    _machines(door, views.machines, views.devices, database, books)
    _devices(door, views.devices, database)
    _capacity(door, views.capacity, database)
    _models(door, views.models, database, commands)
    plan_routes(door, views.skus, views.expectations, database, commands)
    gpu_time_routes(door, views.times, database, clock)
    place_routes(door, views.places, views.devices, database)
    life_routes(door, views.faults, views.devices, database)
    part_routes(door, views.partitionings, views.times, database, clock)
    return door


def _machines(door: APIRouter, machines: Machines, devices: Devices, database: Database, books: Books) -> None:
    @door.get("/machines", dependencies=[Depends(fresh(machines))], summary="Machines in the books, in order of id.")
    async def list_machines(
        caller: Annotated[Caller, Depends(permit("inventory.machine.read"))],
        asked: Annotated[Paging, Depends(paging)],
        status: Text = None,
        pool_id: Text = None,
        gpu_model: Text = None,
        region: Text = None,
        site: Text = None,
        pod: Text = None,
        rack: Text = None,
    ) -> Page:
        given = (status, pool_id, gpu_model, region, site, pod, rack)
        wanted = _given(machine_view.FILTERS, given)
        rows = await machines.matching(database, wanted, asked.key(str), asked.limit + 1)
        return asked.page([_machine(row) for row in rows], ["machine_id"])

    @door.get(
        "/machines/{machine_id}",
        dependencies=[Depends(fresh(machines)), Depends(fresh(devices))],
        summary="One machine, its GPUs, and what is wrong with it.",
    )
    async def get_machine(
        machine_id: Annotated[str, Path(max_length=63)],
        caller: Annotated[Caller, Depends(permit("inventory.machine.read"))],
    ) -> dict[str, Any]:
        row = await machines.machine(database, machine_id)
        if row is None:
            raise NotFound(f"there is no machine {machine_id}; see GET /v1/machines", machine_id=machine_id)
        inside = await devices.matching(database, {"machine_id": machine_id}, None, DEVICES_SHOWN_MAX)
        by_slot = sorted(inside, key=lambda device: device["slot"])
        return {**_machine(row), "devices": [_device(device) for device in by_slot]}

    @door.post("/machines/{machine_id}/comparisons", status_code=202, summary="Compare it with the books once more.")
    async def compare_machine(
        machine_id: Annotated[Label, Path()],
        caller: Annotated[Caller, Depends(permit("inventory.machine.compare"))],
    ) -> Accepted:
        outcome = await books.enter(await books.found(machine_id), caller.cause())
        return caller.accepted(outcome, machine_id)


def _devices(door: APIRouter, devices: Devices, database: Database) -> None:
    seen = Depends(fresh(devices))

    @door.get("/devices", dependencies=[seen], summary="GPUs in order of serial number.")
    async def list_devices(
        caller: Annotated[Caller, Depends(permit("inventory.device.read"))],
        asked: Annotated[Paging, Depends(paging)],
        machine_id: Text = None,
        gpu_model: Text = None,
    ) -> Page:
        wanted = _given(device_view.FILTERS, (machine_id, gpu_model))
        rows = await devices.matching(database, wanted, asked.key(str), asked.limit + 1)
        return asked.page([_device(row) for row in rows], ["serial"])

    @door.get("/devices/{serial}", dependencies=[seen], summary="One GPU and everywhere it has been.")
    async def get_device(
        serial: Annotated[str, Path(max_length=64)],
        caller: Annotated[Caller, Depends(permit("inventory.device.read"))],
    ) -> dict[str, Any]:
        row = await devices.device(database, serial)
        if row is None:
            raise NotFound(f"no GPU with the serial number {serial} was ever in the books", serial=serial)
        shown = ("machine_id", "slot", "since", "until")
        stays = await devices.stays(database, serial)
        return {**_device(row), "stays": [{name: stay[name] for name in shown} for stay in stays]}


def _capacity(door: APIRouter, capacity: FleetCapacity, database: Database) -> None:
    seen = Depends(fresh(capacity))

    @door.get("/capacity", dependencies=[seen], summary="GPUs that exist, can be sold, and why the others cannot.")
    async def get_capacity(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))],
        by: Annotated[
            str, Query(max_length=100, description="Dimensions, with commas; empty: one total.")
        ] = "pool_id,gpu_model",
        region: Text = None,
        site: Text = None,
        pod: Text = None,
        rack: Text = None,
        pool_id: Text = None,
        gpu_model: Text = None,
    ) -> Page:
        dimensions = dimensions_of(by)
        wanted = _given(DIMENSIONS, (region, site, pod, rack, pool_id, gpu_model))
        return Page(items=[dict(row) for row in await capacity.by(database, dimensions, wanted)])

    @door.get("/topology", dependencies=[seen], summary="Region, site, pod and rack as a tree, with what stands there.")
    async def get_topology(
        caller: Annotated[Caller, Depends(permit("inventory.capacity.read"))], region: Text = None, site: Text = None
    ) -> dict[str, Any]:
        wanted = _given(PLACES[:2], (region, site))
        return _tree([dict(row) for row in await capacity.by(database, PLACES, wanted)])


def _models(door: APIRouter, models: GpuModels, database: Database, commands: Commands) -> None:
    seen = Depends(fresh(models))

    @door.get("/gpu-models", dependencies=[seen], summary="The catalogue of GPU models; open to everyone.")
    @public
    async def list_gpu_models(asked: Annotated[Paging, Depends(paging)]) -> Page:
        rows = await models.listed(database, asked.key(str), asked.limit + 1)
        return asked.page([dict(row) for row in rows], ["gpu_model"])

    @door.get("/gpu-models/{gpu_model}", dependencies=[seen], summary="One GPU model; open to everyone.")
    @public
    async def get_gpu_model(gpu_model: Annotated[str, Path(max_length=63)]) -> dict[str, Any]:
        row = await models.model(database, gpu_model)
        if row is None:
            raise NotFound(f"the catalogue has no model {gpu_model}; see GET /v1/gpu-models", gpu_model=gpu_model)
        return dict(row)

    @door.post("/gpu-models", status_code=201, summary="Define a model, or say better what a known one is.")
    async def define_gpu_model(
        body: NewGpuModel, caller: Annotated[Caller, Depends(permit("inventory.gpu-model.define"))]
    ) -> Accepted:
        outcome = await commands.execute(GPU_MODEL_ENTITY, PLATFORM, body.gpu_model, body.order(), caller.cause())
        return caller.accepted(outcome, body.gpu_model)


def _given(names: Iterable[str], values: Iterable[str | None]) -> dict[str, str]:
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _machine(row: Record) -> dict[str, Any]:
    plain = ("machine_id", "status", "machine_serial", "pool_id", "gpu_model", "gpu_count", "reason")
    place = {name: row[name] for name in PLACES}
    return {
        **{name: row[name] for name in plain},
        "topology": place if place["region"] is not None else None,
        "mismatches": row["mismatches"].get("items", []),
        "changed_at": row["changed_at"],
        "position": row["position"],
    }


def _device(row: Record) -> dict[str, Any]:
    plain = ("serial", "device_id", "gpu_model", "memory_mib", "machine_id", "slot", "first_seen_at", "changed_at")
    return {name: row[name] for name in plain}


def _tree(racks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows by region, site, pod and rack as nested `children`, each level with its sums."""
    sums = capacity_view.SUMS
    top: dict[str, Any] = {"level": "fleet", "name": "", **dict.fromkeys(sums, 0), "children": []}
    known: dict[tuple[str, ...], dict[str, Any]] = {(): top}
    for row in racks:
        path: tuple[str, ...] = ()
        _add(top, row, sums)
        for level in PLACES:
            parent, path = known[path], (*path, row[level])
            if path not in known:
                known[path] = {"level": level, "name": row[level], **dict.fromkeys(sums, 0), "children": []}
                parent["children"].append(known[path])
            _add(known[path], row, sums)
    return top


def _add(node: dict[str, Any], row: Mapping[str, Any], sums: Iterable[str]) -> None:
    for name in sums:
        node[name] += row[name]
