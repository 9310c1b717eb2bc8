"""Inventory put together. One law: only this file knows who feeds whom."""

from __future__ import annotations

from gpuaas.common.service import Service, run
from gpuaas.common.settings import Settings
from gpuaas.inventory.api import router
from gpuaas.inventory.domain.gpu_model import built_in
from gpuaas.inventory.projections.devices import Devices
from gpuaas.inventory.projections.expectations import Expectations
from gpuaas.inventory.projections.fleet_capacity import FleetCapacity
from gpuaas.inventory.projections.gpu_models import GpuModels
from gpuaas.inventory.projections.gpu_time import GpuTimes
from gpuaas.inventory.projections.machines import Machines
from gpuaas.inventory.projections.skus import Skus
from gpuaas.inventory.reactions import Books, KeepBooks, define_built_in


def build(settings: Settings) -> Service:
    """The service, not yet started."""
    service = Service("inventory", settings)
    machines, devices, capacity, models = Machines(), Devices(), FleetCapacity(), GpuModels()
    skus, expectations, times = Skus(), Expectations(), GpuTimes()
    service.project(machines, devices, capacity, models, skus, expectations, times)
    reader = service.reader(devices)
    books = Books(service.commands, service.log, service.database, devices, lambda: reader.position)
    service.prepare(lambda: define_built_in(service.commands, built_in()))
    service.react(KeepBooks(books))
    service.background("settle-claims", books.settle_for_ever)
    views = (machines, devices, capacity, models, skus, expectations, times)
    service.serve(router(*views, service.database, service.commands, books, service.clock))
    return service


def main() -> None:
    """`gpuaas-inventory`: run until SIGTERM or SIGINT."""
    run(build, Settings)
