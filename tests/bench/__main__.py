"""`python -m tests.bench`: every figure, printed and in build/bench.json. One law: nothing here fails a build.

python -m tests.bench [NAME …]     only the measures whose names contain one of these
python -m tests.bench --list       the names

Every figure is of the moment and the machine; the ratio beside it is what can be compared. NATS and PostgreSQL are the
tests' own (no fsync), except for `suite_start` and `suite_demo`, which run the suite as people do.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from gpuaas.common.testing.stack import TestStack, running_stack

from tests.bench import (
    access,
    artefacts,
    audit,
    audit_search,
    billing,
    fleet,
    growth,
    kernel,
    ledger,
    openb,
    philly,
    placement,
    quotes,
    scale,
    suite,
    titan,
)
from tests.bench.rows import Row

Measure = Callable[[TestStack], Awaitable[list[Row]]]
MEASURES: list[Measure] = [
    kernel.command_latency,
    kernel.door_latency,
    kernel.rebuild_rate,
    placement.placement_decisions,
    placement.placement_cycles,
    openb.placement_quality,
    philly.philly_quotas,
    quotes.philly_quotes,
    access.access,
    billing.metering_and_rating,
    billing.invoice_rating,
    billing.invoice_run,
    ledger.ledger_transfers,
    audit.audit_leaves,
    audit.audit_proofs,
    audit.audit_day,
    fleet.fleet_heartbeats,
    fleet.fleet_faults,
    titan.titan_failure_log,
    audit_search.audit_search,
    artefacts.artefact_of_a_gigabyte,
    growth.growth_of_commands,
    growth.growth_of_rebuilds,
    scale.growth_with_the_log,
    scale.growth_with_tenants,
    suite.suite_help,
    suite.suite_start,
    suite.suite_revocations,
    suite.suite_demo,
]


def main(wanted: list[str]) -> int:
    """Run the measures in turn; exit status 1 only when one of them broke or nothing was measured."""
    if wanted == ["--list"]:
        print("\n".join(measure.__name__ for measure in MEASURES))
        return 0
    chosen = [measure for measure in MEASURES if not wanted or any(word in measure.__name__ for word in wanted)]
    rows: list[Row] = []
    with running_stack() as stack:
        broken = [measure.__name__ for measure in chosen if not _measured(measure, stack, rows)]
    out = Path("build/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps([row.as_document() for row in rows], indent=1, ensure_ascii=False) + "\n", "utf-8")
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{len(rows)} figures in {out} ({os.cpu_count()} cores, load {load}, Python {platform.python_version()})")
    if broken:
        print(f"broken: {', '.join(broken)}")
    return 0 if rows and not broken else 1


def _measured(measure: Measure, stack: TestStack, rows: list[Row]) -> bool:
    """Add the measure's rows; whether it ran through. One that breaks does not take the others' figures with it."""
    gc.collect()
    began = time.perf_counter()
    try:
        found = uvloop.run(_one(measure, stack))
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        return False
    for row in found:
        rows.append(row)
        print(_line(row), flush=True)
    print(f"  {measure.__name__} took {time.perf_counter() - began:.1f} s", flush=True)
    return True


async def _one(measure: Measure, stack: TestStack) -> list[Row]:
    return await measure(stack)


def _line(row: Row) -> str:
    beside = "" if row.ratio is None else f"  ratio {row.ratio:.2f}"
    wanted = "" if row.target is None else f"  wanted {row.target}: {'met' if row.met else 'NOT met'}"
    return f"{row.name:<56} {_figure(row.value):>14} {row.unit}{beside}{wanted}"


def _figure(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.1f}" if value >= 10 else f"{value:,.3f}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
