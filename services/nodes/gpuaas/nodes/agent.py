"""`gpuaas-node-agent`: says that a machine lives. One law: it reports and is told nothing.

One process speaks for one machine; in the embedded stack, where the machines are simulated, one process speaks for
many. Heartbeats go out as plain publishes: whether one arrives is the listener's business, the next one follows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import nats
from gpuaas.common.errors import Misconfigured
from gpuaas.common.ids import derived_id, is_name, new_id
from gpuaas.common.settings import login_of
from gpuaas.nodes.adapters.fault_sources import FaultSource, InjectedFaults, KernelLog, RandomFaults
from gpuaas.nodes.adapters.fault_wire import encode_fault, fault_subject_of
from gpuaas.nodes.adapters.gauges import CounterFaults, GpuGauges, SimulatedGauges
from gpuaas.nodes.adapters.heartbeat_wire import encode, subject_of
from gpuaas.nodes.adapters.nvml import NvmlGauges, slots_by_address
from gpuaas.nodes.adapters.sample_wire import Sample, encode_sample, sample_subject_of
from gpuaas.nodes.domain.faults import built_in
from nats.aio.client import Client

INTERVAL_S: Final = 10.0
FAULTS_EVERY_S: Final = 0.5
NODES_MAX: Final = 100_000
PENDING_BYTES_MAX: Final = 1 << 20
"""Bytes kept while the broker is away; older heartbeats are worth nothing, so this stays small."""
_log = logging.getLogger("gpuaas.nodes.agent")


@dataclass(slots=True)
class Fleet:
    """The machines this process speaks for.

    Args:
        read: gives their ids; asked again before every round, so that a file may grow.
    """

    read: Callable[[], list[str]]
    boot_id: str = field(default_factory=new_id)
    _sequences: dict[str, int] = field(default_factory=dict)

    def due(self, interval_s: float) -> list[tuple[float, str]]:
        """(second within the round, node id) in order of time, spread by id so that no second is a burst."""
        spread = ((int(derived_id("phase", node)[:8], 16) / 0xFFFFFFFF * interval_s, node) for node in self.read())
        return sorted(spread)

    def heartbeat(self, node_id: str, now_s: float) -> bytes:
        """The next heartbeat of a machine."""
        sequence = self._sequences[node_id] = self._sequences.get(node_id, 0) + 1
        return encode(node_id, self.boot_id, sequence, now_s)


async def beat(client: Client, fleet: Fleet, interval_s: float, rounds: int | None = None) -> int:
    """Publish every machine's heartbeat once per interval, for ever or for some rounds; how many were sent."""
    sent = 0
    began_s = time.monotonic()
    done = 0
    while rounds is None or done < rounds:
        for phase_s, node_id in fleet.due(interval_s):
            if (pause_s := began_s + phase_s - time.monotonic()) > 0:
                await asyncio.sleep(pause_s)
            with contextlib.suppress(nats.errors.OutboundBufferLimitError):
                await client.publish(subject_of(node_id), fleet.heartbeat(node_id, time.time()))
                sent += 1
        done += 1
        # A process that was paused goes on from now: it does not send the rounds it missed.
        began_s = max(began_s + interval_s, time.monotonic() - interval_s)
        if (pause_s := began_s - time.monotonic()) > 0 and (rounds is None or done < rounds):
            await asyncio.sleep(pause_s)
    await client.flush()
    return sent


async def tell_faults(client: Client, sources: Sequence[FaultSource]) -> None:
    """Publish what the sources see, for ever; a source that fails is read again at the next look."""
    while True:
        for source in sources:
            try:
                for report in source.read():
                    await client.publish(fault_subject_of(report.node_id), encode_fault(report))
            except (OSError, nats.errors.Error) as failed:
                _log.warning("faults: %s", failed)
        await asyncio.sleep(FAULTS_EVERY_S)


@dataclass(frozen=True, slots=True)
class Meter:
    """What the machines' GPUs are read with, how it is called in samples, and how often that is done."""

    gauges: GpuGauges
    source: Literal["nvml", "simulation"]
    every_s: float


async def tell_utilisation(client: Client, fleet: Fleet, meter: Meter) -> None:
    """Publish a sample of every machine each `every_s` seconds, for ever; one that cannot be read is left out."""
    while True:
        for node_id in fleet.read():
            try:
                readings = tuple(meter.gauges.read(node_id))
                sample = Sample(node_id, datetime.now(UTC), meter.source, readings)
                await client.publish(sample_subject_of(node_id), encode_sample(sample))
            except (OSError, TypeError, nats.errors.Error) as failed:
                _log.warning("utilisation of %s: %s", node_id, failed)
        await asyncio.sleep(meter.every_s)


async def speak(
    nats_url: str,
    fleet: Fleet,
    interval_s: float,
    rounds: int | None,
    sources: Sequence[FaultSource] = (),
    meter: Meter | None = None,
) -> None:
    """Connect and beat until SIGTERM or SIGINT."""

    async def complain(error: Exception) -> None:
        _log.warning("broker: %s", error)

    login = login_of(nats_url)
    client = await nats.connect(
        login.servers,
        user=login.user,
        password=login.password,
        name="gpuaas-node-agent",
        inbox_prefix=b"_INBOX_agent",
        error_cb=complain,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        ping_interval=5,
        max_outstanding_pings=2,
        pending_size=PENDING_BYTES_MAX,
    )
    beating = asyncio.create_task(beat(client, fleet, interval_s, rounds))
    beside = [asyncio.create_task(tell_faults(client, sources))]
    if meter is not None:
        beside.append(asyncio.create_task(tell_utilisation(client, fleet, meter)))
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, beating.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await beating
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await client.close()


