"""Which revision the schemas are held against, on real repositories in a temporary folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.contracts.__main__ import main
from tools.contracts.artefacts import SCHEMAS
from tools.contracts.history import Unseen, base_of, schemas_at

PATH = SCHEMAS / "iam/tenant-created.v1.json"
Git = Callable[..., str]


def _git(root: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    asked = subprocess.run(["git", *settings, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return asked.stdout.strip()


def _commit(root: Path, message: str) -> str:
    _git(root, "add", "-A")
    _git(root, "commit", "-q", "--allow-empty", "-m", message)
    return _git(root, "rev-parse", "HEAD")


def _narrow(root: Path) -> None:
    path = root / PATH
    path.write_text(path.read_text("utf-8").replace('"maxLength": 200', '"maxLength": 20'))


@pytest.fixture
def repository(copy: Path) -> Path:
    """A repository on `main` without a commit; the schemas lie there."""
    _git(copy, "init", "-q", "-b", "main")
    return copy


def test_a_repository_without_commits_has_nothing_older(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert base_of(repository, SCHEMAS) is None
    assert main(["compat"], repository) == 0
    assert "nothing older to compare with" in capsys.readouterr().out


def test_a_change_not_yet_committed_is_held_against_the_last_commit(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _commit(repository, "first")
    assert base_of(repository, SCHEMAS) is None
    _narrow(repository)
    assert base_of(repository, SCHEMAS) == first
    assert main(["compat"], repository) == 1
    assert "$.display_name.maxLength changed from 200 to 20" in capsys.readouterr().err


def test_on_main_a_committed_change_is_held_against_the_commit_before(repository: Path) -> None:
    first = _commit(repository, "first")
    _narrow(repository)
    _commit(repository, "second")
    assert base_of(repository, SCHEMAS) == first
    assert main(["compat"], repository) == 1


def test_a_branch_is_held_against_where_it_left_main(repository: Path) -> None:
    fork = _commit(repository, "first")
    _git(repository, "update-ref", "refs/remotes/origin/main", fork)
    _git(repository, "checkout", "-q", "-b", "work")
    _narrow(repository)
    _commit(repository, "breaks it")
    _commit(repository, "and something else")
    assert base_of(repository, SCHEMAS) == fork
    assert main(["compat"], repository) == 1


def test_a_named_base_is_taken(repository: Path) -> None:
    first = _commit(repository, "first")
    _narrow(repository)
    second = _commit(repository, "second")
    assert main(["compat", "--base", first], repository) == 1
    assert main(["compat", "--base", second], repository) == 0


def test_a_deleted_event_is_told(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _commit(repository, "first")
    (repository / PATH).unlink()
    assert main(["compat"], repository) == 1
    assert "iam/tenant-created.v1.json: deleted" in capsys.readouterr().err


def test_a_base_from_before_there_were_schemas_asks_nothing(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = shutil.move(repository / "schemas", tmp_path / "kept")
    empty = _commit(repository, "before")
    shutil.move(kept, repository / "schemas")
    assert schemas_at(repository, empty, SCHEMAS) == {}
    assert main(["compat", "--base", empty], repository) == 0
    assert "no schemas at" in capsys.readouterr().out


def test_the_schemas_of_a_revision_are_read_as_they_were(repository: Path) -> None:
    first = _commit(repository, "first")
    before = (repository / PATH).read_text("utf-8")
    _narrow(repository)
    found = schemas_at(repository, first, SCHEMAS)
    assert found["iam/tenant-created.v1.json"] == before
    assert len(found) == len(list((repository / SCHEMAS).rglob("*.json")))


def test_an_unknown_base_is_an_error_and_not_a_pass(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _commit(repository, "first")
    assert main(["compat", "--base", "no-such-branch"], repository) == 1
    assert "no revision no-such-branch" in capsys.readouterr().err


def test_a_shallow_clone_is_an_error_and_not_a_pass(repository: Path, tmp_path: Path) -> None:
    _commit(repository, "first")
    _commit(repository, "second")
    shallow = tmp_path / "shallow"
    _git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", str(shallow))
    with pytest.raises(Unseen, match="shallow"):
        base_of(shallow, SCHEMAS)
    assert main(["compat"], shallow) == 1
