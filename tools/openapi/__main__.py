"""The locked APIs, at the command line. One law: run from the repository's root, exit 0 only when all is well.

    python -m tools.openapi generate                  write schemas/api, docs/contracts/permissions.md, iam's registry
    python -m tools.openapi check                     are they what the routes say, does every route say who may
    python -m tools.openapi compat [--base REVISION]  do the APIs keep what they promised before

It stands in `tools` and not in a package: it needs the repository and every service, and nothing at run time needs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.contracts.history import Unseen, base_of, schemas_at
from tools.openapi.artefacts import API, drift, write
from tools.openapi.compatibility import breaches
from tools.openapi.describing import Undescribed, documents, operations
from tools.openapi.permissions import wrong_permissions


def main(arguments: Sequence[str], root: Path) -> int:
    """Run one command on the repository at `root`; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.openapi", description="The locked APIs of the services.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("generate", help="write schemas/api and docs/contracts/permissions.md")
    commands.add_parser("check", help="fail unless both are what the routes say, and every route says who may")
    compat = commands.add_parser("compat", help="fail if a promise of an older revision is not kept")
    compat.add_argument("--base", metavar="REVISION", help="the revision to hold against (default: found by itself)")
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "generate":
                return _generate(root)
            case "check":
                return _check(root)
            case _:
                return _compat(root, chosen.base)
    except (Undescribed, Unseen) as refused:
        print(refused, file=sys.stderr)
        return 1


def _generate(root: Path) -> int:
    found = documents()
    if wrong := wrong_permissions(found):
        return _verdict(wrong, "")
    for path in write(root, found):
        print(f"wrote {path}")
    return 0


def _check(root: Path) -> int:
    found = documents()
    wrong = wrong_permissions(found) or [
        f"{path}: not what the routes say; run `python -m tools.openapi generate`" for path in drift(root, found)
    ]
    count = sum(1 for document in found.values() for _ in operations(document))
    return _verdict(wrong, f"{count} operations of {len(found)} services, everything generated is up to date")


def _compat(root: Path, revision: str | None) -> int:
    base = revision or base_of(root, API)
    if base is None:
        print("nothing older to compare with: this repository has no earlier commit")
        return 0
    old = {path: text for path, text in schemas_at(root, base, API).items() if path.endswith(".json")}
    new = {path.name: path.read_text(encoding="utf-8") for path in (root / API).glob("*.json")}
    well = f"{len(old)} APIs of {base[:12]} are kept" if old else f"no APIs were locked at {base[:12]} yet"
    return _verdict(breaches(old, new), well)


def _verdict(wrong: Sequence[str], well: str) -> int:
    for text in wrong:
        print(text, file=sys.stderr)
    if not wrong:
        print(well)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
