"""What runs is what was released, on the running suite. One law: what is observed wins over what is claimed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gpuaas.cli.demo.evidence import components, other_principal
from gpuaas.cli.demo.world import World
from gpuaas.cli.evidence_export import export_decision
from gpuaas.cli.main import main
from gpuaas.common.clock import rfc3339
from gpuaas.common.ids import new_id
from gpuaas.common.testing.running import eventually
from gpuaas.evidence.domain.rederivation import LIVE_STATE
from gpuaas.verify.decisions import verify_decision
from gpuaas.verify.policy import trusting
from gpuaas.verify.statements import evidence_keys

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
GATE = "what-runs"
REQUIREMENT = {
    "requirement_id": "what-runs",
    "kind": "ops",
    "title": "What runs is what was released",
    "predicate": "reachable == services && services > 0 && readers_stopped == 0",
    "minimum_readback": "R4",
    "max_age_s": 8_640_000,
    "profiles": ["demo"],
}
FACTS = ("services", "reachable", "readers_stopped")


async def released(world: World, ships: list[dict[str, Any]]) -> str:
    """A release of these components and of a note that makes it one of its own; its root digest."""
    note = hashlib.sha256(new_id().encode()).hexdigest()
    parts = [*ships, {"name": "note", "kind": "document", "sha256": note, "size_bytes": 36}]
    answer = await world.operator.post("evidence", "/v1/releases", {"name": f"story {note[:8]}", "components": parts})
    return str(answer["root_sha256"])


async def claimed(world: World, subject: str, result: str = "passed") -> list[dict[str, Any]]:
    """Claim what the installation shows now; what reading that back gave."""
    suite, claim_id = world.operator, f"what-runs-{new_id()}"
    said = {
        "requirement_id": "what-runs",
        "subject_sha256": subject,
        "profile": "demo",
        "procedure": "observe",
        "scope": ["every service"],
    }
    later = rfc3339(world.clock.now() + timedelta(days=200))
    await suite.post("evidence", f"/v1/claims/{claim_id}/opening", {**said, "closes_at": later})
    content = await suite.get_bytes("evidence", "/v1/live-state")
    seen, digest = json.loads(content), hashlib.sha256(content).hexdigest()
    await suite.put_bytes("evidence", f"/v1/artefacts/{digest}", content, LIVE_STATE)
    artefact = {"name": "seen", "sha256": digest, "size_bytes": len(content), "media_type": LIVE_STATE}
    pointers = {name: f"/totals/{name}" for name in FACTS} | {
        f"{name}_source": f"/services/{name}/source_sha256" for name in seen["services"]
    }
    facts = []
    for name, pointer in pointers.items():
        value: Any = seen
        for step in pointer.split("/")[1:]:
            value = value[step]
        facts.append({"name": name, "value": str(value), "artefact": "seen", "pointer": pointer})
    claim = {**said, "claim_id": claim_id, "result": result, "artefacts": [artefact], "facts": facts}
    await suite.post("evidence", "/v1/claims", {**claim, "expires_at": later})
    readings: list[dict[str, Any]] = []

    async def read_back() -> bool:
        """Nobody has to ask for it: it is read back as deep as its requirement demands."""
        readings[:] = (await suite.get("evidence", f"/v1/claims/{claim_id}"))["readbacks"]
        return any(one["level"] == "R4" for one in readings)

    await eventually(read_back)
    return readings


async def decided(world: World, subject: str) -> dict[str, Any]:
    rights = ["evidence.gate.decide", "evidence.*.read"]
    async with await other_principal(world.operator, world.member, f"judge-{new_id()[:8]}", rights) as judge:
        question = {"gate_id": GATE, "subject_sha256": subject, "profile": "demo", "kinds": ["ops"]}
        answer: dict[str, Any] = await judge.post("evidence", "/v1/gates", question)
    world.operator.position = max(world.operator.position, int(answer["position"]))
    return answer


async def test_a_release_that_runs_passes_at_r4_until_bad_news_and_its_pass_is_taken_home_as_taken_back(
    world: World, tmp_path: Path
) -> None:
    await world.operator.post("evidence", "/v1/requirements", REQUIREMENT)
    subject = await released(world, components())
    readings = await claimed(world, subject)
    assert ("R4", "confirmed") in {(one["level"], one["outcome"]) for one in readings}, readings
    passed = await decided(world, subject)
    assert passed["verdict"] == "pass", passed["reasons"]
    await claimed(world, subject, "failed")

    async def taken_back() -> bool:
        told = await world.operator.get("evidence", f"/v1/releases/{subject}/status", profile="demo")
        return len(told["revocations"]) == 1

    await eventually(taken_back)
    await export_decision(world.operator, subject, "demo", GATE, tmp_path, int(passed["position"]))
    key = (await world.operator.get("audit", "/v1/key"))["verifier_key"]
    signing = (await world.operator.get("evidence", "/v1/signing-keys"))["items"]
    public = [base64.urlsafe_b64decode(one["public_key"] + "=").hex() for one in signing]
    report = verify_decision(tmp_path, trusting(key), evidence_keys(public))
    assert report.verdict == "verified", report.as_text()
    assert report.facts["verdict"] == "pass"
    assert "what-runs: failed" in report.facts["taken back"]


async def test_a_claim_and_a_waiver_are_made_by_hand_at_the_command_line(world: World, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text('{"failed": 0}', "utf-8")
    files = {"requirement_id": "by-hand", "kind": "security", "title": "Nothing failed", "predicate": "failed == 0"}
    asked = {**files, "minimum_readback": "R2", "max_age_s": 8_640_000, "profiles": ["demo"]}
    await world.operator.post("evidence", "/v1/requirements", asked)
    name = f"by-hand-{new_id()[:8]}"

    async def said(*words: str, key: str = world.stack.operator_key, status: tuple[int, ...] = (0,)) -> str:
        services = json.dumps(dict(world.endpoints.services))
        environment = {"GPUAAS_SERVICES": services, "GPUAAS_API_KEY": key, "COLUMNS": "300"}
        done = await asyncio.to_thread(CliRunner().invoke, main, ["evidence", *words], env=environment)
        assert done.exit_code in status, (words, done.output)
        return done.stdout

    root = (await said("register", name, str(report))).strip()
    about = ["--requirement", "by-hand", "--profile", "demo"]
    await said("open", name, name, *about, "--procedure", "count", "--covers", "all")
    assert name in await said("openings")
    await said("submit", name, str(report), "--result", "passed", "--fact", "failed=0@/failed")
    assert "R2" in await said("read-back", name)
    await said("open", f"{name}-2", name, *about, "--procedure", "count", "--covers", "all")
    await said("abandon", f"{name}-2", "--reason", "no network")
    told = json.loads(await said("status", root, "--profile", "demo", "--json", status=(0, 1)))
    [standing] = [one for one in told["requirements"] if one["requirement_id"] == "by-hand"]
    assert standing["standing"] == "satisfied"
    await said("fetch", standing["statement_sha256"], str(tmp_path / "statement"))
    assert json.loads((tmp_path / "statement").read_bytes())["payloadType"] == "application/vnd.in-toto+json"
    other = await other_principal(world.operator, world.member, f"waiver-{name}"[:40], ["evidence.*.*"])
    async with other:
        key = other._credential
        assert isinstance(key, str)
        await said("waive", name, name, *about, "--reason", "The machine is away.", key=key)
    # The operator has claimed, so it is no second person.
    await said("approve", name, status=(1,))
    assert name in await said("waivers")
    await said("withdraw", name, "--reason", "not needed")


async def test_a_release_that_ships_other_code_than_what_runs_is_contradicted(world: World) -> None:
    await world.operator.post("evidence", "/v1/requirements", REQUIREMENT)
    ships = [{**one, "sha256": "ab" * 32} if one["name"] == "gpuaas.billing" else one for one in components()]
    subject = await released(world, ships)
    found = [one for one in await claimed(world, subject) if one["outcome"] == "contradicted"]
    assert [one["level"] for one in found] == ["R4"]
    assert "billing runs another gpuaas.billing than the release ships" in found[0]["detail"]
    answer = await decided(world, subject)
    assert answer["verdict"] == "fail"
