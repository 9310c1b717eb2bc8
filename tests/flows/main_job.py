"""The main job, done once for all flows, by the demo's own acts. One law: what it knows it was told by a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.cli.demo import play, proof
from gpuaas.cli.demo.proof import Reading, Verified
from gpuaas.cli.demo.trace import Job
from gpuaas.cli.demo.world import World

from tests.drills.stage import SMALL_FLEET, small_jobs, state_folder, unheard

JOBS: Final = 30
TENANTS: Final = 5
JOBS_PER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Played:
    """What the main job left behind.

    Attributes:
        submitted: job → allocation.
        states: allocations by state at the end.
        run: the billing run, finished.
        invoices: tenant → its invoice, with lines.
        verified: what the offline verifier said, by tenant.
        reading: the whole log, folded.
    """

    jobs: Sequence[Job]
    tenants: Mapping[str, play.Tenant]
    submitted: Mapping[str, str]
    states: Mapping[str, int]
    run: Mapping[str, Any]
    invoices: Mapping[str, dict[str, Any]]
    verified: Sequence[Verified]
    reading: Reading


async def main_job(world: World) -> Played:
    """Enrol, open tenants, publish prices, replay jobs, bill, verify, read the log."""
    jobs = small_jobs(JOBS, TENANTS)
    names = sorted({job.tenant for job in jobs})
    await play.enrol(world, SMALL_FLEET, unheard)
    tenants = await play.open_tenants(world, names, unheard)
    await play.publish_prices(world)
    submitted = await play.replay(world, jobs, tenants, JOBS_PER_S, unheard)
    states = await play.drain(world, jobs, unheard)
    run = await play.bill(world, unheard)
    invoices = await play.invoices(world, names)
    with state_folder() as bundles:
        verified = await proof.verify_offline(world, invoices, bundles, unheard)
    reading = await proof.reading_of(world)
    return Played(jobs, tenants, submitted, states, run, invoices, verified, reading)
