"""C2SP tlog-tiles: a tree kept as rows of 256 hashes. One law: a tile only grows to the right and is final when full.

Format: https://c2sp.org/tlog-tiles, height 8. Tile `(level, index)` holds the nodes of tree level `8 * level` from
`index * 256` on. Reading is planned first (`tiles_under`), so that whoever holds the tiles can fetch them at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gpuaas.audit.domain.merkle import (
    HASH_BYTES,
    TILE_HEIGHT,
    Frontier,
    Growth,
    Node,
    Span,
    consistency_spans,
    hash_of,
    inclusion_spans,
    node_hash,
    nodes_of,
)

Tile: TypeAlias = tuple[int, int]
TILE_WIDTH: Final = 1 << TILE_HEIGHT
LEVEL_MAX: Final = 63

_PATH = re.compile(r"(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)
_INDEX_DIGITS_MAX: Final = 18


@dataclass(frozen=True, slots=True)
class TilePath:
    """A parsed `<L>/<N>[.p/<W>]`; `level` None means an entry bundle."""

    level: int | None
    index: int
    width: int


@dataclass(frozen=True, slots=True)
class TileRow:
    """Hashes to append to one tile, which holds `start` hashes already."""

    level: int
    index: int
    start: int
    hashes: bytes


def tile_rows(before: Frontier, growth: Growth) -> Iterator[TileRow]:
    """What to append to which tile, cut at the tiles' edges."""
    for level, hashes in sorted(growth.rows.items()):
        at = before.size >> (TILE_HEIGHT * level)
        taken = 0
        while taken < len(hashes):
            start = (at + taken) % TILE_WIDTH
            part = hashes[taken : taken + TILE_WIDTH - start]
            yield TileRow(level, (at + taken) // TILE_WIDTH, start, b"".join(part))
            taken += len(part)


def width_at(tile: Tile, size: int) -> int:
    """How many hashes the tile holds in a tree of `size` leaves; 0 when there is none."""
    level, index = tile
    nodes = size >> (TILE_HEIGHT * level)
    return max(0, min(TILE_WIDTH, nodes - index * TILE_WIDTH))


def tiles_under(spans: Iterable[Span]) -> set[Tile]:
    """The tiles that the roots of these spans are computed from."""
    return {_home(node)[0] for span in spans for node in nodes_of(span)}


def tile_path(tile: Tile, width: int = TILE_WIDTH) -> str:
    """`tile/<L>/<N>[.p/<W>]`."""
    level, index = tile
    digits = str(index)
    groups = [digits[max(0, end - 3) : end].zfill(3) for end in range(len(digits), 0, -3)][::-1]
    path = "/".join(["tile", str(level), *(f"x{group}" for group in groups[:-1]), groups[-1]])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def read_tile_path(path: str) -> TilePath | None:
    """Parse what follows `tile/`; None for any spelling but the one the format knows."""
    parts = _PATH.fullmatch(path)
    if parts is None:
        return None
    kind, number, partial = parts.groups()
    digits = number.replace("x", "").replace("/", "")
    level = None if kind == "entries" else int(kind)
    width = TILE_WIDTH if partial is None else int(partial)
    if len(digits) > _INDEX_DIGITS_MAX or (level or 0) > LEVEL_MAX or (partial is not None and width >= TILE_WIDTH):
        return None
    if number.startswith("x000"):
        return None
    return TilePath(level, int(digits), width)


@dataclass(slots=True)
class Tiles:
    """Fetched tiles, and what can be computed from them. Nodes inside a tile are computed once.

    Args:
        stored: hashes of each tile in a row; a wider tile serves any smaller tree, since tiles only grow.
    """

    stored: Mapping[Tile, bytes]
    _nodes: dict[Node, bytes] = field(default_factory=dict)

    def root(self, size: int) -> bytes:
        """The root of the tree of `size` (≥ 1) leaves."""
        return hash_of((0, size), self.node)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion proof of leaf `index` in the tree of `size` leaves."""
        return [hash_of(span, self.node) for span in inclusion_spans(index, size)]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The consistency proof from the tree of `old` leaves to the tree of `new`."""
        return [hash_of(span, self.node) for span in consistency_spans(old, new)]

    def node(self, node: Node) -> bytes:
        """The hash of a perfect subtree.

        Raises:
            LookupError: its tile was not fetched or is too narrow.
        """
        if (known := self._nodes.get(node)) is not None:
            return known
        level, index = node
        if level % TILE_HEIGHT == 0:
            value = self._stored(node)
        else:
            value = node_hash(self.node((level - 1, 2 * index)), self.node((level - 1, 2 * index + 1)))
        self._nodes[node] = value
        return value

    def _stored(self, node: Node) -> bytes:
        tile, offset = _home(node)
        value = self.stored[tile][offset * HASH_BYTES : (offset + 1) * HASH_BYTES]
        if len(value) != HASH_BYTES:
            raise LookupError(f"{tile_path(tile)} holds fewer than {offset + 1} hashes")
        return value


def _home(node: Node) -> tuple[Tile, int]:
    """The tile that a node is computed from, and the offset of its first hash there."""
    level, index = node
    first = index << (level % TILE_HEIGHT)
    return (level // TILE_HEIGHT, first // TILE_WIDTH), first % TILE_WIDTH
