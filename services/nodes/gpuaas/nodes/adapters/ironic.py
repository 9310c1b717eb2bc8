"""Machines kept by OpenStack Ironic, standalone. One law: the id is ours, so a create that is repeated meets itself.

Ironic keeps one order per node and answers 409 while it is busy; every such answer, a broken one, or none at all, is
`Unanswered`: the next call looks first. What it is told beside the machine's own data stands in `extra` under `gpuaas`.
GPUs are read from `extra.gpus`, which the enrolment file or an introspection rule writes; their serial numbers are
checked on the machine itself by the agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx
from gpuaas.common.clock import Clock
from gpuaas.common.ids import derived_id
from gpuaas.nodes.domain.hardware import SeenDevice, SeenMachine
from gpuaas.nodes.domain.proofs import Load
from gpuaas.nodes.ports import (
    BurnInReport,
    FirmwareReport,
    ProviderRefused,
    Unanswered,
    UnknownMachine,
    Wanted,
    WipeReport,
)

API_VERSION: Final = "1.82"
"""Ironic's microversion that this adapter speaks (release 2023.1 and later)."""
POLL_S: Final = 0.1
_BUSY: Final = frozenset({409, 423, 429})
_CLEANABLE: Final = frozenset({"manageable", "clean failed"})


@dataclass(frozen=True, slots=True)
class Enrolment:
    """How Ironic reaches one machine, and what is known of it.

    Attributes:
        driver: Ironic's hardware type: `redfish`, `ipmi`, `fake-hardware`.
        driver_info: addresses and credentials of its controller.
        properties: `cpus`, `memory_mb`, `serial_number`.
        gpus: its GPUs: `{"serial", "slot", "memory_mib"}` each.
        gpu_model: catalogue name.
        interfaces: Ironic's interfaces where the defaults do not fit, such as `{"power": "redfish"}`.
    """

    driver: str
    gpu_model: str
    gpus: Sequence[Mapping[str, Any]]
    driver_info: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    interfaces: Mapping[str, str] = field(default_factory=dict)


def enrolments(text: str) -> dict[str, Enrolment]:
    """Node id → enrolment, out of the JSON object of an enrolment file. Raises ValueError, TypeError: it is none."""
    told = json.loads(text)
    if not isinstance(told, dict):
        raise TypeError("an enrolment file is an object: node id to driver, gpu_model, gpus, driver_info, properties")
    return {node_id: Enrolment(**machine) for node_id, machine in told.items()}


@dataclass(frozen=True, slots=True)
class WipePlan:
    """The manual cleaning that a wipe is, and what it counts as."""

    steps: Sequence[Mapping[str, Any]] = ({"interface": "deploy", "step": "erase_devices"},)
    method: str = "erase-devices"


IPA_LOADS: Final[Mapping[Load, Sequence[Mapping[str, Any]]]] = {
    load: ({"interface": "deploy", "step": f"burnin_{load.value}"},)
    for load in (Load.CPU, Load.MEMORY, Load.DISK, Load.NETWORK)
}
"""The manual clean steps with which Ironic's own agent burns a machine in; it knows nothing of GPUs."""


def loads_with(text: str) -> dict[Load, Sequence[Mapping[str, Any]]]:
    """`IPA_LOADS`, and the steps of a ramdisk of one's own: what a JSON object of load → clean steps says.

    Raises:
        ValueError, TypeError: it is none, or names a load or step that is none.
    """
    told = json.loads(text)
    if not isinstance(told, dict):
        raise TypeError("burn-in steps are an object: load to a list of Ironic's clean steps")
    for name, steps in told.items():
        if not isinstance(steps, list) or not steps or not all(isinstance(s, dict) and "step" in s for s in steps):
            raise TypeError(f"{name}: name at least one clean step, such as {IPA_LOADS[Load.CPU][0]}")
    return {**IPA_LOADS, **{Load(name): steps for name, steps in told.items()}}


