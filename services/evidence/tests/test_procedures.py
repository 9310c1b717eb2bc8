"""A procedure run again (R3), alone and through the service. One law: only what is listed runs."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from evidence_house import FACTS, REQUIREMENT, RUN, House, claimed
from gpuaas.common.errors import Misconfigured
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.evidence.adapters.commands import ARTEFACT_BYTES_MAX, LocalCommands
from gpuaas.evidence.app import build
from gpuaas.evidence.ports import NotRun
from gpuaas.evidence.settings import EvidenceSettings

SUBJECT = "ab" * 32


def script(code: str, timeout_s: float = 30.0) -> dict[str, Any]:
    """A line of the list: `code` sees `out` and `subject`, and has to make `run.json`."""
    prelude = "import os, sys, json, time, pathlib; out = pathlib.Path(sys.argv[1]); subject = sys.argv[2]; "
    words = [sys.executable, "-c", prelude + code, "{out}", "{subject}"]
    return {"command": words, "timeout_s": timeout_s, "makes": {"run.json": "run.json"}}


def listed(tmp_path: Path, **procedures: dict[str, Any]) -> Path:
    path = tmp_path / "procedures.json"
    path.write_text(json.dumps({name.replace("_", "-"): line for name, line in procedures.items()}), "utf-8")
    return path


async def ran(tmp_path: Path, code: str, **more: Any) -> bytes:
    commands = LocalCommands(listed(tmp_path, again=script(code, **more)))
    return dict(await commands.run("again", SUBJECT))["run.json"]


async def test_what_a_procedure_makes_is_handed_over_and_it_knows_the_subject_and_nothing_of_us(tmp_path: Path) -> None:
    made = await ran(tmp_path, "(out / 'run.json').write_text(json.dumps([subject, sorted(os.environ)]))")
    subject, seen = json.loads(made)
    assert subject == SUBJECT
    assert not [name for name in seen if name.startswith("GPUAAS")]


@pytest.mark.parametrize(
    ("code", "more", "told"),
    [
        ("sys.exit(3)", {}, "ended with status 3"),
        ("pass", {}, "did not make run.json"),
        ("(out / 'run.json').symlink_to('/etc/passwd')", {}, "did not make run.json"),
        (f"(out / 'run.json').write_bytes(bytes({ARTEFACT_BYTES_MAX + 1}))", {}, "more than"),
        ("time.sleep(600)", {"timeout_s": 0.2}, "was ended"),
    ],
)
async def test_a_procedure_that_gives_nothing_says_why(
    tmp_path: Path, code: str, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(NotRun, match=told):
        await ran(tmp_path, code, **more)


async def test_nothing_runs_that_is_not_on_the_list(tmp_path: Path) -> None:
    with pytest.raises(NotRun, match="nothing was run"):
        await LocalCommands(None).run("again", SUBJECT)
    absent = LocalCommands(listed(tmp_path, again=script("pass") | {"command": ["/no/such/program"]}))
    with pytest.raises(NotRun, match="cannot be started"):
        await absent.run("again", SUBJECT)
    wrong: list[dict[str, Any]] = [{}, script("pass") | {"shell": True}]
    for line in wrong:
        with pytest.raises(Misconfigured, match="cannot be used"):
            LocalCommands(listed(tmp_path, again=line))


@pytest.fixture
async def workshop(stack: TestStack, tmp_path: Path) -> AsyncIterator[House]:
    """A house that may run three procedures again."""
    same = f"(out / 'run.json').write_bytes({RUN!r})"
    moved = json.dumps({"totals": {"gpu_hours_error": 2, "jobs": 1000}, "verified": True}).encode()
    procedures = listed(
        tmp_path,
        the_same=script(same),
        another=script(f"(out / 'run.json').write_bytes({moved!r})"),
        broken=script("sys.exit(1)"),
    )
    async with fresh_settings(stack, EvidenceSettings, tmp_path, evidence_procedures=procedures) as settings:
        service = build(settings)
        async with running(service) as client:
            identities = await Identities.on(service.log)
            yield House(service, client, await identities.operator(), settings.state_dir, await identities.operator())


async def test_a_claim_is_as_good_as_what_running_it_again_gives(workshop: House) -> None:
    listed_there = (await workshop.send("GET", "/v1/procedures")).json()["items"]
    assert [one["procedure_id"] for one in listed_there] == ["another", "broken", "the-same"]
    await claimed(workshop)
    deeper = REQUIREMENT | {"minimum_readback": "R3"}
    await workshop.send("POST", "/v1/requirements", json=deeper)
    for number, (procedure, outcome) in enumerate(
        [("the-same", "confirmed"), ("broken", "unreadable"), ("another", "contradicted")]
    ):
        name = f"again-{number}"
        await workshop.submit(claim_id=name, procedure_id=procedure, facts=FACTS)
        shown: dict[str, str] = {}

        async def read_back(name: str = name, shown: dict[str, str] = shown) -> bool:
            """At R3 without being asked: the requirement demands it."""
            told = (await workshop.send("GET", f"/v1/claims/{name}")).json()
            shown.update({one["level"]: one["outcome"] for one in told["readbacks"]})
            return "R3" in shown

        await eventually(read_back)
        assert shown == {"R2": "confirmed", "R3": outcome}
    assert (await workshop.decide())["reasons"][0]["why"].startswith("contradicted: again-2 at R3")
