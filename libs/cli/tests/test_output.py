"""What a command prints: whole in a pipe, as it was written, and the answer alone on standard output."""

from __future__ import annotations

import pytest
from gpuaas.cli.output import print_table, progress_bar

ALLOCATION = "alloc-2ce5946f-8174-5c8f-aa79-1cca00a6e7fe"


@pytest.fixture(autouse=True)
def _no_width_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def test_in_a_pipe_a_wide_row_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Allocations", ["allocation", "model", "why"], [[ALLOCATION, "nvidia-h100-sxm5-80gb", "w" * 90]])
    assert any(ALLOCATION in line and "w" * 90 in line for line in capsys.readouterr().out.splitlines())


def test_a_width_that_is_given_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table("Allocations", ["allocation", "why"], [[ALLOCATION, "w" * 90]])
    table = [line for line in capsys.readouterr().out.splitlines() if line[0] in "┏┃┡│└"]
    assert table
    assert max(map(len, table)) <= 40


def test_title_and_note_are_not_folded_to_a_narrow_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(f"Legal holds of {ALLOCATION}", ["hold"], [], f"erased, erasure {ALLOCATION}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Legal holds of {ALLOCATION}"
    assert lines[-1] == f"erased, erasure {ALLOCATION}"


@pytest.mark.parametrize("text", ["[disk] in slot 3", "back from [/disk] repair", "[link=x]here"])
def test_brackets_that_people_write_are_shown_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(text, ["why"], [[text]], text)
    assert capsys.readouterr().out.count(text) == 3


def test_a_bar_leaves_standard_output_to_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as bar:
        bar.update(bar.add_task("events", total=2), completed=2)
    assert capsys.readouterr().out == ""
