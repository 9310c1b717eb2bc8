"""The demo's run as evidence. One law: the gate decides on bytes it can fetch again, not on what the demo says.

requirement → artefact (the report) → claim with facts that point into it → read back → gate.
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.demo.world import World
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.clock import rfc3339
from gpuaas.common.ids import new_id

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
PREDICATE: Final = (
    "jobs_unfinished == 0 && gpu_ms_difference == 0 && amount_difference == 0 && devices_held_twice == 0"
    " && invoices_not_verified == 0 && invoices_verified > 0"
)


def subject_sha256() -> str:
    """What the claim is about: SHA-256 over the source of every package of the suite that runs here."""
    whole = hashlib.sha256()
    for module in ["gpuaas.common", "gpuaas.contracts", "gpuaas.verify", *(f"gpuaas.{s.name}" for s in SERVICES)]:
        spec = find_spec(module)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            whole.update(f"{module}/{path.relative_to(root)}\0".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


async def record(world: World, report: dict[str, Any]) -> dict[str, Any]:
    """Submit the report as a claim and let the gate decide; the gate's answer with the claim's id."""
    content = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False).encode()
    digest = hashlib.sha256(content).hexdigest()
    evidence = world.operator
    requirement = {
        "requirement_id": REQUIREMENT,
        "kind": "uat",
        "title": "Fleet to invoice, end to end, provable offline",
        "predicate": PREDICATE,
        "minimum_readback": "R2",
        "max_age_s": 86_400,
        "profiles": ["demo"],
    }
    await evidence.post("evidence", "/v1/requirements", requirement)
    await evidence.put_bytes("evidence", f"/v1/artefacts/{digest}", content, "application/json")
    subject, claim_id = subject_sha256(), f"demo-{new_id()}"
    claim = {
        "claim_id": claim_id,
        "requirement_id": REQUIREMENT,
        "subject_sha256": subject,
        "profile": "demo",
        "result": "passed" if agrees(report) else "failed",
        "procedure": "gpuaas demo: replay a slice of the Philly trace on the Lingjun fleet",
        "scope": sorted(report["tenants"]),
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
    await evidence.post("evidence", f"/v1/claims/{claim_id}/readbacks", {"level": "R2"})
    question = {"gate_id": GATE, "subject_sha256": subject, "profile": "demo"}
    answer: dict[str, Any] = await evidence.post("evidence", "/v1/gates", question)
    return {"claim_id": claim_id, "subject_sha256": subject, "report_sha256": digest, **answer}


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
