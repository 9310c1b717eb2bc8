"""Samples of what GPUs do: strict on the wire, impossible values refused, counters that move become faults."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import nats
import pytest
from gpuaas.common.errors import Invalid, Misconfigured
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.nodes.adapters.gauges import CounterFaults, SimulatedGauges
from gpuaas.nodes.adapters.sample_stream import FRESH_S, SampleStream
from gpuaas.nodes.adapters.sample_wire import GpuReading, Sample, decode_sample, encode_sample
from gpuaas.nodes.agent import Fleet, Meter, meter_of, tell_utilisation
from gpuaas.nodes.app import build
from gpuaas.nodes.domain.faults import FaultClass
from gpuaas.nodes.settings import NodesSettings

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/telemetry/node-utilisation.v1.json").read_text("utf-8"))
NOW = datetime(2026, 8, 4, 12, 0, tzinfo=UTC)
USUAL = GpuReading(0, 50, 1_000, 81_559, 60, 400, 0)


def sample(*gpus: GpuReading, node_id: str = "n-1") -> Sample:
    return Sample(node_id, NOW, "simulation", gpus or (USUAL,))


def changed(**fields: Any) -> bytes:
    told = json.loads(encode_sample(sample()))
    told["gpus"][0] |= fields
    return json.dumps(told).encode()


def test_what_is_encoded_keeps_the_schema_and_comes_back() -> None:
    jsonschema.validate(json.loads(encode_sample(sample())), SCHEMA)
    assert decode_sample(encode_sample(sample())) == sample()
    for example in SCHEMA["examples"]:
        assert decode_sample(json.dumps(example).encode()).gpus[0].slot == 0


@pytest.mark.parametrize(
    "payload",
    [
        changed(temperature_c=900),
        changed(temperature_c=-273),
        changed(temperature_c="hot"),
        changed(gpu_percent=101),
        changed(power_w=-1),
        changed(slot=64),
        changed(nvlink_errors=-1),
        changed(pcie_replays=1 << 60),
        changed(remap_failed="no"),
        changed(memory_used_mib=90_000),
        changed(memory_total_mib=0),
        b"{}",
        b"\xff\xfe",
        b"[" * 40_000,
        encode_sample(sample(USUAL, USUAL)),
    ],
)
def test_values_that_no_gpu_can_have_are_refused(payload: bytes) -> None:
    with pytest.raises(Invalid):
        decode_sample(payload)


def test_the_newest_sample_is_kept_while_it_is_fresh_and_foreign_ones_never() -> None:
    now = [NOW.timestamp()]
    broker: Any = None  # what is taken here comes from none
    stream = SampleStream(broker, lambda: False, lambda: now[0])
    assert stream.take("n-1", encode_sample(sample()), now[0]) == "kept"
    assert stream.take("n-2", encode_sample(sample()), now[0]) == "foreign"
    assert stream.take("n-1", changed(temperature_c=900), now[0]) == "unreadable"
    assert stream.take("n-1", encode_sample(sample()), now[0] - 5) == "late"
    assert stream.take("n-1", encode_sample(sample()), now[0] + 3_600) == "skewed", "kept by the time of receipt"
    now[0] += 3_600
    assert stream.newest("n-1") is not None
    assert stream.newest("n-2") is None
    now[0] += FRESH_S + 1
    assert stream.newest("n-1") is None


@pytest.fixture
def gauges_file(tmp_path: Path) -> Path:
    kept = tmp_path / "gauges.json"
    kept.write_text("{}")
    return kept


def test_counters_that_move_are_faults_once(gauges_file: Path) -> None:
    source = CounterFaults(SimulatedGauges(lambda: 0, gauges_file), lambda: ["n-1"], "simulation")

    def shows(told: dict[str, Any]) -> list[tuple[int, FaultClass]]:
        gauges_file.write_text(json.dumps({"n-1": told}))
        return [(report.slot, report.fault_class) for report in source.read()]

    assert shows({"1": {"ecc_uncorrected": 7}}) == [], "what was counted before this agent began is no news"
    assert shows({"1": {"ecc_uncorrected": 9}}) == [(1, FaultClass.MEMORY_UNCORRECTED)]
    assert shows({"1": {"ecc_uncorrected": 9}}) == []
    assert shows({"1": {"ecc_uncorrected": 9}, "2": {"temperature_c": 99}}) == [(2, FaultClass.THERMAL)]
    assert shows({"1": {"ecc_uncorrected": 9}, "2": {"temperature_c": 92}}) == [], "one episode is one fault"
    assert shows({"1": {"ecc_uncorrected": 0}, "3": None}) == [(3, FaultClass.OFF_THE_BUS)], "a reload counts anew"
    assert shows({"3": None}) == []


def test_the_same_second_of_a_machine_is_always_the_same() -> None:
    assert SimulatedGauges(lambda: 7).read("n-1") == SimulatedGauges(lambda: 7).read("n-1")
    assert SimulatedGauges(lambda: 7).read("n-1") != SimulatedGauges(lambda: 7).read("n-2")


def test_the_agent_meters_one_real_machine_or_simulated_ones() -> None:
    many = Fleet(lambda: ["n-1", "n-2"])
    named = argparse.Namespace(utilisation="nvml", utilisation_every_s=30.0, gauges_file=None)
    with pytest.raises(Misconfigured, match="speaks for 2"):
        meter_of(named, many)
    assert meter_of(argparse.Namespace(utilisation=None), many) is None
    named.utilisation_every_s = 0.0
    with pytest.raises(Misconfigured, match="use 1 to 3600"):
        meter_of(named, many)


async def test_samples_of_an_agent_are_shown_at_the_door(stack: TestStack, tmp_path: Path) -> None:
    async with fresh_settings(stack, NodesSettings, tmp_path / "state") as settings:
        service = build(settings)
        async with running(service) as client:
            operator = await (await Identities.on(service.log)).operator()
            missing = await client.get("/v1/nodes/n-1/utilisation", headers=operator)
            assert missing.status_code == 404
            connection = await nats.connect(settings.nats_url)
            meter = Meter(SimulatedGauges(lambda: 0), "simulation", 0.1)
            telling = asyncio.create_task(tell_utilisation(connection, Fleet(lambda: ["n-1"]), meter))

            async def shown() -> bool:
                answer = await client.get("/v1/nodes/n-1/utilisation", headers=operator)
                return answer.status_code == 200 and len(answer.json()["gpus"]) == 8

            await eventually(shown)
            telling.cancel()
            await connection.close()
