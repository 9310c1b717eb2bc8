"""RFC 6962 trees that grow. One law: appending needs O(log n) memory, and how leaves are batched changes nothing.

All hashes are SHA-256, 32 bytes. A *node* `(level, index)` is the root of the perfect subtree over the leaves
`[index * 2**level, (index + 1) * 2**level)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

Node: TypeAlias = tuple[int, int]
Span: TypeAlias = tuple[int, int]
"""Leaves `[start, end)`, as RFC 6962 cuts a tree."""

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: all that appending needs.

    Attributes:
        size: leaves so far.
        peaks: roots of the perfect subtrees that make up the tree, largest first; one per set bit of `size`.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """The tree's root; SHA-256 of nothing for the empty tree."""
        if not self.peaks:
            return EMPTY_ROOT
        computed = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            computed = node_hash(peak, computed)
        return computed

    def encode(self) -> bytes:
        """The peaks in a row."""
        return b"".join(self.peaks)

    @classmethod
    def decode(cls, size: int, peaks: bytes) -> Frontier:
        """Out of `size` and `encode()`."""
        return cls(size, tuple(peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES)))


@dataclass(frozen=True, slots=True)
class Growth:
    """What appending brought.

    Attributes:
        rows: by tile level, the node hashes to append there, in order; level 0 are the leaves themselves.
    """

    frontier: Frontier
    rows: Mapping[int, Sequence[bytes]]


def grown(frontier: Frontier, leaf_hashes: Iterable[bytes]) -> Growth:
    """The tree after these leaves. About one node hash per leaf."""
    size, peaks = frontier.size, list(frontier.peaks)
    rows: defaultdict[int, list[bytes]] = defaultdict(list)
    leaves = rows[0]
    for node in leaf_hashes:
        leaves.append(node)
        edge, level = size, 0
        while edge & 1:
            node = sha256(b"\x01" + peaks.pop() + node).digest()
            edge >>= 1
            level += 1
            if level % TILE_HEIGHT == 0:
                rows[level // TILE_HEIGHT].append(node)
        peaks.append(node)
        size += 1
    return Growth(Frontier(size, tuple(peaks)), rows)


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The spans whose roots are the inclusion proof of leaf `index`, from the leaf's sibling up (RFC 6962 §2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    spans: list[Span] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _largest_power_below(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """The spans whose roots are the consistency proof from `old` to `new` leaves (RFC 6962 §2.1.2)."""
    if not 0 < old <= new:
        raise ValueError(f"no tree of {old} leaves grows into one of {new}")
    spans: list[Span] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _largest_power_below(end - start)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start, whole = middle, False
    return ([] if whole else [(start, end)]) + spans[::-1]


def nodes_of(span: Span) -> list[Node]:
    """The perfect subtrees that make up a span, left to right, largest first."""
    start, end = span
    nodes: list[Node] = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def hash_of(span: Span, node: Callable[[Node], bytes]) -> bytes:
    """The root over a span, given its nodes' hashes."""
    hashes = [node(each) for each in nodes_of(span)]
    computed = hashes[-1]
    for left in reversed(hashes[:-1]):
        computed = node_hash(left, computed)
    return computed


def _largest_power_below(count: int) -> int:
    """The largest power of two smaller than `count` (≥ 2)."""
    return 1 << ((count - 1).bit_length() - 1)
