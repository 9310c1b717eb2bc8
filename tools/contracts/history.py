"""The schemas as git knows them. One law: a base that cannot be seen is an error, a base that never was is not.

A shallow clone can hide the base; it is refused, so that a gate never passes because it looked at nothing.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from tools.contracts.compatibility import Texts

MAIN: Final = "origin/main"
GIT_TIMEOUT_S: Final = 60


class Unseen(Exception):
    """The history needed is not here."""


def base_of(root: Path, schemas: Path) -> str | None:
    """The revision that today's schemas are held against; None: nothing older exists.

    On a branch: where it left `origin/main`. On main itself: the last commit if `schemas` has changes that are not
    committed, else the commit before it.

    Raises:
        Unseen: the clone is shallow.
    """
    head = _revision(root, "HEAD")
    if head is None:
        return None
    if _git(root, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise Unseen("this clone is shallow; fetch the whole history, so that there is something to compare with")
    if _revision(root, MAIN) is not None:
        fork = _git(root, "merge-base", "HEAD", MAIN).decode().strip()
        if fork != head:
            return fork
    if _git(root, "status", "--porcelain", "--", str(schemas)).strip():
        return head
    return _revision(root, "HEAD~1")


def schemas_at(root: Path, revision: str, schemas: Path) -> Texts:
    """Path below `schemas` → text at `revision`; empty if the folder did not exist then.

    Raises:
        Unseen: no such revision here.
    """
    if _revision(root, revision) is None:
        raise Unseen(f"no revision {revision} here; fetch it, or name another with --base")
    if not _git(root, "ls-tree", revision, "--", str(schemas)).strip():
        return {}
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", revision, "--", str(schemas)))) as archive:
        files = [(member, archive.extractfile(member)) for member in archive.getmembers() if member.isfile()]
        return {
            str(Path(member.name).relative_to(schemas)): content.read().decode("utf-8")
            for member, content in files
            if content is not None
        }


def _revision(root: Path, name: str) -> str | None:
    asked = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"],
        cwd=root,
        capture_output=True,
        timeout=GIT_TIMEOUT_S,
        check=False,
    )
    return asked.stdout.decode().strip() or None


def _git(root: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, timeout=GIT_TIMEOUT_S, check=True
        ).stdout
    except subprocess.CalledProcessError as failed:
        raise Unseen(f"git {arguments[0]} failed: {failed.stderr.decode().strip()}") from failed
