"""A trail taken home as a tarball. One law: whether it is whole is counted against the signed tree, never believed.

Members: `checkpoint`, `rows-<n>.json` (trail rows with proofs, oldest first), and `policy`, which is for people: trust
comes from the reader's side.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gpuaas.verify.fields import Fields
from gpuaas.verify.policy import Head, Policy
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.rows import verify_row
from gpuaas.verify.strict_json import parse_object

MEMBER_BYTES_MAX: Final = 512 * 1024 * 1024
CHECKPOINT: Final = "checkpoint"
ROWS: Final = "rows-"
POLICY: Final = "policy"


def verify_export(path: str | Path, policy: Policy, whole: bool = False) -> Report:
    """Whether the rows in the tarball are in the tree that its checkpoint signs, and whether they are all of it.

    Args:
        whole: refuse one that lacks a leaf of the tree.
    """
    report = Report(what=f"export {Path(path).name}")
    with report.deciding():
        members = _members(Path(path))
        name, content = next(members, ("", b""))
        if name != CHECKPOINT:
            raise Unusable("malformed", "an export begins with its checkpoint")
        head = policy.accept(content)
        report.held("checkpoint", f"{head.checkpoint.origin}, {head.checkpoint.size:,} leaves, signed")
        count, gap = _check_rows(members, head, policy)
        report.held("inclusion", f"{count:,} rows are in the log, byte for byte, each once and in its order")
        if gap is None and count == head.checkpoint.size:
            report.held("whole", f"they are all {count:,} leaves of the signed tree: nothing is left out")
        elif whole:
            raise Refuted("left-out", f"the signed tree has a leaf {count if gap is None else gap} that is not here")
        report.facts |= {"origin": head.checkpoint.origin, "rows": str(count), "leaves": str(head.checkpoint.size)}
    return report


def _check_rows(members: Iterator[tuple[str, bytes]], head: Head, policy: Policy) -> tuple[int, int | None]:
    """How many rows there are, and the first leaf that is passed over before the last of them."""
    count, after = 0, -1
    gap: int | None = None
    for name, content in members:
        if not name.startswith(ROWS):
            raise Unusable("malformed", f"{name[:80]!r} is no part of an export")
        for value in Fields(parse_object(content, name), name).items("items"):
            row = Fields(value, f"row {count + 1}")
            index, under = verify_row(row, policy)
            if under.checkpoint != head.checkpoint:
                raise Refuted("wrong-tree", f"{row.what} is proved under another checkpoint than the export's")
            if index <= after:
                raise Refuted("wrong-order", f"{row.what} stands twice or out of order")
            if gap is None and index > after + 1:
                gap = after + 1
            count, after = count + 1, index
    return count, gap


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each member but the policy, one at a time."""
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                if not member.isfile() or member.name == POLICY:
                    continue
                if member.size > MEMBER_BYTES_MAX:
                    raise Unusable("too-large", f"{member.name[:80]} holds more than {MEMBER_BYTES_MAX:,} bytes")
                file = tar.extractfile(member)
                yield member.name, b"" if file is None else file.read()
    except (OSError, tarfile.TarError, EOFError) as broken:
        raise Unusable("unreadable", f"{path.name} cannot be read: {broken}") from broken
