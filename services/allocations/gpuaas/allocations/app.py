"""Where allocations is put together. One law: only this file knows which parts there are and what each is given."""

from __future__ import annotations

from gpuaas.allocations import api
from gpuaas.allocations.adapters.alarm import AlarmClock
from gpuaas.allocations.adapters.closures import Closures, Plans
from gpuaas.allocations.adapters.drains import Drains, Evictor
from gpuaas.allocations.adapters.entitlements import Entitlements
from gpuaas.allocations.adapters.gauges import Listening, Slots, TelemetryGauges
from gpuaas.allocations.adapters.idlers import Idlers
from gpuaas.allocations.adapters.lately import Lately
from gpuaas.allocations.adapters.losses import Losses, Rescuer
from gpuaas.allocations.adapters.offering import Capacity
from gpuaas.allocations.adapters.preempter import Preempter
from gpuaas.allocations.adapters.prices import Prices
from gpuaas.allocations.adapters.process import ProcessRuntime
from gpuaas.allocations.adapters.promises import Promises
from gpuaas.allocations.adapters.purse import Purse, Stopper
from gpuaas.allocations.adapters.quoter import Forecaster, Quoter
from gpuaas.allocations.adapters.retries import Retries
from gpuaas.allocations.adapters.sim import SimRuntime
from gpuaas.allocations.adapters.supervisor import Supervisor
from gpuaas.allocations.ports import Meters, Runtime
from gpuaas.allocations.projections.allocations import Allocations
from gpuaas.allocations.projections.board import SERVICE, Board
from gpuaas.allocations.projections.idle_findings import IdleFindings
from gpuaas.allocations.projections.pool_capacity import PoolCapacity
from gpuaas.allocations.projections.quotas import QuotasInForce
from gpuaas.allocations.projections.reservations import Reservations
from gpuaas.allocations.projections.start_quotes import StartQuotes
from gpuaas.allocations.reactions import ALLOCATION, POOL, RESERVATION, Lives, Scheduler
from gpuaas.allocations.routes import answers, calendar, lab, reservations, rules, workloads
from gpuaas.allocations.routes import idleness as idle_routes
from gpuaas.allocations.routes import quotas as quota_routes
from gpuaas.allocations.routes import quotes as quote_routes
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common import service as kernel
from gpuaas.common.reactions import Reactor
from gpuaas.common.service import Service


def build(settings: AllocationsSettings) -> Service:
    """The service, not yet started."""
    service = Service(SERVICE, settings)
    allocations, capacity, quotas = Allocations(), PoolCapacity(), QuotasInForce()
    runtime = _runtime(service, settings)
    notice = settings.lease_notice_s
    supervisor = Supervisor(service.commands, ALLOCATION, runtime, service.clock, notice)
    board = Board(service.log, service.database, allocations, supervisor)
    machines = Reactor(Capacity(service.commands, service.log, POOL), service.log, service.database)
    purse, entitlements = Purse(service.log, board), Entitlements(service.log, board)
    preempter, lately = Preempter(board, entitlements, service.clock), Lately(service.log, service.clock)
    alarm = AlarmClock(board, service.clock)
    scheduler = Scheduler(
        service.commands, board, machines, settings.placement_policy, purse, entitlements, preempter, lately, alarm
    )
    stopper = Stopper(service.commands, ALLOCATION, board, purse, service.clock)
    drains = Drains(service.log)
    evictor = Evictor(service.commands, ALLOCATION, POOL, board, drains, service.clock)
    promised, quotes, idle = Reservations(), StartQuotes(), IdleFindings()
    forecaster = Forecaster(
        service.commands,
        POOL,
        service.database,
        allocations,
        quotes,
        board,
        entitlements,
        purse,
        service.clock,
        settings.placement_policy,
    )
    promises = Promises(
        service.commands, POOL, RESERVATION, ALLOCATION, board, service.clock, service.database, capacity
    )
    service.project(allocations, capacity, quotas, promised, quotes, idle)
    plans = Plans(service.log)
    before = (machines, service.reader(capacity))
    closures = Closures(service.commands, service.log, service.database, capacity, POOL, plans, before)
    service.follow(board)
    service.follow(machines)
    service.follow(purse)
    service.follow(drains)
    service.follow(plans)
    service.follow(entitlements)
    service.follow(lately)
    service.react(closures)
    service.react(Lives(service.commands, scheduler, board, runtime))
    _failures(service, board, settings)
    service.background("scheduler", scheduler.schedule)
    service.background("alarm clock", alarm.watch)
    service.background("teller", scheduler.tell)
    service.background("quoter", Quoter(service.commands, board, forecaster).quote)
    service.background("promises", promises.keep)
    service.background("evictor", evictor.evict)
    service.background("stopper", stopper.stop)
    service.background("supervisor", supervisor.supervise)
    _watch_idleness(service, settings, board, entitlements, runtime)
    service.serve(idle_routes.door(service, idle))
    service.serve(api.tenants_door(service, allocations, quotes, idle, purse, _prices(service)))
    service.serve(quota_routes.door(service, quotas))
    service.serve(quote_routes.door(service, quotes))
    service.serve(rules.door(service))
    service.serve(reservations.door(service, promised))
    service.serve(calendar.door(service))
    service.serve(lab.door(service, allocations, entitlements, settings.placement_policy))
    service.serve(workloads.door(service, runtime))
    service.serve(answers.tenants_door(service, allocations, quotes, forecaster, settings.placement_policy))
    service.serve(answers.operators_door(service, allocations, quotes, forecaster, settings.placement_policy))
    service.serve(api.operators_door(service, allocations, capacity))
    return service


def _failures(service: Service, board: Board, settings: AllocationsSettings) -> None:
    """What is done about machines that are lost and work that ends badly."""
    losses = Losses(service.log)
    rescuer = Rescuer(service.commands, ALLOCATION, POOL, board, losses, service.clock, settings.node_grace_s)
    service.follow(losses)
    service.react(Retries(service.commands, service.log, ALLOCATION))
    service.background("rescuer", rescuer.rescue)


def _watch_idleness(
    service: Service, settings: AllocationsSettings, board: Board, entitlements: Entitlements, runtime: Runtime
) -> None:
    """A runtime that knows what its workloads use is asked; else the machines' agents are listened to."""
    meters: Meters
    if isinstance(runtime, SimRuntime):
        meters = runtime
    else:
        slots = Slots(service.log)
        service.follow(slots)
        meters = gauges = TelemetryGauges(slots, service.clock)
        service.background("gauges", Listening(gauges, service.broker).listen)
    idlers = Idlers(service.commands, ALLOCATION, board, entitlements, meters, service.clock)
    service.background("idlers", idlers.watch)


def _prices(service: Service) -> Prices:
    prices = Prices(service.log)
    service.follow(prices)
    return prices


def _runtime(service: Service, settings: AllocationsSettings) -> Runtime:
    if settings.runtime == "process":
        return ProcessRuntime(settings.state_dir / "runs", settings.stop_grace_s, settings.exec_policy)
    return SimRuntime(service.clock)


def main() -> None:
    """`gpuaas-allocations`: run until told to stop."""
    kernel.run(build, AllocationsSettings)