class IronicProvider:
    """One Ironic, or several of ours on one: each has a `cell` of its own.

    Args:
        url: of its API, without `/v1`.
        machines: node id → how Ironic reaches it; what is not there cannot be adopted.
        timeout_s: longest wait for one HTTP answer and for one state to settle.
    """

    def __init__(
        self,
        url: str,
        machines: Mapping[str, Enrolment],
        clock: Clock,
        *,
        cell: str = "gpuaas",
        token: str | None = None,
        wipe: WipePlan | None = None,
        loads: Mapping[Load, Sequence[Mapping[str, Any]]] = IPA_LOADS,
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"X-OpenStack-Ironic-API-Version": API_VERSION, "Accept": "application/json"}
        if token is not None:
            headers["X-Auth-Token"] = token
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_s, transport=transport)
        self._machines = machines
        self._clock = clock
        self._cell = cell
        self._wipe = wipe or WipePlan()
        self._loads = loads
        self._timeout_s = timeout_s

    async def close(self) -> None:
        await self._http.aclose()

    # -- the port ----------------------------------------------------------------------------------------------

    async def adopt(self, node_id: str, wanted: Wanted) -> None:
        if (machine := self._machines.get(node_id)) is None:
            raise ProviderRefused(f"the enrolment file names no machine for {node_id}; add it there")
        body = {
            "uuid": self._uuid(node_id),
            "name": f"{self._cell}-{node_id}",
            "driver": machine.driver,
            "driver_info": dict(machine.driver_info),
            "properties": dict(machine.properties),
            "automated_clean": False,
            "extra": {
                "gpus": [dict(gpu) for gpu in machine.gpus],
                "gpu_model": machine.gpu_model,
                "gpuaas": {"node_id": node_id, "gpu_model": wanted.gpu_model, "gpu_count": wanted.gpu_count},
            },
            **{f"{name}_interface": value for name, value in machine.interfaces.items()},
        }
        created = await self._send("POST", "/v1/nodes", body, expected=(201, 409))
        if created.status_code == 409 and await self._found(node_id, "uuid") is None:
            raise Unanswered(f"adopt {node_id}: Ironic is busy; observe the machine")
        node = await self._settled(node_id)
        if node["provision_state"] == "enroll":
            # Another adoption of the same machine may have been faster: what came of it is seen, not guessed.
            await self._provision(node_id, {"target": "manage"}, expected=(202, 400, 409))
            node = await self._settled(node_id)
        if node["provision_state"] == "enroll":
            raise ProviderRefused(f"Ironic does not reach {node_id}: {node['last_error']}")

    async def observe(self, node_id: str) -> SeenMachine:
        node = await self._node(node_id)
        properties, extra = node["properties"], node["extra"]
        try:
            return SeenMachine(
                machine_serial=str(properties.get("serial_number") or node["uuid"]),
                cpu_count=int(properties.get("cpus", 0)),
                memory_mib=int(properties.get("memory_mb", 0)),
                gpu_model=str(extra["gpu_model"]),
                devices=tuple(
                    SeenDevice(serial=str(gpu["serial"]), slot=int(gpu["slot"]), memory_mib=int(gpu["memory_mib"]))
                    for gpu in extra["gpus"]
                ),
                # A controller that has not told yet is not taken for one that is off.
                powered=node["power_state"] != "power off",
                observed_at=self._clock.now(),
            )
        except (KeyError, TypeError, ValueError) as broken:
            raise Unanswered(f"observe {node_id}: Ironic's record is not readable: {broken!r}") from None

    async def power(self, node_id: str, on: bool) -> None:
        target = "power on" if on else "power off"
        node = await self._node(node_id, "power_state,target_power_state,reservation")
        if node["power_state"] == target and node["target_power_state"] is None:
            return
        if node["target_power_state"] != target:
            await self._send("PUT", f"{self._path(node_id)}/states/power", {"target": target}, expected=(202,))
        async for node in self._looks(node_id, "power_state,target_power_state,last_error"):
            if node["power_state"] == target:
                return
            if node["target_power_state"] is None and node["last_error"]:
                raise ProviderRefused(f"{node_id} was not switched: {node['last_error']}")
        raise Unanswered(f"power {node_id}: not {target} within {self._timeout_s:g} s")

    async def erase(self, node_id: str, order_id: str) -> WipeReport | None:
        node = await self._cleaned(node_id, "gpuaas_wipe", order_id, self._wipe.steps)
        if node is not None and node["provision_state"] == "clean failed":
            raise ProviderRefused(f"the wipe of {node_id} failed: {node['last_error']}")
        return None if node is None else self._report(node, order_id)

    @property
    def loads(self) -> frozenset[Load]:
        return frozenset(self._loads)

    async def burn_in(self, node_id: str, load: Load, order_id: str) -> BurnInReport | None:
        if (steps := self._loads.get(load)) is None:
            known = ", ".join(each.value for each in self._loads)
            raise ProviderRefused(f"Ironic does not load {load.value} of {node_id}; it loads {known}")
        node = await self._cleaned(node_id, "gpuaas_burn_in", order_id, steps)
        if node is None:
            return None
        passed = node["provision_state"] == "manageable"
        told = {"node": node["uuid"], "order": order_id, "steps": list(steps), "ended": node["provision_updated_at"]}
        detail = "every step ended well" if passed else str(node["last_error"] or "a step failed")
        return BurnInReport(passed, detail, _digest(told | {"detail": detail}))

    async def reset_gpu(self, node_id: str, slot: int | None, order_id: str) -> bool:
        raise ProviderRefused(f"Ironic resets no GPUs, so none of {node_id}; switch the machine off and on")

    async def update_firmware(self, node_id: str, component: str, version: str, order_id: str) -> FirmwareReport | None:
        raise ProviderRefused(
            f"{component} of {node_id}: this provider is not asked for firmware; update it by hand and say `done`"
        )

    # -- Ironic ------------------------------------------------------------------------------------------------

    async def _cleaned(
        self, node_id: str, key: str, order_id: str, steps: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """The node when the manual cleaning of this order has ended, well or not; None while it is under way."""
        shown = "uuid,provision_state,provision_updated_at,extra,last_error,properties"
        node = await self._node(node_id, shown)
        state, order = node["provision_state"], node["extra"].get(key, {})
        if order.get("id") != order_id:
            if state not in _CLEANABLE:
                raise Unanswered(f"{key} of {node_id}: it is {state}; ask again")
            # Written down before it is begun: whoever comes later can tell whether the state has moved since.
            order = {"id": order_id, "since": node["provision_updated_at"]}
            patch = [{"op": "add", "path": f"/extra/{key}", "value": order}]
            await self._send("PATCH", self._path(node_id), patch, expected=(200,))
        if state not in _CLEANABLE:
            return None
        if node["provision_updated_at"] != order["since"]:
            return node
        if state == "clean failed":
            await self._provision(node_id, {"target": "manage"})
            await self._settled(node_id)
        await self._provision(node_id, {"target": "clean", "clean_steps": [dict(s) for s in steps]})
        return None

    def _report(self, node: Mapping[str, Any], order_id: str) -> WipeReport:
        done_at = str(node["provision_updated_at"])
        told = {"node": node["uuid"], "order": order_id, "steps": list(self._wipe.steps), "finished_at": done_at}
        return WipeReport(
            method=self._wipe.method,
            disks=int(node["properties"].get("disks", 0)),
            gpus=len(node["extra"].get("gpus", ())),
            finished_at=datetime.fromisoformat(done_at),
            sha256=_digest(told),
        )

    async def _provision(self, node_id: str, body: Mapping[str, Any], expected: tuple[int, ...] = (202,)) -> None:
        await self._send("PUT", f"{self._path(node_id)}/states/provision", dict(body), expected=expected)

    async def _settled(self, node_id: str) -> dict[str, Any]:
        """The node once Ironic is not carrying it anywhere. Raises Unanswered: it still is."""
        async for node in self._looks(node_id, "provision_state,target_provision_state,last_error"):
            if node["target_provision_state"] is None:
                return node
        raise Unanswered(f"{node_id} did not settle within {self._timeout_s:g} s")

    async def _looks(self, node_id: str, fields: str) -> AsyncIterator[dict[str, Any]]:
        for _ in range(max(1, int(self._timeout_s / POLL_S))):
            yield await self._node(node_id, fields)
            await asyncio.sleep(POLL_S)

    async def _node(self, node_id: str, fields: str | None = None) -> dict[str, Any]:
        if (node := await self._found(node_id, fields)) is None:
            raise UnknownMachine(f"Ironic has no machine for node {node_id}; adopt one first")
        return node

    async def _found(self, node_id: str, fields: str | None) -> dict[str, Any] | None:
        path = self._path(node_id) + (f"?fields={fields}" if fields else "")
        answer = await self._send("GET", path, None, expected=(200, 404))
        if answer.status_code == 404:
            return None
        try:
            told = answer.json()
        except ValueError:
            raise Unanswered(f"{node_id}: Ironic's answer is not JSON") from None
        if not isinstance(told, dict):
            raise Unanswered(f"{node_id}: Ironic's answer is not an object")
        return told

    async def _send(self, method: str, path: str, body: object, *, expected: tuple[int, ...]) -> httpx.Response:
        """One request.

        Raises:
            Unanswered: no answer, busy, or an error of the server: unknown whether it took effect.
            ProviderRefused: Ironic understood and will not.
        """
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.HTTPError as lost:
            raise Unanswered(f"{method} {path.partition('?')[0]}: {type(lost).__name__}; observe the machine") from lost
        if answer.status_code in expected:
            return answer
        told = answer.text[:300]
        if answer.status_code in _BUSY or answer.status_code >= 500:
            raise Unanswered(f"{method} {path.partition('?')[0]}: {answer.status_code}; observe the machine")
        raise ProviderRefused(f"Ironic answers {answer.status_code} to {method} {path.partition('?')[0]}: {told}")

    def _uuid(self, node_id: str) -> str:
        return derived_id("ironic-node", self._cell, node_id)

    def _path(self, node_id: str) -> str:
        return f"/v1/nodes/{self._uuid(node_id)}"


def _digest(told: Mapping[str, Any]) -> str:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()
