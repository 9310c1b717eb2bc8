"""The release named, judged and taken home. One law: who claimed does not ask, and only bytes are believed."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.client import Suite
from gpuaas.cli.demo.evidence import components
from gpuaas.cli.evidence_export import export_decision
from gpuaas.cli.evidence_matrix import matrix
from gpuaas.verify.decisions import verify_decision
from gpuaas.verify.policy import trusting
from gpuaas.verify.statements import evidence_keys

GATE: Final = "release"
GIT_S: Final = 60.0


async def registered(suite: Suite) -> str:
    """Publish the matrix and register this working tree by its digests; the release's root digest."""
    for required in matrix():
        await suite.post("evidence", "/v1/requirements", required)
    parts = [*components(), *(_file(path) for path in (Path("uv.lock"), *sorted(Path("schemas").rglob("*.json"))))]
    commit = _git("rev-parse", "HEAD") or None
    changed = " with changes" if _git("status", "--porcelain") else ""
    # The name is a function of the parts: the same parts are the same release, whatever commit they came from.
    root = hashlib.sha256(json.dumps([[part["name"], part["sha256"]] for part in parts]).encode()).hexdigest()
    name = f"gpuaas {version('gpuaas-common')}, source {root[:12]}"
    release = {"name": name, "components": parts}
    if commit is not None and not changed:
        release["commit"] = commit
    return str((await suite.post("evidence", "/v1/releases", release))["root_sha256"])


async def decided_and_taken_home(
    suite: Suite, judge: Suite, subject: str, profile: str, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The gate's decision, and what the offline verifier makes of its export in `folder`."""
    question = {"gate_id": GATE, "subject_sha256": subject, "profile": profile}
    decision: dict[str, Any] = await judge.post("evidence", "/v1/gates", question)
    suite.position = max(suite.position, int(decision["position"]))
    await export_decision(suite, subject, profile, GATE, folder)
    key = (await suite.get("audit", "/v1/key"))["verifier_key"]
    (folder / "log.vkey").write_text(f"{key}\n", "utf-8")
    found = (await suite.get("evidence", "/v1/signing-keys"))["items"]
    signing = [base64.urlsafe_b64decode(one["public_key"] + "=").hex() for one in found]
    (folder / "evidence.keys").write_text("".join(f"{one}\n" for one in signing), "utf-8")
    report = verify_decision(folder, trusting(key), evidence_keys(signing))
    told = {
        "verdict": report.verdict,
        "reason": report.reason,
        "checks": [asdict(check) for check in report.checks],
        "text": report.as_text(),
    }
    return decision, told


def _file(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    kind = "lock" if path.suffix == ".lock" else "schema"
    return {"name": str(path), "kind": kind, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, timeout=GIT_S, check=False, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""
