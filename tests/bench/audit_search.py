"""The trail at ten million rows: how long a search takes. One law: asked through the code that the door asks through.

The rows are made inside PostgreSQL and indexed afterwards, so that the table stands within minutes; they have the same
columns and indexes, and the spread of values, of a trail that events made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from gpuaas.audit.projections.audit_trail import TRAIL, AuditTrail, make_indexes
from gpuaas.audit.projections.trail_search import Sought, search
from gpuaas.common.projections import Database
from gpuaas.common.tables import LIVE
from gpuaas.common.testing.stack import TestStack

from tests.bench.on_the_log import open_database
from tests.bench.rows import Row, percentile

ROWS: Final = 10_000_000
PART: Final = 500_000
TENANTS: Final = 500
ACTORS: Final = 5_000
PAGE: Final = 50
TIMES: Final = 40
_FILL: Final = """
INSERT INTO live.audit_trail_v2
SELECT n, 't-' || n % {tenants}, n / {tenants}, 'events.billing.usage.t-' || n % {tenants} || '.al-' || n / 7,
    'gpuaas.billing.' || (ARRAY['usage-metered', 'usage-held', 'invoice-finalized', 'budget-set'])[1 + n % 4] || '.v1',
    md5(n::text), '2026-05-01T00:00:00.000000Z', timestamptz '2026-05-01' + n * interval '1 second',
    timestamptz '2026-05-01' + n * interval '1 second', 'actor-' || (n * 7919) % {actors}, 'user', NULL, 'ml',
    'c-' || n / 5, 'e-' || n - 1, CASE n % 1000 WHEN 0 THEN 'failure' ELSE 'success' END, NULL,
    sha256(n::text::bytea), 600
FROM generate_series($1::bigint, $2::bigint) AS n"""


async def audit_search(stack: TestStack) -> list[Row]:
    """Pages of searches, each for another tenant, actor or thing, beside reading one row by its key."""
    async with open_database(stack) as database:
        began = time.perf_counter()
        await _fill(database)
        built_s = time.perf_counter() - began
        one = await _page_ms(database, [Sought(up_to_position=n, after_position=n - 1) for n in _spread(TIMES)])
        rows = [Row(f"audit search, a table of {ROWS:,} rows is made", built_s, "s")]
        for name, asked in _questions().items():
            found = await _page_ms(database, asked)
            ratio = found / one
            rows.append(Row(f"audit search at {ROWS:,} rows, {name}, p99", found, "ms", one, ratio))
    return rows


async def _fill(database: Database) -> None:
    indexes = set(TRAIL.indexes)
    TRAIL.indexes.clear()
    try:
        await database.open_checkpoint("bench", AuditTrail.tables, "bench", LIVE)
    finally:
        TRAIL.indexes.update(indexes)
    for start in range(1, ROWS + 1, PART):
        async with database.writing() as rows:
            fill = _FILL.format(tenants=TENANTS, actors=ACTORS)
            await rows.execute(fill, start, min(start + PART - 1, ROWS), timeout=600)
    await make_indexes(database, timeout_s=1_800)
    await database.pool.execute("ANALYZE live.audit_trail_v2", timeout=600)


def _spread(count: int) -> list[int]:
    return [1 + (number * 7_368_787) % ROWS for number in range(count)]


def _questions() -> dict[str, Sequence[Sought]]:
    some = _spread(TIMES)
    return {
        "a tenant's newest": [Sought(tree=f"t-{n % TENANTS}") for n in some],
        "a tenant's by type": [
            Sought(tree=f"t-{n % TENANTS}", type="gpuaas.billing.invoice-finalized.v1") for n in some
        ],
        "a tenant's by actor": [Sought(tree=f"t-{n % TENANTS}", actor=f"actor-{(n * 7919) % ACTORS}") for n in some],
        "a tenant's failures": [Sought(tree=f"t-{n % TENANTS}", outcome="failure") for n in some],
        "anybody's by actor": [Sought(actor=f"actor-{n % ACTORS}") for n in some],
        "one correlation": [Sought(correlation_id=f"c-{n // 5}") for n in some],
        "one thing's history": [Sought(tree=f"t-{n % TENANTS}", resource=f"usage/al-{n // 7}") for n in some],
        "a tenant's hour": [
            Sought(tree=f"t-{n % TENANTS}", newest_first=False, after_position=n, up_to_position=n + 3_600)
            for n in some
        ],
    }


async def _page_ms(database: Database, asked: Sequence[Sought]) -> float:
    took: list[float] = []
    for sought in asked:
        began = time.perf_counter()
        await search(database, sought, None, PAGE)
        took.append((time.perf_counter() - began) * 1e3)
    return percentile(took, 0.99)
