"""This repository's own release, judged by its own gate. One law: what was not collected is unknown, never green.

Starts the embedded suite, publishes the requirement matrix, registers the release by digests, opens a claim for each
requirement before its run, collects, submits, reads back; another principal asks the gate; the decision is exported and
verified offline. Run: `make release ARGS="--only walls --profile dev"`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click
from gpuaas.cli.client import Suite
from gpuaas.cli.demo.evidence import components, other_principal
from gpuaas.cli.evidence_export import export_decision
from gpuaas.cli.evidence_matrix import matrix
from gpuaas.cli.up import Stack
from gpuaas.common.clock import rfc3339
from gpuaas.evidence.domain.rederivation import LIVE_STATE
from gpuaas.verify.decisions import verify_decision
from gpuaas.verify.policy import trusting
from gpuaas.verify.statements import evidence_keys

from tools.release.collecting import COLLECTORS, Collected, collected

GATE: Final = "release"
VALID: Final = timedelta(days=7)
LIVE: Final = "live-state"
OBSERVING: Final = "observe every service, its interface, its readers and the rights in force"
TOTALS: Final = ("services", "reachable", "ready", "readers", "readers_behind", "readers_stopped")
PINNED: Final = ("profile", "openapi_sha256", "permissions_sha256")
WHAT: Final = (*sorted(COLLECTORS), LIVE)


@dataclass(frozen=True, slots=True)
class Job:
    """What is released, where to, and which evidence is collected now."""

    profile: str
    only: tuple[str, ...]
    out: Path


@click.command()
@click.option("--profile", type=click.Choice(["kind", "dev", "demo"]), default="dev", show_default=True)
@click.option("--only", multiple=True, type=click.Choice(WHAT), help="Collect only these; may repeat.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("build/release"))
def main(profile: str, only: tuple[str, ...], out: Path) -> None:
    """Collect this repository's evidence and let a gate decide; exit status 1 unless it passes."""
    decision = asyncio.run(_release(Job(profile, only or WHAT, out)))
    for reason in decision["reasons"]:
        click.echo(f"{reason['verdict']:<8} {reason['requirement_id']:<22} {reason['why']}")
    click.echo(f"\n{decision['verdict']}; the decision with its proofs is in {out / 'decision'}")
    raise SystemExit(decision["verdict"] != "pass")


async def _release(job: Job) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gpuaas-release-") as state:
        async with Stack(Path(state), profile=job.profile) as stack:
            addresses = stack.endpoints.services
            async with Suite(addresses, stack.operator_key) as suite:
                subject = await _registered(suite)
                for required in matrix():
                    if required["requirement_id"] in job.only and job.profile in required["profiles"]:
                        await _collect(suite, required["requirement_id"], subject, job)
                rights = ["evidence.gate.decide", "evidence.*.read"]
                async with await other_principal(
                    suite, lambda key: Suite(addresses, key), "release-judge", rights
                ) as judge:
                    question = {"gate_id": GATE, "subject_sha256": subject, "profile": job.profile}
                    decision: dict[str, Any] = await judge.post("evidence", "/v1/gates", question)
                await _taken_home(suite, subject, job)
    return decision


async def _registered(suite: Suite) -> str:
    for required in matrix():
        await suite.post("evidence", "/v1/requirements", required)
    lock = Path("uv.lock").read_bytes()
    digest = hashlib.sha256(lock).hexdigest()
    parts = [*components(), {"name": "uv.lock", "kind": "lock", "sha256": digest, "size_bytes": len(lock)}]
    release = {"name": "gpuaas, this working tree", "components": parts}
    return str((await suite.post("evidence", "/v1/releases", release))["root_sha256"])


async def _collect(suite: Suite, name: str, subject: str, job: Job) -> None:
    """Open, run, submit, read back. A collector that gives nothing leaves its claim open: the gate says unknown."""
    procedure = OBSERVING if name == LIVE else COLLECTORS[name].procedure
    now = datetime.now(UTC)
    claim_id = f"{name}-{now:%Y%m%d%H%M%S}"
    said = {
        "requirement_id": name,
        "subject_sha256": subject,
        "profile": job.profile,
        "procedure": procedure,
        "scope": [name],
    }
    closes = {"closes_at": rfc3339(now + VALID)}
    await suite.post("evidence", f"/v1/claims/{claim_id}/opening", {**said, **closes})
    click.echo(f"collect {name}: {procedure}", err=True)
    found = await (_observed(suite) if name == LIVE else asyncio.to_thread(COLLECTORS[name].run, job.out))
    if found is None:
        click.echo(f"collect {name}: gave nothing that could be shown; it stays unknown", err=True)
        return
    await _submit(suite, claim_id, said, found)


async def _observed(suite: Suite) -> Collected | None:
    """What runs now, each service with its interface; R4 will look again and compare."""
    content = await suite.get_bytes("evidence", "/v1/live-state")
    pointers = {name: f"/totals/{name}" for name in TOTALS}
    for service in sorted(json.loads(content)["services"]):
        pointers |= {f"{service}_{name}": f"/services/{service}/{name}" for name in PINNED}
    return collected(content, LIVE_STATE, pointers, passed=True)


async def _submit(suite: Suite, claim_id: str, said: dict[str, Any], found: Collected) -> None:
    digest = hashlib.sha256(found.content).hexdigest()
    await suite.put_bytes("evidence", f"/v1/artefacts/{digest}", found.content, found.media_type)
    artefact = {"name": "report", "sha256": digest, "size_bytes": len(found.content), "media_type": found.media_type}
    facts = [
        {"name": name, "value": value, "artefact": "report", "pointer": pointer}
        for name, (value, pointer) in found.facts.items()
    ]
    claim = {
        **said,
        "claim_id": claim_id,
        "result": "passed" if found.passed else "failed",
        "artefacts": [artefact],
        "facts": facts,
        "expires_at": rfc3339(datetime.now(UTC) + VALID),
    }
    await suite.post("evidence", "/v1/claims", claim)
    level = "R4" if found.media_type == LIVE_STATE else "R2"
    await suite.post("evidence", f"/v1/claims/{claim_id}/readbacks", {"level": level})


async def _taken_home(suite: Suite, subject: str, job: Job) -> None:
    folder = job.out / "decision"
    await export_decision(suite, subject, job.profile, GATE, folder)
    key = (await suite.get("audit", "/v1/key"))["verifier_key"]
    (folder / "log.vkey").write_text(f"{key}\n", "utf-8")
    found = (await suite.get("evidence", "/v1/signing-keys"))["items"]
    signing = [base64.urlsafe_b64decode(one["public_key"] + "=").hex() for one in found]
    (folder / "evidence.keys").write_text("".join(f"{one}\n" for one in signing), "utf-8")
    report = verify_decision(folder, trusting(key), evidence_keys(signing))
    click.echo(report.as_text())
    if report.verdict != "verified":
        raise SystemExit(2)


if __name__ == "__main__":
    main()
