"""Inventory put together. One law: only this file knows who feeds whom."""

from __future__ import annotations

from gpuaas.common.service import Service, run
from gpuaas.common.settings import Settings
from gpuaas.inventory.api import Views, router
from gpuaas.inventory.domain import gpu_model, partitioning
from gpuaas.inventory.reactions import Books, KeepBooks, define_built_in, publish_built_in


def build(settings: Settings) -> Service:
    """The service, not yet started."""
    service = Service("inventory", settings)
    views = Views()
    service.project(*views.all())
    reader = service.reader(views.devices)
    read = (views.devices, views.machines, lambda: reader.position)
    books = Books(service.commands, service.log, service.database, *read)
    service.prepare(lambda: define_built_in(service.commands, gpu_model.built_in()))
    service.prepare(lambda: publish_built_in(service.commands, partitioning.built_in()))
    service.react(KeepBooks(books))
    service.background("settle-claims", books.settle_for_ever)
    service.serve(router(views, service.database, service.commands, books, service.clock))
    return service


def main() -> None:
    """`gpuaas-inventory`: run until SIGTERM or SIGINT."""
    run(build, Settings)
