"""Nodes put together. One law: only this file knows which provider, which stream and which tables."""

from __future__ import annotations

from gpuaas.common.service import Service, run
from gpuaas.nodes.adapters.fault_stream import FaultStream
from gpuaas.nodes.adapters.sample_stream import SampleStream
from gpuaas.nodes.adapters.telemetry import HeartbeatStream
from gpuaas.nodes.api import router
from gpuaas.nodes.guarding import AskAgain, GuardHealth, Withdrawals
from gpuaas.nodes.monitor import FaultRecorder, HeartbeatMonitor
from gpuaas.nodes.projections.component_health import ComponentHealth
from gpuaas.nodes.projections.maintenance_windows import MaintenanceWindows
from gpuaas.nodes.projections.node_claims import NodeClaims
from gpuaas.nodes.projections.nodes import Nodes
from gpuaas.nodes.promising import Promises
from gpuaas.nodes.proving import BurnIns, Remedies
from gpuaas.nodes.reactions import (
    CountSilences,
    EnrolNodes,
    KeepCustody,
    Onlooker,
    Persistence,
    RulesInForce,
)
from gpuaas.nodes.recoveries import CountBurnInFailures, ProveRecovery
from gpuaas.nodes.routes.drains import drains_router
from gpuaas.nodes.routes.health import health_router
from gpuaas.nodes.routes.maintenance import maintenance_router
from gpuaas.nodes.routes.utilisation import utilisation_router
from gpuaas.nodes.settings import NodesSettings
from gpuaas.nodes.upkeep import Overseer, TakeSteps, Upkeep, Views, again_and_again
from gpuaas.nodes.windows import WindowKeeper


def build(settings: NodesSettings) -> Service:
    """The service, not yet started."""
    service = Service("nodes", settings)
    nodes = Nodes()
    provider = settings.provider(service.clock)
    persistence = Persistence(
        timeout_s=settings.provider_timeout_s,
        attempts_max=settings.provider_attempts_max,
        pause_s=settings.provider_pause_s,
    )
    onlooker = Onlooker(provider, service.commands, persistence, settings.burn_in_policy(provider), service.clock)
    monitor = HeartbeatMonitor(nodes, service.database, service.commands, service.clock, settings.patience())
    stream = HeartbeatStream(service.broker, monitor)
    service.project(nodes)
    service.react(EnrolNodes(onlooker, service.commands, service.clock, settings.enrol_concurrency))
    rules, health = RulesInForce(service.commands), ComponentHealth()
    service.project(health)
    service.react(CountSilences(service.commands, rules))
    service.react(CountBurnInFailures(service.commands, rules), ProveRecovery(service.commands, rules))
    service.react(KeepCustody(service.commands))
    claims, windows = NodeClaims(), MaintenanceWindows()
    service.project(claims, windows)
    wait_s = settings.upkeep_wait_s

    async def windows_settled() -> None:
        await service.reader(windows).reached(await service.log.last_position(), settings.ready_timeout_s)

    async def claims_settled() -> None:
        await service.reader(claims).reached(await service.log.last_position(), settings.ready_timeout_s)

    views = Views(nodes, claims, service.database, lambda p: service.reader(claims).reached(p, wait_s), windows_settled)
    promises = Promises(claims, service.database, claims_settled, settings.promise_horizon_s)
    withdrawals = Withdrawals(
        service.commands, settings.guard(), lambda pool_id: nodes.in_service(service.database, pool_id), promises
    )
    service.react(GuardHealth(service.commands, withdrawals))
    again = AskAgain(
        health, service.database, service.commands, service.clock, withdrawals, settings.withdrawal_retry_s
    )
    upkeep = Upkeep(views, service.commands, service.clock, provider, onlooker)
    keeper = WindowKeeper(views, windows, service.commands, service.clock, provider)
    overseer = Overseer(
        views, service.commands, service.clock, settings.expectations(), enabled=settings.state_automation
    )
    service.react(TakeSteps(service.commands, provider, onlooker))
    burn_ins = BurnIns(views, service.commands, service.clock, provider)
    remedies = Remedies(views, health, service.commands, service.clock, provider, onlooker, settings.remedy_policy())
    rounds = (upkeep.round, keeper.round, overseer.round, burn_ins.round, remedies.round, again.round)
    service.background("upkeep", lambda: again_and_again(rounds, settings.upkeep_tick_s))
    recorder = FaultRecorder(service.commands, service.clock, rules)
    faults = FaultStream(service.broker, recorder.record, lambda: monitor.deaf)
    service.background("faults", lambda: faults.run(settings.heartbeat_tick_s))
    service.background("heartbeats", lambda: monitor.run(stream, settings.heartbeat_tick_s))
    service.serve(router(nodes, service.database, service.log, service.commands, onlooker))
    samples = SampleStream(service.broker, lambda: monitor.deaf)
    service.background("utilisation", lambda: samples.run(settings.heartbeat_tick_s))
    service.serve(utilisation_router(samples))
    service.serve(drains_router(views, promises, service.commands, service.clock))
    service.serve(maintenance_router(views, windows, promises, service.commands, service.clock))
    service.serve(health_router(health, service.database, service.commands, service.clock, rules))
    return service


def main() -> None:
    """`gpuaas-nodes`: run until SIGTERM or SIGINT."""
    run(build, NodesSettings)
