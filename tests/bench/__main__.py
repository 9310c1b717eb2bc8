"""`python -m tests.bench`: every figure, printed and in build/bench.json. One law: nothing here fails a build.

python -m tests.bench [NAME …]     only the measures whose names contain one of these
python -m tests.bench --list       the names
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from gpuaas.common.testing.stack import TestStack, running_stack

from tests.bench import access, audit, billing, growth, kernel, openb, placement
from tests.bench.rows import Row

Measure = Callable[[TestStack], Awaitable[list[Row]]]
MEASURES: list[Measure] = [
    kernel.command_latency,
    kernel.door_latency,
    kernel.rebuild_rate,
    placement.placement_decisions,
    placement.placement_cycles,
    openb.placement_quality,
    access.access,
    billing.metering_and_rating,
    billing.invoice_rating,
    billing.invoice_run,
    billing.ledger_transfers,
    audit.audit_leaves,
    audit.audit_proofs,
    growth.growth_of_commands,
    growth.growth_of_rebuilds,
]


def main(wanted: list[str]) -> int:
    """Run the measures in turn; exit status 1 only when nothing was measured."""
    if wanted == ["--list"]:
        print("\n".join(measure.__name__ for measure in MEASURES))
        return 0
    rows: list[Row] = []
    with running_stack() as stack:
        for measure in MEASURES:
            if wanted and not any(word in measure.__name__ for word in wanted):
                continue
            began = time.perf_counter()
            for row in uvloop.run(_one(measure, stack)):
                rows.append(row)
                print(_line(row), flush=True)
            print(f"  {measure.__name__} took {time.perf_counter() - began:.1f} s", flush=True)
    out = Path("build/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps([row.as_document() for row in rows], indent=1, ensure_ascii=False) + "\n", "utf-8")
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{len(rows)} figures in {out} ({os.cpu_count()} cores, load {load}, Python {platform.python_version()})")
    return 0 if rows else 1


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
