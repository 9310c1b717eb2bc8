"""How much was used by when, without reading every record. One law: each record is two edges, whatever its length.

What was used up to an instant t is a sum over edges: from a start at s on, `rate` × (t − s) more; from an end at e on,
that much less. Edges of an hour are added up to (Σ rate, Σ rate × at), so a month costs at most its hours to read and a
record of a month costs as much to fold as one of a second. All are whole numbers; order and lateness change nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

from gpuaas.billing.domain.tariff import UNLABELLED, Labels
from gpuaas.common.projections import Rows
from sqlalchemy import BigInteger, Column, MetaData, Numeric, Table, Text

BUCKET_MS: Final = 3_600_000
Kind: TypeAlias = tuple[str, str, Labels]
"""project, GPU model, labels"""
Edge: TypeAlias = tuple[int, int, int]
"""(instant or start of its hour in ms, Σ rate, Σ rate × instant); a rate is GPUs × thousandths of each"""

EDGES = Table(
    "usage_edges_v3",
    MetaData(),
    Column("tenant_id", Text, primary_key=True),
    Column("project_id", Text, primary_key=True),
    Column("gpu_model", Text, primary_key=True),
    Column("labels", Text, primary_key=True, comment="as JSON, by name"),
    Column("bucket", BigInteger, primary_key=True, comment="hours since 1970"),
    Column("rate", Numeric, nullable=False),
    Column("moment", Numeric, nullable=False),
)


def labels_of(kept: Mapping[str, str] | None) -> Labels:
    """Labels as a tariff knows them."""
    return tuple(sorted(kept.items())) if kept else UNLABELLED


async def add_edges(rows: Rows, records: Iterable[Mapping[str, Any]]) -> None:
    """Add the two edges of each row of a usage table."""
    sums: defaultdict[tuple[str, str, str, Labels, int], list[int]] = defaultdict(lambda: [0, 0])
    for row in records:
        rate = row["gpu_count"] * row["share_milli"]
        kind = (row["tenant_id"], row["project_id"], row["gpu_model"], labels_of(row["labels"]))
        for at, sign in ((row["start_ms"], 1), (row["end_ms"], -1)):
            total = sums[*kind, at // BUCKET_MS]
            total[0] += sign * rate
            total[1] += sign * rate * at
    if not sums:
        return
    # In one order everywhere: two that fold at once then never wait for each other in a circle.
    ordered = sorted(sums.items())
    await rows.execute(
        "INSERT INTO usage_edges_v3 (tenant_id, project_id, gpu_model, labels, bucket, rate, moment) "
        "SELECT a, b, c, d, e, f, g FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], "
        "$6::numeric[], $7::numeric[]) AS t(a, b, c, d, e, f, g) "
        "ON CONFLICT (tenant_id, project_id, gpu_model, labels, bucket) DO UPDATE SET "
        "rate = usage_edges_v3.rate + excluded.rate, moment = usage_edges_v3.moment + excluded.moment",
        *(list(column) for column in zip(*(_columns(key, total) for key, total in ordered), strict=True)),
    )


def used_between(edges: Iterable[Edge], exact: Sequence[Edge], moments: Sequence[int]) -> list[int]:
    """GPU-microseconds of one kind in each [moments[i], moments[i + 1]).

    Args:
        edges: by hour, all there are below the last moment.
        exact: single ones, of the hours that a moment lies inside of.
    """
    buckets = sorted(edges)
    starts = [bucket for bucket, _, _ in buckets]
    sums = [(0, 0)]
    for _, rate, moment in buckets:
        sums.append((sums[-1][0] + rate, sums[-1][1] + moment))
    upto: list[int] = []
    for at in moments:
        hour = at // BUCKET_MS * BUCKET_MS
        rate, moment = sums[bisect_left(starts, hour)]
        inside = [(own, own_moment) for when, own, own_moment in exact if hour <= when < at]
        rate += sum(own for own, _ in inside)
        moment += sum(own_moment for _, own_moment in inside)
        upto.append(rate * at - moment)
    return [later - earlier for earlier, later in pairwise(upto)]


def _columns(key: tuple[str, str, str, Labels, int], total: Sequence[int]) -> tuple[Any, ...]:
    tenant_id, project_id, gpu_model, labels, bucket = key
    return tenant_id, project_id, gpu_model, json.dumps(dict(labels)), bucket, total[0], total[1]
