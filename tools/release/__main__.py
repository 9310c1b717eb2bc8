"""This repository's own release, judged by its own gate. One law: what was not collected is unknown, never green.

Publishes the requirement matrix, registers the release by digests, opens a claim for each requirement before its run,
collects, submits, reads back; another principal asks the gate; the decision is exported and verified offline. By itself
it starts an embedded installation and keeps it below `--out`, so that a run that broke off goes on where it was; with
`--running` it claims at the suite that `gpuaas` talks to, in that one's profile, and leaves the question to somebody
else. Run: `make release ARGS="--only walls --profile dev"`.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from gpuaas.cli.client import Suite
from gpuaas.cli.demo.evidence import other_principal
from gpuaas.cli.evidence_matrix import matrix
from gpuaas.cli.here import open_suite
from gpuaas.cli.output import finish, print_json, print_table
from gpuaas.cli.up import Stack
from gpuaas.common.errors import Rejected

from tools.release.claiming import LIVE, WHAT, Claimer, Release
from tools.release.collecting import COLLECTORS
from tools.release.deciding import GATE, decided_and_taken_home, registered
from tools.release.journal import Journal, read_journal

JUDGES: Final = ["evidence.gate.decide", "evidence.*.read", "audit.*.read"]
NOT_VERIFIED: Final = 2


@dataclass(frozen=True, slots=True)
class Job:
    """What is collected now, where to. `only`: collect these anew; none: whatever has not passed yet."""

    profile: str
    only: tuple[str, ...]
    out: Path
    running: bool
    quiet: bool

    def tell(self, line: str) -> None:
        """A line of progress, on standard error."""
        if not self.quiet:
            click.echo(line, err=True)


@click.command()
@click.option("--profile", type=click.Choice(["kind", "dev", "demo"]), default="dev", show_default=True)
@click.option("--only", multiple=True, type=click.Choice(WHAT), help="Collect only these, anew; may repeat.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("build/release"))
@click.option("--running", is_flag=True, help="Claim at the running suite, in its profile, and do not ask its gate.")
@click.option("--fresh", is_flag=True, help="Forget what was collected before.")
@click.option("--list", "list_", is_flag=True, help="Say what is collected and how, and do nothing.")
@click.option("--quiet", is_flag=True, help="No lines of progress.")
@click.option("--json", "json_", is_flag=True, help="Print one JSON document instead of a table.")
def main(
    profile: str,
    only: tuple[str, ...],
    out: Path,
    running: bool,
    fresh: bool,
    list_: bool,
    quiet: bool,
    json_: bool,
) -> None:
    """Collect this repository's evidence and let a gate decide.

    Exit status 0 when it passes, 1 when it does not, 2 when the decision cannot be verified offline.
    """
    if list_:
        rows = [[name, COLLECTORS[name].procedure if name in COLLECTORS else "observe what runs"] for name in WHAT]
        print_table("What is collected", ["requirement", "with"], rows)
        return
    if fresh:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    told = finish(lambda: _release(Job(profile, only, out.resolve(), running, quiet)))
    if json_:
        print_json(told)
    else:
        _print(told)
    raise SystemExit(_status(told))


def _status(told: dict[str, Any]) -> int:
    if told["offline"] is not None and told["offline"]["verdict"] != "verified":
        return NOT_VERIFIED
    return int(told["verdict"] != "pass")


async def _release(job: Job) -> dict[str, Any]:
    async with _installation(job) as (suite, profile, stack):
        subject = await registered(suite)
        journal = read_journal(job.out / "progress.json", subject, profile)
        claimer = Claimer(suite, Release(subject, profile, job.out), journal, job.tell)
        asked = [one for one in matrix() if profile in one["profiles"]]
        for required in sorted(asked, key=lambda one: WHAT.index(one["requirement_id"])):
            await _claimed(claimer, required, journal, job)
        if stack is None:
            told = await suite.get("evidence", f"/v1/releases/{subject}/status", profile=profile)
            return _told(told["verdict"], told["reasons"], journal, job, None)
        judge = await other_principal(suite, lambda key: Suite(stack.endpoints.services, key), "release-judge", JUDGES)
        async with judge:
            decision, offline = await decided_and_taken_home(suite, judge, subject, profile, job.out / "decision")
    return _told(decision["verdict"], decision["reasons"], journal, job, offline)


async def _claimed(claimer: Claimer, required: dict[str, Any], journal: Journal, job: Job) -> None:
    name = required["requirement_id"]
    if job.only and name not in job.only:
        return
    # What runs is looked at each time: an observation is about now.
    if not job.only and name != LIVE and journal.done(name):
        job.tell(f"{name}: passed before, {journal.entries[name].took_s:,} s")
        return
    await claimer.claim(required)


@asynccontextmanager
async def _installation(job: Job) -> AsyncIterator[tuple[Suite, str, Stack | None]]:
    """The suite to claim at, its profile, and the stack if it was started here."""
    if job.running:
        async with open_suite() as suite:
            told = await suite.ready("evidence")
            if told is None:
                raise Rejected("the evidence service does not answer; start the suite or sign in first")
            yield suite, str(told["profile"]), None
        return
    job.tell(f"an installation in the profile {job.profile}, kept in {job.out / 'installation'}")
    async with (
        Stack(job.out / "installation" / job.profile, profile=job.profile) as stack,
        Suite(stack.endpoints.services, stack.operator_key) as suite,
    ):
        yield suite, job.profile, stack


def _told(
    verdict: str, reasons: Sequence[dict[str, Any]], journal: Journal, job: Job, offline: dict[str, Any] | None
) -> dict[str, Any]:
    collected = {
        name: {"claim_id": one.claim_id, "state": one.state, "took_s": one.took_s, "why": one.why}
        for name, one in journal.entries.items()
    }
    return {
        "release": journal.subject_sha256,
        "profile": journal.profile,
        "gate": GATE if offline is not None else None,
        "verdict": verdict,
        "reasons": list(reasons),
        "collected": collected,
        "folder": str(job.out / "decision") if offline is not None else None,
        "offline": offline,
    }


def _print(told: dict[str, Any]) -> None:
    rows = []
    for reason in told["reasons"]:
        found = told["collected"].get(reason["requirement_id"])
        took = f"{found['took_s']:,.1f} s" if found else ""
        rows.append([reason["requirement_id"], reason["verdict"], took, reason["why"]])
    title = f"{told['release']} in {told['profile']}: {told['verdict']}"
    print_table(title, ["requirement", "verdict", "took", "why"], rows)
    if told["offline"] is None:
        click.echo("claimed; somebody who claimed nothing asks: gpuaas evidence decide RELEASE --profile PROFILE")
        return
    click.echo(told["offline"]["text"])
    click.echo(f"the decision with its proofs is in {told['folder']}")


if __name__ == "__main__":
    main()
