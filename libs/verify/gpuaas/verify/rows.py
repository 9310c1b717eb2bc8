"""Trail rows and pairs of checkpoints. One law: a row is judged by its own proof file, and that by the policy.

A row is what the audit service answers with `proof=1`: `{"entry": {…}, "payload": "<base64>", "proof": "<file>"}`,
alone or as the `items` of an answer; other members are for people and are not judged.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpuaas.verify.encodings import hash_bytes
from gpuaas.verify.fields import Fields
from gpuaas.verify.leaves import Leaf, check_bytes, read_leaf
from gpuaas.verify.policy import Head, Policy
from gpuaas.verify.proofs import read_proof
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.strict_json import canonical, parse_object
from gpuaas.verify.tree import check_consistency

ROWS_BYTES_MAX = 512 * 1024 * 1024


def verify_rows(path: str | Path, policy: Policy) -> Report:
    """Whether each trail row in the file at `path` is in the tree it belongs to."""
    report = Report(what=f"trail rows {Path(path).name}")
    with report.deciding():
        document = parse_object(_read(path), "the document")
        rows: list[Any] = Fields(document, "the document").items("items") if "items" in document else [document]
        if not rows:
            raise Unusable("malformed", "no rows to verify")
        for number, row in enumerate(rows, 1):
            verify_row(Fields(row, f"row {number}"), policy)
        report.held("inclusion", f"{len(rows):,} rows are in the log, byte for byte")
    return report


def verify_growth(old: str | Path, new: str | Path, proof: str | Path, policy: Policy) -> Report:
    """Whether the checkpoint in `new` continues the one in `old`.

    Args:
        proof: a file of base64 hashes, one a line: the RFC 6962 consistency proof.
    """
    report = Report(what=f"growth from {Path(old).name} to {Path(new).name}")
    with report.deciding():
        # The older one may well be older than what the reader holds.
        first, second = replace(policy, held=()).accept(_read(old)), policy.accept(_read(new))
        if first.checkpoint.origin != second.checkpoint.origin:
            raise Refuted("wrong-tree", f"{first.checkpoint.origin} and {second.checkpoint.origin} are different trees")
        lines = _text(proof).split("\n")
        path = [hash_bytes(line, "a proof hash") for line in lines if line]
        before, after = first.checkpoint, second.checkpoint
        check_consistency(before.size, before.root, after.size, after.root, path)
        report.held("consistency", f"{after.origin} grew from {before.size:,} to {after.size:,} leaves")
    return report


def verify_row(row: Fields, policy: Policy) -> tuple[int, Head]:
    """One row is in the tree it belongs to: its leaf index, and the head it was judged under.

    Raises:
        Refuted: it is not.
    """
    proof = read_proof(row.text("proof"))
    leaf = _leaf(row)
    check_bytes(leaf)
    head = proof.verify(canonical(dict(leaf.entry.raw)), policy)
    if head.tree != leaf.tree:
        raise Refuted("wrong-tree", f"{row.what}: {leaf.subject} does not belong in the tree {head.tree}")
    return proof.index, head


def _leaf(row: Fields) -> Leaf:
    judged = {name: row.raw.get(name) for name in ("entry", "payload")}
    return read_leaf({**judged, "index": "0", "proof": []}, row.what)


def _read(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(ROWS_BYTES_MAX + 1)
    except OSError as broken:
        raise Unusable("unreadable", f"{Path(path).name} cannot be read: {broken.strerror}") from broken
    if len(content) > ROWS_BYTES_MAX:
        raise Unusable("too-large", f"{Path(path).name} holds more than {ROWS_BYTES_MAX:,} bytes")
    return content


def _text(path: str | Path) -> str:
    try:
        return _read(path).decode("ascii")
    except UnicodeDecodeError:
        raise Unusable("unreadable", f"{Path(path).name} is not plain text") from None
