"""RFC 6962 proofs against the published vectors and against a naive tree."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.refusals import Refuted
from gpuaas.verify.tree import (
    check_consistency,
    check_inclusion,
    check_subtree_consistency,
    check_subtree_inclusion,
    leaf_hash,
    node_hash,
    root_of,
)
from hypothesis import given
from hypothesis import strategies as st

VECTORS = Path(__file__).parent / "vectors"


def cases(name: str, count: int = 98) -> list[Any]:
    found = json.loads((VECTORS / name).read_text())
    assert len(found) == count
    return [pytest.param(case, id=case["case"]) for case in found]


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@pytest.mark.parametrize("case", cases("rfc6962_inclusion.json"))
def test_inclusion_is_judged_as_published(case: dict[str, Any]) -> None:
    proof = [raw(step) for step in case["proof"] or []]
    arguments = (raw(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, raw(case["root"]))
    if case["wantErr"]:
        with pytest.raises(Refuted) as refusal:
            check_inclusion(*arguments)
        assert refusal.value.reason == "not-included"
    else:
        check_inclusion(*arguments)


@pytest.mark.parametrize("case", cases("rfc6962_consistency.json"))
def test_consistency_is_judged_as_published(case: dict[str, Any]) -> None:
    proof = [raw(step) for step in case["proof"] or []]
    arguments = (case["size1"], raw(case["root1"]), case["size2"], raw(case["root2"]), proof)
    if case["wantErr"]:
        with pytest.raises(Refuted):
            check_consistency(*arguments)
    else:
        check_consistency(*arguments)


def judged(check: Any, arguments: tuple[Any, ...], refused: bool) -> None:
    if refused:
        with pytest.raises(Refuted):
            check(*arguments)
    else:
        check(*arguments)


@pytest.mark.parametrize("case", cases("rfc6962_subtree_inclusion.json", 204))
def test_inclusion_in_a_subtree_is_judged_as_published(case: dict[str, Any]) -> None:
    proof = [raw(step) for step in case["proof"] or []]
    place = case["leafIdx"], case["start"], case["end"]
    judged(check_subtree_inclusion, (raw(case["leafHash"]), *place, proof, raw(case["root"])), case["wantErr"])


@pytest.mark.parametrize("case", cases("rfc6962_subtree_consistency.json", 118))
def test_consistency_of_a_subtree_is_judged_as_published(case: dict[str, Any]) -> None:
    proof = [raw(step) for step in case["proof"] or []]
    arguments = (case["start"], case["end"], raw(case["root1"]), case["size"], raw(case["root2"]), proof)
    judged(check_subtree_consistency, arguments, case["wantErr"])


def subtrees(size: int) -> list[tuple[int, int]]:
    """In the published order; an empty one is a subtree there."""
    whole = [(start, end) for end in range(size + 1) for start in range(end + 1)]
    return [(a, b) for a, b in whole if a in (0, b) or a % (1 << (b - a - 1).bit_length()) == 0]


def test_all_subtrees_of_130_leaves_have_their_published_digests(vectors: Any, naive_tree: Any) -> None:
    tree = naive_tree([bytes([number]) for number in range(130)])
    roots = {span: root_of(tree.leaves[span[0] : span[1]]) for span in subtrees(130)}
    published = vectors("rfc6962_subtree_accumulated.json")["sha256"]
    lines = "".join(f"[{start}, {end}) {root.hex()}\n" for (start, end), root in roots.items())
    assert hashlib.sha256(lines.encode()).hexdigest() == published["subtree hashes; line '[start, end) HASH'"]
    told = hashlib.sha256()
    for (start, end), root in roots.items():
        for index in range(start, end):
            proof = tree.inclusion(index - start, start, end)
            check_subtree_inclusion(tree.leaves[index], index, start, end, proof, root)
            told.update(" ".join([f"{index} [{start}, {end})", *(step.hex() for step in proof)]).encode() + b"\n")
    assert told.hexdigest() == published["subtree inclusion; line 'index [start, end) H H ...'"]


def test_the_reference_tree_has_its_published_roots_and_nodes(vectors: Any) -> None:
    reference = vectors("rfc6962_reference_tree.json")
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in reference["leaf_inputs_hex"]]
    assert [root_of(leaves[:size]).hex() for size in range(9)] == reference["roots_by_size_hex"]
    level = leaves
    for name in ("level0", "level1", "level2", "level3"):
        assert [node.hex() for node in level] == reference["node_hashes"][name]
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]


@given(size=st.integers(1, 70), data=st.data())
def test_every_honest_proof_holds_and_every_changed_one_fails(size: int, data: st.DataObject, naive_tree: Any) -> None:
    entries = [bytes([number]) for number in range(size)]
    tree = naive_tree(entries)
    index = data.draw(st.integers(0, size - 1))
    leaf, proof, root = tree.leaves[index], tree.inclusion(index), tree.root()
    assert root_of(tree.leaves) == root
    check_inclusion(leaf, index, size, proof, root)
    changed = _changed(proof, data)
    with pytest.raises(Refuted):
        check_inclusion(leaf, index, size, changed, root)
    other = data.draw(st.integers(0, size).filter(lambda at: at != index))
    with pytest.raises(Refuted):
        check_inclusion(leaf, other, size, proof, root)


@given(size=st.integers(2, 70), data=st.data())
def test_every_growth_is_provable_and_no_other(size: int, data: st.DataObject, naive_tree: Any) -> None:
    tree = naive_tree([bytes([number]) for number in range(size)])
    old = data.draw(st.integers(1, size - 1))
    proof = tree.consistency(old, size)
    roots = tree.root(0, old), tree.root()
    check_consistency(old, roots[0], size, roots[1], proof)
    with pytest.raises(Refuted):
        check_consistency(old, roots[0], size, roots[1], _changed(proof, data))
    rewritten = naive_tree([b"x", *(bytes([number]) for number in range(1, size))])
    with pytest.raises(Refuted):
        check_consistency(old, roots[0], size, rewritten.root(), rewritten.consistency(old, size))


def _changed(proof: list[bytes], data: st.DataObject) -> list[bytes]:
    """The proof with one bit flipped, one hash dropped, or one added."""
    how = data.draw(st.sampled_from(["flip", "drop", "add"] if proof else ["add"]))
    at = data.draw(st.integers(0, max(len(proof) - 1, 0)))
    if how == "add":
        return [*proof[:at], bytes(32), *proof[at:]]
    if how == "drop":
        return [*proof[:at], *proof[at + 1 :]]
    bit = data.draw(st.integers(0, 255))
    flipped = int.from_bytes(proof[at], "big") ^ (1 << bit)
    return [*proof[:at], flipped.to_bytes(32, "big"), *proof[at + 1 :]]
