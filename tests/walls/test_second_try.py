"""`make test` gives a failed file a second try. One law: what fails by itself stays failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONCE = """
from pathlib import Path

def test_fails_the_first_time():
    seen = Path(__file__).with_suffix(".seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""
ALWAYS = "def test_fails():\n    assert False\n"


def made(directory: Path, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (directory / f"test_{name}.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "tools.tests", "-n", "1"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_what_passes_alone_is_named_and_passes(tmp_path: Path) -> None:
    done = made(tmp_path, once=ONCE, fine="def test_passes():\n    pass\n")
    assert done.returncode == 0, done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "passed alone" in done.stdout
    assert "test_fails_the_first_time" in done.stdout.rpartition("passed alone")[2]


@pytest.mark.parametrize("count", [1, 4])
def test_what_fails_twice_and_what_fails_all_over_stays_failed(tmp_path: Path, count: int) -> None:
    done = made(tmp_path, **{f"always_{number}": ALWAYS for number in range(count)})
    assert done.returncode == 1
    assert ("Once more" in done.stdout) == (count == 1)
    assert "passed alone" not in done.stdout


def test_that_nothing_ran_is_no_success(tmp_path: Path) -> None:
    assert made(tmp_path, fine="").returncode == pytest.ExitCode.NO_TESTS_COLLECTED
