"""A trail taken home as a tarball. One law: whether it is whole is counted against the signed tree, never believed.

Members, in this order: `checkpoint`; with `complete=1` also `asked.json`, what was asked for, and `entries-<n>`, the
entry of every leaf of the tree (each behind its length in two bytes, as in C2SP tiles); `rows-<n>.json` (trail rows
with proofs, oldest first). `policy` is for people: trust comes from the reader's side.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gpuaas.verify.asked import Asked, read_asked
from gpuaas.verify.fields import Fields
from gpuaas.verify.mirrors import LEAVES_MAX
from gpuaas.verify.policy import Head, Policy
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.rows import verify_row
from gpuaas.verify.strict_json import parse_object
from gpuaas.verify.tree import leaf_hash, root_of

MEMBER_BYTES_MAX: Final = 512 * 1024 * 1024
CHECKPOINT: Final = "checkpoint"
ASKED: Final = "asked.json"
ENTRIES: Final = "entries-"
ROWS: Final = "rows-"
POLICY: Final = "policy"


@dataclass
class _Copy:
    """What has been read of an export.

    Attributes:
        leaves: leaf hashes by the entries, as far as they came.
        wanted: indices of the leaves that answer the question, in order.
        rows: indices of the rows, in order.
    """

    head: Head
    policy: Policy
    asked: Asked | None = None
    leaves: list[bytes] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def take(self, name: str, content: bytes) -> None:
        """One member behind the checkpoint."""
        if name.startswith(ROWS):
            self._take_rows(name, content)
        elif name == ASKED and self.asked is None and not self.rows:
            self.asked = read_asked(Fields(parse_object(content, name), name))
        elif name.startswith(ENTRIES) and self.asked is not None and not self.rows:
            self._take_entries(self.asked, name, content)
        else:
            raise Unusable("malformed", f"{name[:80]!r} is no part of an export, or not here")

    def _take_rows(self, name: str, content: bytes) -> None:
        for value in Fields(parse_object(content, name), name).items("items"):
            row = Fields(value, f"row {len(self.rows) + 1}")
            index, under = verify_row(row, self.policy)
            if under.checkpoint != self.head.checkpoint:
                raise Refuted("wrong-tree", f"{row.what} is proved under another checkpoint than the export's")
            if self.rows and index <= self.rows[-1]:
                raise Refuted("wrong-order", f"{row.what} stands twice or out of order")
            self.rows.append(index)

    def _take_entries(self, asked: Asked, name: str, content: bytes) -> None:
        at = 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 2], "big")
            entry = content[at + 2 : at + 2 + length]
            index = len(self.leaves)
            if len(entry) != length or index >= LEAVES_MAX:
                raise Unusable("malformed", f"{name[:80]} is cut off, or goes on behind {LEAVES_MAX:,} leaves")
            if asked.wants(Fields(parse_object(entry, f"entry {index}"), f"entry {index}")):
                self.wanted.append(index)
            self.leaves.append(leaf_hash(entry))
            at += 2 + length

    def check_complete(self) -> None:
        """The rows are the leaves that answer the question, all of them and no others.

        Raises:
            Refuted: they are not, or the entries are not those of the signed tree.
        """
        if len(self.leaves) != self.head.checkpoint.size or root_of(self.leaves) != self.head.checkpoint.root:
            raise Refuted("wrong-root", "the entries lead to another root than the checkpoint's")
        wanted, here = set(self.wanted), set(self.rows)
        if wanted == here:
            return
        odd = min(wanted ^ here)
        if odd in wanted:
            raise Refuted("left-out", f"leaf {odd} of the signed tree answers the question, and is not here")
        raise Refuted("not-asked", f"leaf {odd} is here, and does not answer the question")

    def first_gap(self) -> int | None:
        """The first leaf of the signed tree that is not here; None for none."""
        if len(self.rows) == self.head.checkpoint.size:
            return None
        return next((at for at, index in enumerate(self.rows) if index != at), len(self.rows))


def verify_export(path: str | Path, policy: Policy, whole: bool = False, complete: bool = False) -> Report:
    """Whether the rows in the tarball are in the tree that its checkpoint signs, and whether they are all of it.

    Args:
        whole: refuse one that lacks a leaf of the tree.
        complete: refuse one that does not show that it holds every leaf that it was asked for.
    """
    report = Report(what=f"export {Path(path).name}")
    with report.deciding():
        members = _members(Path(path))
        name, content = next(members, ("", b""))
        if name != CHECKPOINT:
            raise Unusable("malformed", "an export begins with its checkpoint")
        copy = _Copy(policy.accept(content), policy)
        size = copy.head.checkpoint.size
        report.held("checkpoint", f"{copy.head.checkpoint.origin}, {size:,} leaves, signed")
        for name, content in members:
            copy.take(name, content)
        report.held("inclusion", f"{len(copy.rows):,} rows are in the log, byte for byte, each once and in its order")
        if copy.asked is not None:
            copy.check_complete()
            report.held("complete", f"they are all that answer {copy.asked.words}, of {size:,} leaves looked at")
            report.facts["asked"] = copy.asked.words
        gap = copy.first_gap()
        if gap is None:
            report.held("whole", f"they are all {size:,} leaves of the signed tree: nothing is left out")
        elif whole:
            raise Refuted("left-out", f"the signed tree has a leaf {gap} that is not here")
        elif complete and copy.asked is None:
            raise Refuted("not-shown", "it does not carry the tree's entries: ask for it with `complete`")
        report.facts |= {
            "origin": copy.head.checkpoint.origin,
            "rows": str(len(copy.rows)),
            "leaves": str(size),
        }
    return report


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
