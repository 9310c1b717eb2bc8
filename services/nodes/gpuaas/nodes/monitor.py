"""Turns silence into events, and lifts holds whose time is over. One law: who hears nobody accuses nobody.

Silence is measured in *real* seconds of this process, also where the world runs faster: an agent, a network and a
paused process live in real time, and at sixty times the pace a hiccup of half a second would be half a minute of
silence. Only the stamps inside the events are world time, like every other stamp in the log.

Before anything is declared lost the monitor must have heard its own heartbeat come back through the stream; while it
does not, the fault is on the way here and not in the machines, and the subscription is opened anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.projections import Database
from gpuaas.nodes.adapters.fault_wire import FaultReport
from gpuaas.nodes.adapters.telemetry import HeartbeatStream
from gpuaas.nodes.domain.axes import OWN_NAME, Lifecycle, Node
from gpuaas.nodes.domain.component import ReportFault
from gpuaas.nodes.domain.heartbeats import HeartbeatWatch, Lost, Patience, Verdict
from gpuaas.nodes.domain.orders import ExpireHold, NodeCommand, RecordHeartbeatLost, RecordHeartbeatRestored
from gpuaas.nodes.projections.nodes import ExpiredHold, Nodes
from gpuaas.nodes.reactions import COMPONENT_ENTITY, NODE_ENTITY, RulesInForce
from gpuaas.nodes.upkeep import side_by_side
from prometheus_client import Gauge

CONCURRENT: Final = 32
VERDICTS_AT_ONCE_MAX: Final = 2_000
"""Verdicts carried out in one round; the others stand again in the next one."""
FLOOD_MAX: Final = 64
FLOOD_S: Final = 60.0
FLOODS_REMEMBERED_MAX: Final = 100_000
CANARY: Final = "canary"
WATCHED = Gauge("gpuaas_heartbeat_watched_nodes", "Nodes whose heartbeats are watched.")
DEAF = Gauge("gpuaas_heartbeat_deaf", "1 while the monitor does not hear its own heartbeat.")
_log = logging.getLogger(__name__)


class HeartbeatMonitor:
    """The ear of this process and the clock that asks who was not heard.

    Args:
        steady_s: the process's own steady clock, seconds.
    """

    def __init__(
        self,
        nodes: Nodes,
        database: Database,
        commands: Commands,
        clock: Clock,
        patience: Patience,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._database = database
        self._commands = commands
        self._clock = clock
        self._steady_s = steady_s
        self._patience = patience
        # Upper case: no node can have this id, so the canary can never be mistaken for a machine.
        self.canary = f"CANARY-{new_id()}"
        self.watch = HeartbeatWatch(patience, steady_s())
        self._canary_heard_s = float("-inf")

    def hear(self, sender: str, age_s: float) -> str:
        """One well-formed heartbeat, `age_s` real seconds old; what became of it."""
        received_s = self._steady_s() - age_s
        if sender == self.canary:
            self._canary_heard_s = received_s
            return CANARY
        if sender.startswith("CANARY-"):
            return CANARY
        world_age_s = age_s / pace if (pace := self._clock.real_seconds(1.0)) else 0.0
        received_at = self._clock.now() - timedelta(seconds=world_age_s)
        return self.watch.beat(sender, received_s, received_at)

    @property
    def deaf(self) -> bool:
        """Whether the way from the stream to here has not been proved lately."""
        return self._steady_s() - self._canary_heard_s >= self._patience.silence_s / 2

    async def run(self, stream: HeartbeatStream, tick_s: float) -> None:
        """Listen and judge for ever."""
        opened_s = float("-inf")
        try:
            while True:
                if self.deaf and self._steady_s() - opened_s >= self._patience.silence_s / 2:
                    await stream.open()
                    opened_s = self._steady_s()
                await stream.send_canary(self.canary)
                await asyncio.sleep(tick_s)
                await self.round()
        finally:
            await stream.close()

    async def round(self) -> int:
        """One look at everything; how many commands it gave."""
        now_s = self._steady_s()
        watched = await self._nodes.watched(self._database)
        self.watch.watch(watched, now_s, self._clock.now())
        WATCHED.set(len(watched))
        DEAF.set(self.deaf)
        verdicts = self.watch.verdicts(now_s)
        if self.deaf and any(isinstance(verdict, Lost) for verdict in verdicts):
            _log.warning("heartbeats do not come through; no node is declared lost meanwhile")
            verdicts = [verdict for verdict in verdicts if not isinstance(verdict, Lost)]
        orders = [self._pronounce(verdict) for verdict in verdicts[:VERDICTS_AT_ONCE_MAX]]
        orders += [self._expire(e.node_id, e.hold_id) for e in await self._expired()]
        await side_by_side(orders, CONCURRENT)
        return len(orders)

    async def _expired(self) -> list[ExpiredHold]:
        return await self._nodes.expired_holds(self._database, self._clock.now())

    async def _pronounce(self, verdict: Verdict) -> None:
        command: NodeCommand
        if isinstance(verdict, Lost):
            command = RecordHeartbeatLost(verdict.last_seen_at)
            cause_id = derived_id("heartbeat-lost", verdict.node_id, verdict.last_seen_at.isoformat())
        else:
            command = RecordHeartbeatRestored(verdict.seen_at)
            cause_id = derived_id("heartbeat-restored", verdict.node_id, verdict.seen_at.isoformat())
        await self._give(verdict.node_id, command, cause_id)

    async def _expire(self, node_id: str, hold_id: str) -> None:
        now = self._clock.now()
        await self._give(node_id, ExpireHold(hold_id, now), derived_id("hold-expired", node_id, hold_id, new_id()))

    async def _give(self, node_id: str, command: NodeCommand, cause_id: str) -> None:
        cause = Cause(id=cause_id, actor=OWN_NAME, actor_kind="service")
        try:
            await self._commands.execute(NODE_ENTITY, PLATFORM, node_id, command, cause)
        except (Rejected, NotFound) as overtaken:
            _log.info("node %s: %s", node_id, overtaken.detail)
        except Unavailable as away:
            _log.warning("node %s: %s", node_id, away.detail)


class FaultRecorder:
    """Puts agents' reports into the histories of the components they are about; the rules in force judge them.

    Of one machine at most `FLOOD_MAX` reports that came within `FLOOD_S` real seconds are recorded: the first of them
    closes it, and one broken driver does not fill the log.
    """

    def __init__(self, commands: Commands, clock: Clock, rules: RulesInForce) -> None:
        self._commands = commands
        self._clock = clock
        self._rules = rules
        self._told: dict[str, tuple[float, int]] = {}

    async def record(self, report: FaultReport, age_s: float) -> str:
        """Put one report, `age_s` real seconds old, into the component's history; what became of it."""
        node, _ = await self._commands.state(NODE_ENTITY, PLATFORM, report.node_id)
        if not isinstance(node, Node) or node.lifecycle is Lifecycle.RETIRED:
            return "unknown-node"
        if self._floods(report.node_id, time.time() - age_s):
            return "flood"
        devices = node.hardware.devices if node.hardware else ()
        device = next((device for device in devices if device.slot == report.slot), None)
        if device is None:
            return "unknown-slot"
        world_age_s = age_s / pace if (pace := self._clock.real_seconds(1.0)) else 0.0
        rules = await self._rules.now()
        command = ReportFault(
            component_id=device.device_id,
            node_id=report.node_id,
            serial=device.serial,
            fault=rules.class_of(report.fault_class, report.code),
            code=report.code,
            source=report.source,
            detail=report.detail,
            observed_at=self._clock.now() - timedelta(seconds=world_age_s),
            rules=rules,
        )
        cause = Cause(derived_id("fault", report.node_id, report.fault_id), f"agent:{report.node_id}", "agent")
        outcome = await self._commands.execute(COMPONENT_ENTITY, PLATFORM, device.device_id, command, cause)
        return "repeated" if outcome.repeated or not outcome.events else "recorded"

    def _floods(self, node_id: str, received_s: float) -> bool:
        """Whether a report received then is one too many; by the stream's time, so that a restart decides alike."""
        since_s, count = self._told.get(node_id, (received_s, 0))
        if received_s - since_s >= FLOOD_S:
            since_s, count = received_s, 0
        if node_id not in self._told and len(self._told) >= FLOODS_REMEMBERED_MAX:
            self._told.pop(next(iter(self._told)))
        self._told[node_id] = (since_s, count + 1)
        return count >= FLOOD_MAX
