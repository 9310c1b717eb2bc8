"""What was used between two instants, out of sums by the hour. One law tested: it is what the records add up to."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

import pytest
from billing_world import AUGUST, HOUR, MODEL, SEPTEMBER, World, settings_on, world_on
from gpuaas.billing.projections.metered_usage import MeteredUsage
from gpuaas.billing.projections.usage_edges import BUCKET_MS, Edge, used_between
from gpuaas.common.testing.stack import TestStack
from hypothesis import given, settings
from hypothesis import strategies as st

Record = tuple[int, int, int]
"""start, end, rate"""
moments = st.integers(0, 5 * BUCKET_MS)


@settings(deadline=None)
@given(
    st.lists(st.tuples(moments, moments, st.integers(1, 8_000)), max_size=8),
    st.lists(st.one_of(moments, st.integers(0, 5).map(lambda hour: hour * BUCKET_MS)), min_size=2, max_size=6),
)
def test_sums_by_the_hour_say_what_the_records_do(held: list[Record], at: list[int]) -> None:
    records = [(min(start, end), max(start, end), rate) for start, end, rate in held]
    at = sorted(set(at))
    by_hour: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    single: list[Edge] = []
    for start, end, rate in records:
        for when, own in ((start, rate), (end, -rate)):
            by_hour[when // BUCKET_MS * BUCKET_MS][0] += own
            by_hour[when // BUCKET_MS * BUCKET_MS][1] += own * when
            single.append((when, own, own * when))
    edges = [(hour, rate, moment) for hour, (rate, moment) in by_hour.items()]
    assert used_between(edges, single, at) == [
        sum(rate * max(0, min(end, until) - max(start, since)) for start, end, rate in records)
        for since, until in pairwise(at)
    ]


async def test_the_table_agrees_with_the_records_and_late_ones_count_at_once(
    stack: TestStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("edges")
    async with (
        stack.fresh_log() as log,
        stack.fresh_database() as dsn,
        world_on(settings_on(log.url, dsn, directory)) as world,
    ):
        await world.tenant("acme")
        await world.publish("2.00")
        odd = timedelta(minutes=7, milliseconds=3)
        await world.used("acme", "a-1", AUGUST - 5 * HOUR, AUGUST + 3 * HOUR + odd, gpus=2, project="vision")
        await world.used("acme", "a-2", AUGUST + odd, AUGUST + 40 * HOUR, gpus=1, project="speech", share_milli=250)
        await world.used("acme", "a-3", SEPTEMBER - odd, SEPTEMBER + HOUR, gpus=8, project="vision")
        await _agrees(world, "vision", 2_000 * (3 * 3_600_000 + 420_003) + 8_000 * 420_003)
        await _agrees(world, "speech", 250 * (40 * 3_600_000 - 420_003))
        await world.used("acme", "a-0", AUGUST + HOUR, AUGUST + HOUR + odd, gpus=1, project="speech")
        await _agrees(world, "speech", 250 * (40 * 3_600_000 - 420_003) + 1_000 * 420_003)


async def _agrees(world: World, project: str, gpu_us: int) -> None:
    """In three parts, cut in the middle of hours, August of a project is `gpu_us`."""
    page = await world.get("/v1/tenants/acme/usage", limit=500)
    while not page["items"] or page["items"][-1]["position"] <= world.position:
        page = await world.get("/v1/tenants/acme/usage", limit=500)
    start = int(AUGUST.timestamp() * 1_000)
    cuts = [start, start + 1_234_567, start + 3 * BUCKET_MS, int(SEPTEMBER.timestamp() * 1_000)]
    found = await MeteredUsage().used_between(world.service.database, "acme", cuts, project, None)
    assert {kind: sum(parts) for kind, parts in found.items()} == {(project, MODEL, ()): gpu_us}
