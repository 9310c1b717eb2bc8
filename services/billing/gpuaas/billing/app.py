"""Billing, put together. One law: this is the only file that knows an address."""

from __future__ import annotations

from collections.abc import Sequence

from gpuaas.billing import api
from gpuaas.billing.books import BooksWatch
from gpuaas.billing.desk import Desk
from gpuaas.billing.projections.views import Views
from gpuaas.billing.reactions import SERVICE, BillTenants, Metering
from gpuaas.billing.settings import BillingSettings
from gpuaas.billing.settling import GiveCreditBack
from gpuaas.billing.spending import BookCredit, CreditHolders, LookAtOnce, PayWithCredit, SpendingWatch
from gpuaas.common.reactions import Reactor
from gpuaas.common.readers import Reader
from gpuaas.common.service import Service, run


class OwnReaders:
    """`ports.Standing` over the readers of this process."""

    def __init__(self, metering: Reader, views: Sequence[Reader], within_s: float) -> None:
        self._metering = metering
        self._views = views
        self._within_s = within_s

    async def metered(self, position: int) -> None:
        await self._metering.reached(position, self._within_s)

    async def folded(self, position: int) -> None:
        for view in self._views:
            await view.reached(position, self._within_s)


def build(settings: BillingSettings) -> Service:
    """The service, not yet started."""
    service = Service(SERVICE, settings)
    views = Views()
    service.project(*views.all())
    metering = Reactor(Metering(service.commands, service.log), service.log, service.database)
    service.follow(metering)
    readers = [service.reader(view) for view in views.all()]
    standing = OwnReaders(metering, readers, settings.ready_timeout_s)
    service.react(BillTenants(service.commands, service.log, service.database, views, standing))
    watch = SpendingWatch(service.commands, service.clock, service.database, views, standing, settings)
    service.react(
        LookAtOnce(watch, service.database, views, standing),
        PayWithCredit(service.commands, CreditHolders(service.log, service.database, views, standing)),
        BookCredit(service.commands),
        GiveCreditBack(service.commands),
    )
    service.background("spending", watch.run)
    books = BooksWatch(service.commands, service.log, service.database, standing, settings.books_interval_s)
    service.background("books", books.run)
    desk = Desk(service.commands, service.log, service.clock, service.database, views, standing)
    service.serve(api.router(desk))
    return service


def main() -> None:
    """Run the service until it is told to stop."""
    run(build, BillingSettings)