def ids_in(text: str) -> list[str]:
    """Node ids separated by commas or white space; `#` begins a comment.

    Raises:
        Misconfigured: one is no node id, or there are too many.
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    ids = list(dict.fromkeys(" ".join(lines).replace(",", " ").split()))
    if wrong := next((node_id for node_id in ids if not is_name(node_id)), None):
        raise Misconfigured(f"{wrong[:80]!r} is no node id; use 1–63 of a–z, 0–9 and inner hyphens")
    if len(ids) > NODES_MAX:
        raise Misconfigured(f"{len(ids)} nodes; one agent speaks for at most {NODES_MAX}")
    return ids


def fleet_of(options: argparse.Namespace) -> Fleet:
    """The fleet the options name.

    Raises:
        Misconfigured: no machine is named, or the file cannot be read.
    """
    if options.nodes_file is not None:
        return Fleet(_reader(options.nodes_file))
    ids = ids_in(options.nodes or "")
    if not ids:
        raise Misconfigured("name the machines to speak for: --nodes a,b,c or --nodes-file PATH")
    return Fleet(lambda: ids)


def meter_of(options: argparse.Namespace, fleet: Fleet) -> Meter | None:
    """What the options name to read GPUs with, if anything.

    Raises:
        Misconfigured: real GPUs are read for more than one machine, or not at all; an interval out of range.
    """
    if options.utilisation is None:
        return None
    if not 1 <= options.utilisation_every_s <= 3600:
        raise Misconfigured(f"--utilisation-every-s is {options.utilisation_every_s}; use 1 to 3600")
    if options.utilisation == "sim":
        gauges = SimulatedGauges(lambda: int(time.time()), options.gauges_file)
        return Meter(gauges, "simulation", options.utilisation_every_s)
    if len(fleet.read()) != 1:
        raise Misconfigured(f"the GPUs here are one machine's, and this agent speaks for {len(fleet.read())}")
    return Meter(NvmlGauges(), "nvml", options.utilisation_every_s)


def sources_of(options: argparse.Namespace, fleet: Fleet, meter: Meter | None = None) -> list[FaultSource]:
    """The sources of faults that the options name; what is metered tells of its counters too.

    Raises:
        Misconfigured: a kernel log of more than one machine, or of one whose GPUs nobody can list; a negative rate.
    """
    sources: list[FaultSource] = [CounterFaults(meter.gauges, fleet.read, meter.source)] if meter else []
    if options.faults_file is not None:
        sources.append(InjectedFaults(options.faults_file))
    if options.fault_rate < 0:
        raise Misconfigured(f"--fault-rate is {options.fault_rate}; use 0 or more faults per GPU and hour")
    if options.fault_rate:
        sources.append(RandomFaults(fleet.read, options.fault_rate, options.fault_seed, time.monotonic))
    if options.kernel_log is not None:
        nodes = fleet.read()
        if len(nodes) != 1:
            raise Misconfigured(f"--kernel-log is one machine's, and this agent speaks for {len(nodes)}")
        sources.append(KernelLog(options.kernel_log, nodes[0], slots_by_address(), built_in()))
    return sources


def _reader(path: Path) -> Callable[[], list[str]]:
    """Reads the file anew at each call; a file that is away or half written keeps the last good list."""
    try:
        last = ids_in(path.read_text("utf-8"))
    except OSError as refused:
        raise Misconfigured(f"--nodes-file {path} cannot be read: {refused.strerror}") from None

    def read() -> list[str]:
        nonlocal last
        try:
            last = ids_in(path.read_text("utf-8"))
        except (OSError, ValueError, Misconfigured) as broken:
            _log.warning("%s is not readable now, the machines stay the same: %s", path, broken)
        return last

    return read


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the agent; exit status 2 with one sentence when it is set up wrongly."""
    parser = argparse.ArgumentParser(prog="gpuaas-node-agent", description="Publish heartbeats of machines.")
    parser.add_argument("--nodes", help="node ids, separated by commas")
    parser.add_argument("--nodes-file", type=Path, help="file with node ids; read again before every round")
    parser.add_argument("--interval-s", type=float, default=INTERVAL_S, help="seconds between two heartbeats")
    parser.add_argument("--rounds", type=int, default=None, help="stop after so many rounds")
    parser.add_argument("--faults-file", type=Path, help="file with faults to inject, one JSON object a line")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="simulated faults per GPU and hour")
    parser.add_argument("--fault-seed", type=int, default=0, help="seed of the simulated faults")
    parser.add_argument("--utilisation", choices=["sim", "nvml"], help="publish what the GPUs do, made up or read")
    parser.add_argument("--utilisation-every-s", type=float, default=30.0, help="seconds between two samples")
    parser.add_argument("--gauges-file", type=Path, help="with sim: file with values to show instead of the usual ones")
    parser.add_argument("--kernel-log", type=Path, help="kernel log to watch for XID lines; needs nvidia-ml-py")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    url = os.environ.get("GPUAAS_NATS_URL", "nats://127.0.0.1:4222")
    try:
        if not 0.05 <= options.interval_s <= 3600:
            raise Misconfigured(f"--interval-s is {options.interval_s}; use 0.05 to 3600")
        fleet = fleet_of(options)
        meter = meter_of(options, fleet)
        sources = sources_of(options, fleet, meter)
        asyncio.run(speak(url, fleet, options.interval_s, options.rounds, sources, meter))
    except Misconfigured as wrong:
        sys.stderr.write(f"{wrong.detail}\n")
        sys.exit(2)
    except (OSError, nats.errors.Error) as away:
        sys.stderr.write(f"the broker at GPUAAS_NATS_URL does not answer: {away}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
