"""Contracts from schemas, at the command line. One law: run from the repository's root, exit 0 only when all is well.

    python -m tools.contracts generate                  write what follows from schemas/events
    python -m tools.contracts check                     is all of it up to date, are examples and upcasters right
    python -m tools.contracts compat [--base REVISION]  do the schemas keep what they promised before

It stands in `tools` and not in a package: it needs the repository, and nothing at run time needs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gpuaas.contracts.upcasters import UPCASTERS

from tools.contracts.artefacts import SCHEMAS, drift, write
from tools.contracts.compatibility import breaches
from tools.contracts.history import Unseen, base_of, schemas_at
from tools.contracts.parsing import Refused
from tools.contracts.reading import read_catalogue
from tools.contracts.upcasting import missing_or_wrong
from tools.contracts.validating import wrong_examples


def main(arguments: Sequence[str], root: Path) -> int:
    """Run one command on the repository at `root`; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.contracts", description="Contracts from schemas.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("generate", help="write what follows from schemas/events")
    commands.add_parser("check", help="fail unless everything generated is up to date")
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
    except (Refused, Unseen) as refused:
        print(refused, file=sys.stderr)
        return 1


def _generate(root: Path) -> int:
    for path in write(root):
        print(f"wrote {path}")
    return 0


def _check(root: Path) -> int:
    catalogue = read_catalogue(root / SCHEMAS)
    wrong = wrong_examples(catalogue) + missing_or_wrong(catalogue, UPCASTERS)
    wrong += [f"{path}: not what the schemas say; run `python -m tools.contracts generate`" for path in drift(root)]
    return _verdict(wrong, f"{len(catalogue.events)} events, everything generated is up to date")


def _compat(root: Path, revision: str | None) -> int:
    base = revision or base_of(root, SCHEMAS)
    if base is None:
        print("nothing older to compare with: this repository has no earlier commit")
        return 0
    old = schemas_at(root, base, SCHEMAS)
    folder = root / SCHEMAS
    new = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.json")}
    wrong = breaches(old, new) + missing_or_wrong(read_catalogue(folder), UPCASTERS)
    return _verdict(wrong, f"{len(old)} schemas of {base[:12]} are kept" if old else f"no schemas at {base[:12]} yet")


def _verdict(wrong: Sequence[str], well: str) -> int:
    for text in wrong:
        print(text, file=sys.stderr)
    if not wrong:
        print(well)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
