"""The demo's run as evidence. One law: the gate decides on bytes it can fetch again, not on what the demo says.

requirement → release → claim opened → the run → artefact (the report) → claim with facts that point into it → read
back → gate, asked by another principal than the claimer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

from gpuaas.cli.client import Suite
from gpuaas.cli.demo.world import World
from gpuaas.cli.evidence_matrix import matrix
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.clock import rfc3339
from gpuaas.common.ids import new_id
from gpuaas.common.source import SHARED, source_of

REQUIREMENT: Final = "main-job-end-to-end"
GATE: Final = "demo"
FACTS: Final = {
    "jobs_unfinished": "/totals/jobs_unfinished",
    "gpu_ms_difference": "/totals/gpu_ms_difference",
    "amount_difference": "/totals/amount_difference",
    "devices_held_twice": "/totals/devices_held_twice",
    "invoices_not_verified": "/totals/invoices_not_verified",
    "invoices_verified": "/totals/invoices_verified",
}
PROCEDURE: Final = "gpuaas demo: replay a slice of the Philly trace on the Lingjun fleet"
JUDGE: Final = "evidence-judge"
CLAIM_OPEN: Final = timedelta(days=300)


@dataclass(frozen=True, slots=True)
class Opened:
    """A claim whose scope was fixed before the run."""

    claim_id: str
    subject_sha256: str
    scope: tuple[str, ...]


def components() -> list[dict[str, Any]]:
    """What runs here: every package of the suite, by one digest over its source; services show the same of theirs."""
    packages = [*SHARED, "gpuaas.verify", "gpuaas.cli", *(f"gpuaas.{entry.name}" for entry in SERVICES)]
    taken = {package: source_of(package) for package in packages}
    return [
        {"name": package, "kind": "source", "sha256": found[0], "size_bytes": found[1]}
        for package, found in taken.items()
        if found is not None
    ]


async def open_claim(world: World, scope: Iterable[str]) -> Opened:
    """Before the run: register what runs, say what must be shown, and fix what the run will cover."""
    evidence = world.operator
    # As the matrix asks for it: `gpuaas evidence publish` after the demo says the same, and stays the same version.
    requirement = next(one for one in matrix() if one["requirement_id"] == REQUIREMENT)
    await evidence.post("evidence", "/v1/requirements", requirement)
    release = {"name": f"gpuaas {version('gpuaas-common')} as it runs here", "components": components()}
    subject = (await evidence.post("evidence", "/v1/releases", release))["root_sha256"]
    opened = Opened(f"demo-{new_id()}", subject, tuple(sorted(scope)))
    body = {
        "requirement_id": REQUIREMENT,
        "subject_sha256": subject,
        "profile": "demo",
        "procedure": PROCEDURE,
        "scope": opened.scope,
        "closes_at": rfc3339(world.clock.now() + CLAIM_OPEN),
    }
    await evidence.post("evidence", f"/v1/claims/{opened.claim_id}/opening", body)
    return opened


async def record(world: World, opened: Opened, report: dict[str, Any]) -> dict[str, Any]:
    """Submit the report as a claim and let the gate decide; the gate's answer with the claim's id."""
    content = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False).encode()
    digest = hashlib.sha256(content).hexdigest()
    evidence = world.operator
    await evidence.put_bytes("evidence", f"/v1/artefacts/{digest}", content, "application/json")
    claim = {
        "claim_id": opened.claim_id,
        "requirement_id": REQUIREMENT,
        "subject_sha256": opened.subject_sha256,
        "profile": "demo",
        "result": "passed" if agrees(report) else "failed",
        "procedure": PROCEDURE,
        "scope": opened.scope,
        "artefacts": [
            {"name": "report", "sha256": digest, "size_bytes": len(content), "media_type": "application/json"}
        ],
        "facts": [
            {"name": name, "value": str(_at(report, pointer)), "artefact": "report", "pointer": pointer}
            for name, pointer in FACTS.items()
        ],
        "expires_at": rfc3339(world.clock.now() + timedelta(days=30)),
    }
    await evidence.post("evidence", "/v1/claims", claim)
    await evidence.post("evidence", f"/v1/claims/{opened.claim_id}/readbacks", {"level": "R2"})
    question = {"gate_id": GATE, "subject_sha256": opened.subject_sha256, "profile": "demo", "kinds": ["uat"]}
    # Who claims does not ask the gate.
    async with await other_principal(
        evidence, world.member, JUDGE, ["evidence.gate.decide", "evidence.*.read"]
    ) as judge:
        answer: dict[str, Any] = await judge.post("evidence", "/v1/gates", question)
    return {
        "claim_id": opened.claim_id,
        "subject_sha256": opened.subject_sha256,
        "report_sha256": digest,
        **answer,
    }


async def other_principal(
    operator: Suite, client_of: Callable[[str], Suite], role: str, permissions: Sequence[str]
) -> Suite:
    """A client that speaks for a new service account on the platform which holds `permissions` and nothing else."""
    body = {"description": f"What {role} may do.", "permissions": list(permissions)}
    await operator.put("iam", f"/v1/roles/{role}", body)
    account = await operator.post("iam", "/v1/service-accounts", {"display_name": role})
    binding = {
        "principal_id": account["id"],
        "principal_kind": "service-account",
        "role": role,
        "reason": "whoever claims does not ask the gate",
    }
    await operator.post("iam", "/v1/bindings", binding)
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    path = f"/v1/service-accounts/{account['id']}/keys"
    issued = await operator.post("iam", path, {"label": role, "expires_at": expires})
    other = client_of(issued["api_key"])
    other.position = operator.position
    return other


def agrees(report: dict[str, Any]) -> bool:
    """Whether the trace, the log, the invoices and the offline verifier say the same."""
    totals = report["totals"]
    zero = [name for name in FACTS if name != "invoices_verified"]
    return all(float(totals[name]) == 0 for name in zero) and totals["invoices_verified"] > 0


def _at(report: dict[str, Any], pointer: str) -> Any:
    value: Any = report
    for step in pointer.strip("/").split("/"):
        value = value[step]
    return value
