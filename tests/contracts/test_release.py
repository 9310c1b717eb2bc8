"""`make release` collects honestly. One law: what gave nothing gives a reason; a broken run goes on where it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from gpuaas.cli.evidence_matrix import matrix
from gpuaas.evidence.domain.predicate import read_predicate

from tools.release.claiming import LIVE, WHAT
from tools.release.collecting import COLLECTORS, Collected, collected
from tools.release.collecting import _not_audited as not_audited
from tools.release.journal import Entry, read_journal
from tools.release.programs import GaveNothing, run


def silent(_: str) -> None:
    """Nobody listens."""


def test_something_is_collected_for_every_requirement_and_facts_meet_what_it_asks_for() -> None:
    required = {one["requirement_id"]: one for one in matrix()}
    assert sorted(required) == sorted(WHAT)
    for name, one in required.items():
        assert read_predicate(one["predicate"]).named
        if name != LIVE:
            assert set(one.get("covers", ())) <= set(COLLECTORS[name].covers)


async def test_a_program_that_hangs_is_ended_and_gives_nothing(tmp_path: Path) -> None:
    with pytest.raises(GaveNothing, match="longer than 1 s and was ended"):
        await run(["/bin/sh", "-c", "sleep 600"], tmp_path / "said.log", 1.0, silent)


async def test_a_program_that_is_not_there_gives_nothing_and_one_that_fails_says_how(tmp_path: Path) -> None:
    with pytest.raises(GaveNothing, match="cannot be started"):
        await run(["/no/such/program"], tmp_path / "said.log", 5.0, silent)
    words = [sys.executable, "-c", "import sys; print('out'); print('wrong', file=sys.stderr); sys.exit(3)"]
    assert await run(words, tmp_path / "said.log", 30.0, silent, printed=tmp_path / "answer") == 3
    assert (tmp_path / "answer").read_text("utf-8") == "out\n"
    assert (tmp_path / "said.log").read_text("utf-8") == "wrong\n"


def test_a_report_that_the_reader_cannot_read_gives_nothing() -> None:
    pointers = {"passed": "/passed"}
    with pytest.raises(GaveNothing, match="no test case"):
        collected(b"<testsuite/>", "application/x-junit+xml", pointers, passed=True)
    report = b'<testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase></testsuite>'
    found = collected(report, "application/x-junit+xml", pointers, passed=True)
    assert isinstance(found, Collected)
    assert found.facts == {"passed": ("1", "/passed")}


def test_a_package_that_the_advisories_know_nothing_of_was_not_audited(tmp_path: Path) -> None:
    report = tmp_path / "audit.json"
    assert not_audited(report) == ""
    known, unknown = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "no connection"}
    report.write_text(json.dumps({"dependencies": [known, unknown]}), "utf-8")
    assert not_audited(report) == "1 of 2 were not audited: no connection"
    report.write_text(json.dumps({"dependencies": [known]}), "utf-8")
    assert not_audited(report) == ""


def test_a_journal_goes_on_for_the_same_release_and_profile_only(tmp_path: Path) -> None:
    path = tmp_path / "out" / "progress.json"
    journal = read_journal(path, "ab" * 32, "dev")
    journal.write("walls", Entry("walls-1", "passed", took_s=2.5))
    journal.write("bench", Entry("bench-1"))
    again = read_journal(path, "ab" * 32, "dev")
    assert again.done("walls")
    assert not again.done("bench")
    assert again.entries["bench"] == Entry("bench-1")
    assert read_journal(path, "cd" * 32, "dev").entries == {}
    assert read_journal(path, "ab" * 32, "demo").entries == {}
    path.write_text("{half", "utf-8")
    assert read_journal(path, "ab" * 32, "dev").entries == {}
