"""Machines that prove themselves: burnt in, reset, rebooted, round after round. One law: what was ordered is asked for
again under the same id until it has ended, and it ends in a bounded time.

The ladder acts here: a verdict that says reset or reboot, on a machine that the platform has withdrawn and that is
empty by now, is carried out once the pool's automation has granted it. Inspecting and repairing are for people.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.ids import derived_id
from gpuaas.common.projections import Record
from gpuaas.nodes.domain.automation import AskRemedy
from gpuaas.nodes.domain.axes import OWN_NAME, Lifecycle
from gpuaas.nodes.domain.burn_in import LATE_AFTER, PASSED
from gpuaas.nodes.domain.hardware import Field
from gpuaas.nodes.domain.orders import BeginRemedy, EndRemedy, NodeCommand, RecordBurnInStep, ValidateNode
from gpuaas.nodes.domain.proofs import POLICY, Load, RemedyAction, RemedyPolicy
from gpuaas.nodes.ports import (
    BurnInReport,
    BurnsMachinesIn,
    ProviderRefused,
    RemediesMachines,
    Unanswered,
    UnknownMachine,
)
from gpuaas.nodes.projections.component_health import ComponentHealth
from gpuaas.nodes.reactions import AUTOMATION_ENTITY, NODE_ENTITY, Onlooker
from gpuaas.nodes.upkeep import Views, side_by_side

REFUSED: Final = "refused"
LATE: Final = "late"
DONE: Final = "done"
_log = logging.getLogger(__name__)


class BurnIns:
    """Carries burn-ins on, step by step; where the world runs faster than machines, no step is late."""

    def __init__(self, views: Views, commands: Commands, clock: Clock, provider: BurnsMachinesIn) -> None:
        self._views = views
        self._commands = commands
        self._clock = clock
        self._provider = provider

    async def round(self) -> None:
        """One look at every machine that is burnt in."""
        rows = await self._views.nodes.proving(self._views.database)
        await side_by_side([self._carry_on(row) for row in rows if row["lifecycle"] == Lifecycle.VALIDATING])

    async def _carry_on(self, row: Record) -> None:
        burn_in, node_id = row["burn_in"], row["node_id"]
        number = len(burn_in["ended"]) + 1
        if number > len(burn_in["steps"]):
            await _give(self._commands, row, ValidateNode(), "proved")
            return
        step = burn_in["steps"][number - 1]
        order_id = derived_id("burn-in", node_id, burn_in["started_at"], number)
        try:
            report = await self._provider.burn_in(node_id, Load(step["step"]), order_id)
        except (Unanswered, UnknownMachine) as again:
            _log.warning("burn-in of %s: %s", node_id, again.detail)
            report = None
        except ProviderRefused as refused:
            await self._ended(row, RecordBurnInStep(number, REFUSED, refused.detail, self._clock.now()))
            return
        if report is not None:
            await self._ended(row, _step(number, report, self._clock.now()))
        elif self._is_late(datetime.fromisoformat(burn_in["since"]), step["expected_s"]):
            told = f"no report within {LATE_AFTER} × {step['expected_s']} s"
            await self._ended(row, RecordBurnInStep(number, LATE, told, self._clock.now()))

    def _is_late(self, since: datetime, expected_s: int) -> bool:
        if self._clock.real_seconds(1.0) != 1.0:
            return False
        return self._clock.now() >= since + timedelta(seconds=LATE_AFTER * expected_s)

    async def _ended(self, row: Record, report: RecordBurnInStep) -> None:
        await _give(self._commands, row, report, f"burn-in-{report.number}")
        if report.outcome == PASSED and report.number == len(row["burn_in"]["steps"]):
            await _give(self._commands, row, ValidateNode(), "proved")


def _step(number: int, report: BurnInReport, now: datetime) -> RecordBurnInStep:
    return RecordBurnInStep(
        number=number,
        outcome=PASSED if report.passed else "failed",
        detail=report.detail,
        now=now,
        slot=report.slot,
        measured=report.measured,
        unit=report.unit,
        report_sha256=report.sha256,
    )


class Remedies:
    """Begins what verdicts order, carries it on, and has the machine looked at when it has ended."""

    def __init__(
        self,
        views: Views,
        health: ComponentHealth,
        commands: Commands,
        clock: Clock,
        provider: RemediesMachines,
        onlooker: Onlooker,
        policy: RemedyPolicy,
    ) -> None:
        self._views = views
        self._health = health
        self._commands = commands
        self._clock = clock
        self._provider = provider
        self._onlooker = onlooker
        self._policy = policy

    async def round(self) -> None:
        """One look at every remedy under way, and at every verdict that orders one."""
        rows = await self._views.nodes.proving(self._views.database)
        await side_by_side([self._carry_on(row) for row in rows if row["remedy"] and not row["remedy"]["outcome"]])
        ordered = await self._health.to_remedy(self._views.database)
        if ordered:
            await self._begin(ordered)
        await side_by_side([self._look(row) for row in rows if row["remedy"] and row["remedy"]["outcome"]])

    async def _begin(self, ordered: Sequence[Record]) -> None:
        rows = await self._views.nodes.among(self._views.database, sorted({each["node_id"] for each in ordered}))
        wanted: dict[str, tuple[Record, RemedyAction]] = {}
        for component in ordered:
            row = rows.get(component["node_id"])
            if row is not None and (action := next_remedy(component, row)) is not None:
                wanted.setdefault(row["node_id"], (component, action))
        if not wanted:
            return
        # Whatever the pools did before these verdicts is folded before the claims are read.
        await self._views.claims_reached(max(rows[node_id]["position"] for node_id in wanted))
        claims = await self._views.claims.on_nodes(self._views.database, sorted(wanted))
        offered = await self._views.claims.offered(self._views.database, sorted(wanted))
        busy = {claim["node_id"] for claim in claims} | set(offered)
        idle = {node_id: order for node_id, order in wanted.items() if node_id not in busy}
        await side_by_side([self._order(rows[node_id], *order) for node_id, order in idle.items()])

    async def _order(self, row: Record, component: Record, action: RemedyAction) -> None:
        _, version = await self._commands.state(AUTOMATION_ENTITY, PLATFORM, row["pool_id"])
        now, fault_number = self._clock.now(), component["fault_count"]
        ask = AskRemedy(
            pool_id=row["pool_id"],
            node_id=row["node_id"],
            component_id=component["component_id"],
            action=action,
            fault_number=fault_number,
            rule_version=component["rule_version"],
            reason=component["reason"],
            now=now,
            serving=row["lifecycle"] == Lifecycle.AVAILABLE,
            enabled=self._policy.enabled,
        )
        cause = Cause(
            derived_id("ask-remedy", component["component_id"], fault_number, action, version), OWN_NAME, "service"
        )
        try:
            outcome = await self._commands.execute(AUTOMATION_ENTITY, PLATFORM, row["pool_id"], ask, cause)
        except Unavailable as away:
            _log.warning("node %s: %s", row["node_id"], away.detail)
            return
        if outcome.state.granted_to(ask.component_id, fault_number, action):
            slot = _slot_of(row, component["component_id"])
            order = BeginRemedy(ask.component_id, fault_number, action, slot, ask.rule_version, ask.reason, now)
            await _give(self._commands, row, order, f"remedy-{action.value}")

    async def _carry_on(self, row: Record) -> None:
        remedy, node_id = row["remedy"], row["node_id"]
        order_id = derived_id("remedy", node_id, remedy["started_at"], remedy["action"])
        try:
            if remedy["action"] == RemedyAction.RESET:
                if not await self._provider.reset_gpu(node_id, remedy["slot"], order_id):
                    await self._late(row)
                    return
            else:
                # Off and on again are each asked for until they are so; an empty machine may go through it twice.
                await self._provider.power(node_id, False)
                await self._provider.power(node_id, True)
        except (Unanswered, UnknownMachine) as again:
            _log.warning("%s of %s: %s", remedy["action"], node_id, again.detail)
            await self._late(row)
        except ProviderRefused as refused:
            await self._ended(row, REFUSED, refused.detail)
        else:
            await self._ended(row, DONE, f"the {remedy['action']} is done")

    async def _late(self, row: Record) -> None:
        since = datetime.fromisoformat(row["remedy"]["started_at"])
        allowed = timedelta(seconds=self._policy.timeout_s / (self._clock.real_seconds(1.0) or 1.0))
        if self._clock.now() >= since + allowed:
            await self._ended(row, LATE, f"no report within {self._policy.timeout_s:g} s")

    async def _ended(self, row: Record, outcome: str, detail: str) -> None:
        remedy = row["remedy"]
        action = RemedyAction(remedy["action"])
        report = EndRemedy(remedy["component_id"], remedy["fault_number"], action, outcome, detail, self._clock.now())
        await _give(self._commands, row, report, "remedy-ended")

    async def _look(self, row: Record) -> None:
        cause = Cause(derived_id("remedied", row["node_id"], row["version"]), OWN_NAME, "service")
        try:
            await self._onlooker.record(row["node_id"], await self._onlooker.look(row["node_id"]), cause)
        except (Rejected, NotFound) as overtaken:
            _log.info("node %s: %s", row["node_id"], overtaken.detail)
        except Unavailable as away:
            _log.warning("node %s: %s", row["node_id"], away.detail)


def next_remedy(component: Record, row: Record) -> RemedyAction | None:
    """What the platform may do about a component on a machine that stands so; None: nothing, or a person's turn.

    A reset that was refused or late is followed by a reboot, for whoever cannot reset can still switch off and on. What
    was done and did not help has become another fault, and so another order.
    """
    if not _closed(row):
        return None
    machine_wide = _slot_of(row, component["component_id"]) is None
    ordered = RemedyAction.REBOOT if machine_wide else RemedyAction(component["action"])
    tried = row["remedied"].get(component["component_id"])
    if tried is None or tried["fault_number"] != component["fault_count"]:
        return ordered
    refused = tried["action"] == RemedyAction.RESET and tried["outcome"] in (REFUSED, LATE)
    return RemedyAction.REBOOT if refused else None


def _closed(row: Record) -> bool:
    """Whether the machine is closed by the policy, or not yet proved, and in nobody's hands."""
    if row["occupants"] or (row["remedy"] and not row["remedy"]["outcome"]):
        return False
    if row["lifecycle"] == Lifecycle.AVAILABLE:
        return any(hold["owner"] == POLICY for hold in row["holds"].values())
    fields = {each["field"] for each in row["mismatches"].get("items", [])}
    return row["lifecycle"] == Lifecycle.REPAIR and (bool(row["remedy"]) or fields == {Field.BURN_IN})


def _slot_of(row: Record, component_id: str) -> int | None:
    devices = row["hardware"].get("devices", [])
    return next((int(device["slot"]) for device in devices if device["device_id"] == component_id), None)


async def _give(commands: Commands, row: Record, command: NodeCommand, step: str) -> None:
    cause = Cause(derived_id("proving", row["node_id"], row["version"], step), OWN_NAME, "service")
    try:
        await commands.execute(NODE_ENTITY, PLATFORM, row["node_id"], command, cause)
    except (Rejected, NotFound) as overtaken:
        _log.info("node %s: %s", row["node_id"], overtaken.detail)
    except Unavailable as away:
        _log.warning("node %s: %s", row["node_id"], away.detail)
