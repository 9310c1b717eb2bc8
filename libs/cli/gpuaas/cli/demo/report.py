"""The demo's report. One law: the table and the JSON are the same document."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from statistics import mean, quantiles
from typing import Any, Final

from gpuaas.cli.demo.play import CURRENCY, GPU_HOUR_PRICE, GPU_MODEL
from gpuaas.cli.demo.proof import Reading, Verified, expected_amounts, expected_gpu_ms
from gpuaas.cli.demo.trace import GPUS_PER_HOST, Job

_MS_PER_HOUR: Final = 3_600_000
ARITHMETIC: Final = (
    "GPU-milliseconds are integers: GPUs × (end − start), each instant floored to its millisecond; the sum over all "
    "jobs equals the trace's exactly. An invoice line is GPU-ms × price / 3,600,000, rounded once, half up."
)


def assemble(
    jobs: Sequence[Job],
    hosts: int,
    reading: Reading,
    invoices: dict[str, dict[str, Any]],
    verified: Sequence[Verified],
    states: dict[str, int],
    timings: dict[str, float],
    rate: float,
) -> dict[str, Any]:
    """The whole report as one JSON-ready document."""
    wanted_ms, wanted_amounts = expected_gpu_ms(jobs), expected_amounts(jobs, GPU_HOUR_PRICE, CURRENCY)
    verdicts = {each.tenant: each for each in verified}
    tenants = {}
    for name in sorted(wanted_ms):
        mine = [job for job in jobs if job.tenant == name]
        waits = reading.waits_s.get(name, [])
        invoice = invoices.get(name)
        billed_ms = sum(int(line["gpu_ms"]) for line in invoice["lines"]) if invoice else 0
        tenants[name] = {
            "jobs": len(mine),
            "gpu_hours": round(billed_ms / _MS_PER_HOUR, 3),
            "gpu_ms_trace": wanted_ms[name],
            "gpu_ms_metered": reading.gpu_ms[name],
            "gpu_ms_billed": billed_ms,
            "wait_mean_s": round(mean(waits), 1) if waits else None,
            "wait_p90_s": round(_p90(waits), 1) if waits else None,
            "invoice": invoice["number"] if invoice else None,
            "amount": str(invoice["total"]) if invoice else "0.00",
            "amount_recomputed": format(wanted_amounts[name], "f"),
            "verified": verdicts[name].verdict if name in verdicts else "missing",
        }
    return {
        "input": {
            "jobs": len(jobs),
            "tenants": len(tenants),
            "hosts": hosts,
            "gpus": hosts * GPUS_PER_HOST,
            "gpu_model": GPU_MODEL,
            "price_per_gpu_hour": GPU_HOUR_PRICE,
            "currency": CURRENCY,
        },
        "tenants": tenants,
        "totals": _totals(jobs, tenants, reading, verified, states),
        "events": {"total": reading.events, "bytes": reading.bytes, "by_type": dict(reading.by_type.most_common())},
        "rates": {**timings, "world_rate": round(rate, 1)},
        "arithmetic": ARITHMETIC,
    }


def _totals(
    jobs: Sequence[Job],
    tenants: dict[str, dict[str, Any]],
    reading: Reading,
    verified: Sequence[Verified],
    states: dict[str, int],
) -> dict[str, Any]:
    rows = list(tenants.values())
    amount = sum((Decimal(row["amount"]) for row in rows), Decimal())
    recomputed = sum((Decimal(row["amount_recomputed"]) for row in rows), Decimal())
    return {
        "gpu_hours": round(sum(row["gpu_ms_billed"] for row in rows) / _MS_PER_HOUR, 3),
        "amount": format(amount, "f"),
        "amount_difference": format(abs(amount - recomputed).normalize(), "f"),
        "gpu_ms_difference": sum(
            abs(row["gpu_ms_billed"] - row["gpu_ms_trace"]) + abs(row["gpu_ms_metered"] - row["gpu_ms_trace"])
            for row in rows
        ),
        "jobs_released": states.get("released", 0),
        "jobs_unfinished": len(jobs) - states.get("released", 0),
        "devices_held_twice": len(reading.held_twice),
        "devices_still_held": reading.still_held,
        "invoices_verified": sum(each.verdict == "verified" for each in verified),
        "invoices_not_verified": len(tenants) - sum(each.verdict == "verified" for each in verified),
    }


def _p90(values: Sequence[float]) -> float:
    return quantiles(values, n=10)[-1] if len(values) > 1 else values[0]


def show(report: dict[str, Any], folder: str, kept: bool) -> None:
    """Print the report for people, and what to try next."""
    import click
    from gpuaas.cli.output import print_table

    rows = [
        [
            name,
            row["jobs"],
            float(row["gpu_hours"]),
            row["wait_mean_s"],
            row["wait_p90_s"],
            row["invoice"],
            Decimal(row["amount"]),
            row["verified"],
        ]
        for name, row in report["tenants"].items()
    ]
    totals, given, rates = report["totals"], report["input"], report["rates"]
    columns = ["tenant", "jobs", "GPU-hours", "wait mean s", "wait p90 s", "invoice", given["currency"], "offline"]
    print_table(f"{given['jobs']:,} jobs of {given['tenants']} tenants on {given['gpus']:,} GPUs", columns, rows)
    kinds = [[kind.removeprefix("gpuaas."), count] for kind, count in report["events"]["by_type"].items()]
    print_table(f"{report['events']['total']:,} events in the log", ["type", "events"], kinds)
    click.echo(
        f"billed {totals['gpu_hours']:,} GPU-hours, {totals['amount']} {given['currency']}; difference to the trace: "
        f"{totals['gpu_ms_difference']} GPU-ms, {totals['amount_difference']} {given['currency']}"
    )
    click.echo(report["arithmetic"])
    click.echo(
        f"GPUs held twice: {totals['devices_held_twice']} · invoices verified offline: "
        f"{totals['invoices_verified']} of {given['tenants']} · gate `demo`: {report['evidence']['verdict']}"
    )
    click.echo(
        f"start {rates['start_s']:.1f} s · enrol {rates['enrol_s']:.1f} s · replay {rates['replay_s']:.1f} s "
        f"({rates['jobs_per_s']:.0f} jobs/s, {rates['events_per_s']:.0f} events/s) · world time "
        f"{rates['world_rate']:,}× while jobs arrived: a real millisecond shows as that many in the waits"
    )
    _next(folder, kept)


def _next(folder: str, kept: bool) -> None:
    import click

    lines = [f"gpuaas verify invoice {folder}/<invoice>.bundle.json --key $(cat {folder}/audit.vkey)"]
    if kept:
        lines += [
            "gpuaas status",
            "gpuaas events tail --from 1 --count 20",
            "gpuaas bill --tenant vc-6214e9",
            "gpuaas projections rebuild allocations allocations_v5",
        ]
    else:
        lines += ["make demo KEEP=1        # the same, and leave it running to look around"]
    click.secho("\nnext", bold=True)
    for line in lines:
        click.echo(f"  {line}")
