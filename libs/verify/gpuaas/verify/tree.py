"""RFC 6962 Merkle trees: hashes and proofs. One law: a proof is exactly as long as the tree's shape demands.

Algorithms: RFC 9162 §2.1.3.2 (inclusion) and §2.1.4.2 (consistency), draft-ietf-plants-merkle-tree-certs §4 (subtrees).
All hashes are SHA-256, 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gpuaas.verify.encodings import HASH_BYTES
from gpuaas.verify.refusals import Refuted


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root of a tree with these leaves; SHA-256 of nothing for none. Linear time, for whole-tree checks."""
    if not leaf_hashes:
        return hashlib.sha256(b"").digest()
    level = list(leaf_hashes)
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """`leaf` (a leaf hash) stands at `index` in the tree of `size` leaves with this `root`.

    Raises:
        Refuted: it does not, or the proof has another shape than that tree.
    """
    if not 0 <= index < size:
        raise Refuted("not-included", f"a tree of {size} leaves has no leaf {index}")
    _check_lengths([leaf, root, *proof], "not-included")
    node, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise Refuted("not-included", f"the proof for leaf {index} is longer than a tree of {size} leaves is high")
        if node % 2 or node == last:
            computed = node_hash(sibling, computed)
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise Refuted("not-included", f"the proof for leaf {index} is shorter than a tree of {size} leaves is high")
    if computed != root:
        raise Refuted("not-included", f"the proof for leaf {index} leads to another root than the checkpoint's")


def check_consistency(size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> None:
    """The tree (`size2`, `root2`) begins with exactly the leaves of (`size1`, `root1`).

    Raises:
        Refuted: it does not. An empty first tree is refused: everything is consistent with nothing.
    """
    if size1 == 0:
        raise Refuted("empty-tree", "a tree of size 0 proves nothing about what came after it")
    if size1 > size2:
        raise Refuted("shrunk", f"a tree cannot shrink from {size1} to {size2} leaves")
    if size1 == size2:
        if proof or root1 != root2:
            raise Refuted("inconsistent", f"two different trees of {size1} leaves")
        return
    if not proof:
        raise Refuted("inconsistent", f"no proof from {size1} to {size2} leaves")
    _check_lengths([root1, root2, *proof], "inconsistent")
    _walk_consistency(size1, root1, size2, root2, proof)


def _walk_consistency(size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> None:
    path = list(proof)
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    node, last = size1 - 1, size2 - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Refuted("inconsistent", f"the proof is longer than a tree of {size2} leaves is high")
        if node % 2 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or old != root1 or new != root2:
        raise Refuted("inconsistent", f"the tree of {size2} leaves does not begin with the tree of {size1} leaves")


def check_subtree_inclusion(leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes) -> None:
    """`leaf` stands at `index` in the subtree of the leaves [start, end) that has this `root`.

    Raises:
        Refuted: it does not, or there is no such subtree.
    """
    _check_subtree(start, end, "not-included")
    if not start <= index < end:
        raise Refuted("not-included", f"the subtree [{start}, {end}) has no leaf {index}")
    check_inclusion(leaf, index - start, end - start, proof, root)


def check_subtree_consistency(
    start: int, end: int, root: bytes, size: int, whole: bytes, proof: Sequence[bytes]
) -> None:
    """The tree (`size`, root `whole`) holds at [start, end) exactly the subtree with this `root`.

    Unlike `check_consistency` it takes an empty subtree, as the draft does: it says nothing, and every tree holds it.

    Raises:
        Refuted: it does not, or there is no such subtree.
    """
    _check_subtree(start, end, "inconsistent")
    if end > size:
        raise Refuted("inconsistent", f"a tree of {size} leaves has no subtree [{start}, {end})")
    if start == end:
        if proof or root != root_of([]):
            raise Refuted("inconsistent", "an empty subtree has one root and no proof")
        return
    _check_lengths(proof, "inconsistent")
    first, node, last = start, end - 1, size - 1
    while first != node and (node == last or node % 2):
        first, node, last = first >> 1, node >> 1, last >> 1
    path = list(proof)
    if first == node:
        path.insert(0, root)
    if not path:
        raise Refuted("inconsistent", f"no proof from [{start}, {end}) to {size} leaves")
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Refuted("inconsistent", f"the proof is longer than a tree of {size} leaves is high")
        if node % 2 or node == last:
            old, new = (node_hash(sibling, old) if first < node else old), node_hash(sibling, new)
            while node % 2 == 0 and node != 0:
                first, node, last = first >> 1, node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        first, node, last = first >> 1, node >> 1, last >> 1
    if last != 0 or old != root or new != whole:
        raise Refuted("inconsistent", f"the tree of {size} leaves does not hold that subtree at [{start}, {end})")


def _check_subtree(start: int, end: int, reason: str) -> None:
    """A subtree begins at a multiple of the smallest power of two that is not smaller than it."""
    if not 0 <= start <= end or (start < end and start % (1 << (end - start - 1).bit_length())):
        raise Refuted(reason, f"[{start}, {end}) is no subtree of any tree")


def _check_lengths(hashes: Sequence[bytes], reason: str) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise Refuted(reason, f"every hash in a proof is {HASH_BYTES} bytes long")
