"""Faults of agents over a real broker: recorded once, by the right component, whoever else shouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import nats
import pytest
from enrolled_nodes import enrolled
from gpuaas.common.errors import Invalid
from gpuaas.common.ids import new_id
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.adapters.fault_stream import RECEIVED
from gpuaas.nodes.adapters.fault_wire import FaultReport, decode_fault, encode_fault, fault_subject_of
from gpuaas.nodes.adapters.sim import serial_of
from gpuaas.nodes.app import build
from gpuaas.nodes.domain.faults import FaultClass
from gpuaas.nodes.domain.hardware import device_id_of
from gpuaas.nodes.monitor import FLOOD_MAX
from gpuaas.nodes.settings import NodesSettings
from node_facts import MODEL

SCHEMA = Path(__file__).parents[3] / "schemas/telemetry/node-fault.v1.json"
PLACE = {"region": "eu-central", "site": "fra1", "pod": "p2", "rack": "r07"}


def report(node_id: str = "n-1", fault_id: str | None = None, **other: Any) -> FaultReport:
    told: dict[str, Any] = {
        "slot": 2,
        "fault_class": FaultClass.OFF_THE_BUS,
        "source": "simulation",
        "detail": "GPU has fallen off the bus.",
        "code": "XID 79",
    }
    return FaultReport(node_id=node_id, fault_id=fault_id or new_id(), **(told | other))


def test_the_payload_is_what_the_schema_says() -> None:
    schema = json.loads(SCHEMA.read_text())
    for told in (report(), report(code=None)):
        jsonschema.validate(json.loads(encode_fault(told)), schema)
        assert decode_fault(encode_fault(told)) == told
    for example in schema["examples"]:
        assert decode_fault(json.dumps(example).encode()).slot == 1


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b'{"slot": 64}', b"x" * 5_000])
def test_what_is_no_fault_is_refused(payload: bytes) -> None:
    with pytest.raises(Invalid):
        decode_fault(payload)


async def test_an_agents_fault_closes_its_machine_and_is_recorded_once(stack: TestStack, tmp_path: Path) -> None:
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", heartbeat_tick_s=0.1) as settings:
        service = build(settings)
        async with running(service) as client:
            operator = await (await Identities.on(service.log)).operator()
            order = {
                "node_id": "n-1",
                "topology": PLACE,
                "expected_gpu_model": MODEL,
                "expected_gpu_count": 8,
                "pool_id": "h100-fra",
            }
            await client.post("/v1/nodes", json=order, headers=operator)

            async def placeable(wanted: bool) -> bool:
                answer = await client.get("/v1/nodes/n-1", headers=operator)
                return answer.status_code == 200 and answer.json()["placeable"] is wanted

            await eventually(lambda: placeable(True))
            agent = await nats.connect(settings.nats_url)
            fault = report(fault_id="f-1")
            await agent.publish(fault_subject_of("n-1"), b"noise")
            await agent.publish(fault_subject_of("n-2"), encode_fault(fault))
            await agent.publish(fault_subject_of("n-1"), encode_fault(report(slot=40)))
            for _ in range(3):
                await agent.publish(fault_subject_of("n-1"), encode_fault(fault))
            await agent.close()
            await eventually(lambda: placeable(False))
            component_id = device_id_of(serial_of("n-1", 2))
            history = await service.log.history(f"events.nodes.component.platform.{component_id}")
            assert len(history) == 2
        heard = RECEIVED.labels("repeated")._value.get()
        again = build(settings)
        async with running(again):
            await eventually(lambda: _repeated(heard + 3))
            assert len(await again.log.history(f"events.nodes.component.platform.{component_id}")) == 2


async def test_a_flood_of_different_faults_is_cut_off_and_a_retired_machine_is_not_heard(
    stack: TestStack, tmp_path: Path
) -> None:
    async with fresh_settings(stack, NodesSettings, tmp_path / "state", heartbeat_tick_s=0.1) as settings:
        service = build(settings.model_copy(update={"remedy_automation": False}))
        async with running(service) as client:
            operator = await (await Identities.on(service.log)).operator()
            await enrolled(client, operator, "n-1", "n-2")
            await client.post("/v1/nodes/n-2/retire", json={"reason": "end of lease"}, headers=operator)
            flood, unknown = _received("flood"), _received("unknown-node")
            agent = await nats.connect(settings.nats_url)
            for number in range(FLOOD_MAX + 36):
                told = report(fault_id=f"f-{number}", slot=number % 8, code=f"XID {900 + number}")
                await agent.publish(fault_subject_of("n-1"), encode_fault(told))
            await agent.publish(fault_subject_of("n-2"), encode_fault(report("n-2")))
            await agent.close()
            await eventually(lambda: _received("flood") == flood + 36)
            await eventually(lambda: _received("unknown-node") == unknown + 1)
            history = await client.get("/v1/components?node_id=n-1", headers=operator)
            assert sum(each["fault_count"] for each in history.json()["items"]) <= FLOOD_MAX


def _received(outcome: str) -> float:
    return float(RECEIVED.labels(outcome)._value.get())


async def _repeated(count: float) -> bool:
    return float(RECEIVED.labels("repeated")._value.get()) >= count
