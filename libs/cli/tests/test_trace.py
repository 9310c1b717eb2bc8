"""The demo's input is the traces' own, only shifted."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from gpuaas.cli.demo.trace import GPUS_PER_HOST, WORLD_EPOCH, busiest, fleet, jobs


def _philly() -> list[dict[str, str]]:
    raw = files("gpuaas.cli").joinpath("data", "philly-jobs.csv.gz").read_bytes()
    return list(csv.DictReader(gzip.decompress(raw).decode().splitlines()))


def test_a_slice_has_every_tenant_and_at_least_as_many_jobs_as_asked() -> None:
    for count in (1_000, 3_000, 6_000):
        found = jobs(count)
        assert count <= len(found) <= count + 15
        assert len({job.tenant for job in found}) == 15
        assert len({job.name for job in found}) == len(found)


def test_jobs_of_a_slice_are_jobs_of_the_trace() -> None:
    known = Counter((row["virtual_cluster"], int(row["duration_s"]), int(row["gpu_count"])) for row in _philly())
    taken = Counter((job.tenant.removeprefix("vc-"), job.run_s, job.gpu_count) for job in jobs(1_000))
    assert all(count <= known[job] for job, count in taken.items())


def test_the_whole_trace_keeps_every_job_and_gpu_second() -> None:
    rows, found = _philly(), jobs(None)
    assert len(found) == len(rows) == 82_247
    assert sum(job.gpu_ms for job in found) == 1_000 * sum(
        int(row["duration_s"]) * int(row["gpu_count"]) for row in rows
    )
    assert found[0].arrival == WORLD_EPOCH


def test_a_gang_is_whole_machines_that_add_up() -> None:
    for job in jobs(None)[::500]:
        replicas, each = job.shape
        assert replicas * each == job.gpu_count
        assert each <= GPUS_PER_HOST


def test_the_fleet_is_whole_racks_and_no_larger_than_the_topology() -> None:
    whole = fleet(847)
    assert len({host.name for host in whole}) == 847
    some = fleet(240)
    racks, all_racks = (Counter((host.pod, host.rack) for host in hosts) for hosts in (some, whole))
    cut = (some[-1].pod, some[-1].rack)
    assert all(count == all_racks[rack] for rack, count in racks.items() if rack != cut)
    with pytest.raises(ValueError, match="847"):
        fleet(848)


def test_the_busiest_window_is_the_one_with_most_rows() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [(start + timedelta(minutes=at), 1, 1) for at in (0, 50, 55, 58, 59, 130)]
    assert [row[0].minute for row in busiest(rows, timedelta(minutes=10))] == [50, 55, 58, 59]
