"""Maintenance windows carried out: notice, drain, work, return. One law: a window goes as far as its history lets it.

Like the upkeep it looks round after round; each machine of a window goes its own way as soon as it is empty.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import NotFound, Rejected, Unavailable
from gpuaas.common.ids import derived_id
from gpuaas.common.projections import Record
from gpuaas.nodes.domain.axes import OWN_NAME, DrainMode, Lifecycle
from gpuaas.nodes.domain.maintenance import (
    MAINTENANCE,
    VOCABULARY,
    EndMaintenance,
    MaintenanceCommand,
    Stage,
    StartMaintenance,
    WindowState,
)
from gpuaas.nodes.domain.orders import (
    BeginNodeMaintenance,
    CancelDrain,
    EndNodeMaintenance,
    NodeCommand,
    OrderDrain,
    RecordFirmware,
)
from gpuaas.nodes.domain.servicing import SERVICEABLE
from gpuaas.nodes.ports import ProviderRefused, Unanswered, UnknownMachine, UpdatesFirmware
from gpuaas.nodes.projections.maintenance_windows import MaintenanceWindows
from gpuaas.nodes.reactions import NODE_ENTITY
from gpuaas.nodes.upkeep import Views, side_by_side

MAINTENANCE_ENTITY: Final[Entity[WindowState, MaintenanceCommand]] = Entity(
    "nodes", "maintenance", MAINTENANCE, VOCABULARY
)
_OVER: Final = frozenset({"done", "failed"})
_log = logging.getLogger(__name__)


class WindowKeeper:
    """Does what is due in every window."""

    def __init__(
        self,
        views: Views,
        windows: MaintenanceWindows,
        commands: Commands,
        clock: Clock,
        provider: UpdatesFirmware,
    ) -> None:
        self._views = views
        self._windows = windows
        self._commands = commands
        self._clock = clock
        self._provider = provider

    async def round(self) -> None:
        """One look at every window that is due, and at drains whose window has moved away or ended."""
        now = self._clock.now()
        await self._call_off(now)
        for window in await self._windows.due(self._views.database, now):
            places = await self._windows.places(self._views.database, [window["window_id"]])
            rows = await self._views.nodes.among(self._views.database, [place["node_id"] for place in places])
            progress = {place["node_id"]: place["progress"] for place in places}
            try:
                await self._carry_on(window, progress, rows, now)
            except (Rejected, NotFound) as overtaken:
                _log.info("window %s: %s", window["window_id"], overtaken.detail)

    async def _carry_on(
        self, window: Record, progress: Mapping[str, str], rows: Mapping[str, Record], now: datetime
    ) -> None:
        if window["stage"] == Stage.SCHEDULED and now >= window["starts_at"]:
            await self._tell(window, StartMaintenance(now), "start")
            return
        begun = window["stage"] == Stage.STARTED
        if begun or DrainMode(window["mode"]) is not DrainMode.NOW:
            undrained = [row for row in rows.values() if _to_drain(row, progress)]
            await side_by_side([self._drain(window, row, now) for row in undrained])
        if not begun:
            return
        await side_by_side([self._work(window, row, progress.get(node_id, "")) for node_id, row in rows.items()])
        if all(_settled(rows.get(node_id), step) for node_id, step in progress.items()):
            returned = frozenset(node_id for node_id, step in progress.items() if _returned(rows.get(node_id), step))
            told = f"{len(returned)} of {len(progress)} machines came back"
            await self._tell(window, EndMaintenance(returned, now, told), "end")

    async def _drain(self, window: Record, row: Record, now: datetime) -> None:
        left_s = max(0, int((window["starts_at"] - now).total_seconds()))
        order = OrderDrain(
            mode=DrainMode(window["mode"]),
            notice_s=min(window["notice_s"], left_s),
            reason=window["reason"],
            now=now,
            deadline=max(now, window["starts_at"]),
            window_id=window["window_id"],
        )
        await self._give(row, order, "drain")

    async def _work(self, window: Record, row: Record, progress: str) -> None:
        """The next step on one machine: take it when it is empty, then its firmware, then give it back."""
        drained = bool(row["drain"]) and row["drain"]["drained_at"] is not None
        if progress == "waiting" and drained and row["lifecycle"] in SERVICEABLE:
            await self._give(row, BeginNodeMaintenance(window["window_id"]), "begin")
        elif row["lifecycle"] == Lifecycle.MAINTENANCE and row["window_id"] == window["window_id"]:
            goals = [goal for goal in window["firmware"] if row["firmware"].get(goal["component"]) != goal["version"]]
            if goals:
                await self._flash(window, row, goals[0])
            elif window["firmware"]:
                await self._give(row, EndNodeMaintenance(window["window_id"]), "end")

    async def _flash(self, window: Record, row: Record, goal: Mapping[str, Any]) -> None:
        window_id, component, version = window["window_id"], goal["component"], goal["version"]
        order_id = derived_id("firmware", window_id, row["node_id"], component, version)
        try:
            report = await self._provider.update_firmware(row["node_id"], component, version, order_id)
        except ProviderRefused as refused:
            failed = f"{component} {version}: {refused.detail}"[:500]
            await self._give(row, EndNodeMaintenance(window_id, failed), "end")
            return
        except (Unanswered, UnknownMachine) as again:
            _log.warning("firmware of %s: %s", row["node_id"], again.detail)
            return
        if report is None:
            return
        if report.version != version:
            failed = f"{component} is at {report.version} and not at {version}"
            await self._give(row, EndNodeMaintenance(window_id, failed), "end")
            return
        done = RecordFirmware(window_id, component, version, report.previous, self._clock.now())
        await self._give(row, done, f"firmware-{component}")

    async def _call_off(self, now: datetime) -> None:
        """End the drains of windows that were cancelled, ended, or moved so that their notice has not begun."""
        rows = [
            row
            for row in await self._views.nodes.draining(self._views.database)
            if row["lifecycle"] != Lifecycle.MAINTENANCE
        ]
        windows = await self._windows.among(
            self._views.database, sorted({row["drain"]["window_id"] for row in rows if row["drain"]["window_id"]})
        )
        for row in rows:
            window = windows.get(row["drain"]["window_id"])
            if window is None:
                continue
            moved = window["stage"] == Stage.SCHEDULED and now < window["notice_at"] - timedelta(seconds=1)
            if window["stage"] == Stage.ENDED or moved:
                why = "the window ended" if window["stage"] == Stage.ENDED else "the window was moved"
                await self._give(row, CancelDrain(why, window["window_id"]), "call-off")

    async def _give(self, row: Record, command: NodeCommand, step: str) -> None:
        cause = Cause(derived_id("window", row["node_id"], row["version"], step), OWN_NAME, "service")
        try:
            await self._commands.execute(NODE_ENTITY, PLATFORM, row["node_id"], command, cause)
        except (Rejected, NotFound) as overtaken:
            _log.info("node %s: %s", row["node_id"], overtaken.detail)
        except Unavailable as away:
            _log.warning("node %s: %s", row["node_id"], away.detail)

    async def _tell(self, window: Record, command: MaintenanceCommand, step: str) -> None:
        cause = Cause(derived_id("window", window["window_id"], window["position"], step), OWN_NAME, "service")
        await self._commands.execute(MAINTENANCE_ENTITY, PLATFORM, window["window_id"], command, cause)


def _to_drain(row: Record, progress: Mapping[str, str]) -> bool:
    waiting = progress.get(row["node_id"]) == "waiting"
    return waiting and not row["drain"] and row["lifecycle"] not in (Lifecycle.MAINTENANCE, Lifecycle.RETIRED)


def _settled(row: Record | None, progress: str) -> bool:
    """Whether nothing more is to come of this machine in its window."""
    if row is None or row["lifecycle"] == Lifecycle.RETIRED:
        return True
    return progress in _OVER and row["lifecycle"] in (Lifecycle.AVAILABLE, Lifecycle.ALLOCATED, Lifecycle.REPAIR)


def _returned(row: Record | None, progress: str) -> bool:
    return row is not None and progress == "done" and row["lifecycle"] in (Lifecycle.AVAILABLE, Lifecycle.ALLOCATED)
