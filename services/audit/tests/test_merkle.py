"""The growing tree and its tiles: the published vectors, and the verifier that shares no code with it."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from gpuaas.audit.domain.merkle import EMPTY_ROOT, Frontier, consistency_spans, grown, inclusion_spans, leaf_hash
from gpuaas.audit.domain.tiles import (
    TILE_WIDTH,
    Tile,
    Tiles,
    read_tile_path,
    tile_path,
    tile_rows,
    tiles_under,
    width_at,
)
from gpuaas.verify.tree import check_consistency, check_inclusion, root_of
from hypothesis import given, settings
from hypothesis import strategies as st

VECTORS = Path(__file__).parent / "vectors"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


class Kept:
    """A tree with its tiles, kept as the service keeps them."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.tiles: defaultdict[Tile, bytes] = defaultdict(bytes)

    def append(self, leaves: list[bytes]) -> None:
        growth = grown(self.frontier, leaves)
        for row in tile_rows(self.frontier, growth):
            assert len(self.tiles[row.level, row.index]) == 32 * row.start
            self.tiles[row.level, row.index] += row.hashes
        self.frontier = growth.frontier

    def reader(self, spans: list[tuple[int, int]]) -> Tiles:
        """Only the tiles that were planned for."""
        return Tiles({tile: self.tiles[tile] for tile in tiles_under(spans)})


def tree_of(count: int, cuts: list[int] | None = None) -> tuple[Kept, list[bytes]]:
    leaves = [leaf_hash(str(number).encode()) for number in range(count)]
    kept = Kept()
    at = 0
    for cut in [*(cuts or []), count]:
        kept.append(leaves[at:cut])
        at = max(at, cut)
    return kept, leaves


def test_the_reference_tree_has_its_published_roots() -> None:
    reference = vectors("rfc6962_reference_tree.json")
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in reference["leaf_inputs_hex"]]
    roots = [grown(Frontier(), leaves[:size]).frontier.root().hex() for size in range(9)]
    assert roots == reference["roots_by_size_hex"]
    assert Frontier().root() == EMPTY_ROOT


def test_the_mirrored_tiles_are_what_we_would_have_written() -> None:
    mirror = vectors("tiles_mirror_300.json")
    raw = {name.removesuffix("_b64"): base64.b64decode(text) for name, text in mirror.items() if name.endswith("_b64")}
    hashes = raw["tile/0/000"] + raw["tile/0/001.p/44"]
    kept = Kept()
    kept.append([hashes[at : at + 32] for at in range(0, len(hashes), 32)])
    ours = {tile_path(tile, width_at(tile, 300)): content for tile, content in kept.tiles.items()}
    assert ours == raw
    assert base64.b64encode(kept.frontier.root()).decode() == mirror["checkpoint"].split("\n")[2]
    assert kept.reader([(0, 300)]).root(300) == kept.frontier.root()


@given(count=st.integers(1, 700), cuts=st.lists(st.integers(0, 700), max_size=5))
@settings(max_examples=60)
def test_batches_change_nothing(count: int, cuts: list[int]) -> None:
    kept, leaves = tree_of(count, sorted(min(cut, count) for cut in cuts))
    whole, _ = tree_of(count)
    assert (kept.frontier, dict(kept.tiles)) == (whole.frontier, dict(whole.tiles))
    assert kept.frontier.root() == root_of(leaves)
    assert len(kept.frontier.peaks) == count.bit_count()
    assert Frontier.decode(count, kept.frontier.encode()) == kept.frontier


@given(count=st.integers(1, 1_500), data=st.data())
@settings(max_examples=80)
def test_every_proof_from_tiles_convinces_the_verifier(count: int, data: st.DataObject) -> None:
    kept, leaves = tree_of(count)
    size = data.draw(st.integers(1, count))
    index = data.draw(st.integers(0, size - 1))
    proof = kept.reader(inclusion_spans(index, size)).inclusion(index, size)
    check_inclusion(leaves[index], index, size, proof, root_of(leaves[:size]))
    old = data.draw(st.integers(1, size))
    grew = kept.reader(consistency_spans(old, size)).consistency(old, size)
    check_consistency(old, root_of(leaves[:old]), size, root_of(leaves[:size]), grew)
    assert kept.reader([(0, size)]).root(size) == root_of(leaves[:size])


def test_a_tree_of_three_levels_of_tiles_is_whole() -> None:
    kept, leaves = tree_of(70_000, [1, 255, 256, 257, 65_535, 65_537])
    widths = {tile_path(tile, width_at(tile, 70_000)) for tile in kept.tiles}
    assert {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} <= widths
    assert all(len(content) == 32 * width_at(tile, 70_000) for tile, content in kept.tiles.items())
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        proof = kept.reader(inclusion_spans(index, 70_000)).inclusion(index, 70_000)
        check_inclusion(leaves[index], index, 70_000, proof, kept.frontier.root())


def test_a_missing_or_narrow_tile_is_told() -> None:
    kept, _ = tree_of(300)
    with pytest.raises(LookupError):
        Tiles({}).root(300)
    with pytest.raises(LookupError):
        Tiles({**kept.tiles, (0, 1): b""}).root(300)


@pytest.mark.parametrize("index", [0, 7, 999, 1_000, 1_234_067, 999_999_999])
def test_a_path_is_read_as_it_is_written(index: int) -> None:
    for level, width in ((0, TILE_WIDTH), (3, 17)):
        read = read_tile_path(tile_path((level, index), width).removeprefix("tile/"))
        assert read is not None
        assert (read.level, read.index, read.width) == (level, index, width)
    assert tile_path((0, 1_234_067)) == "tile/0/x001/x234/067"


ODD_PATHS = [
    "0",
    "0/1",
    "0/0001",
    "00/001",
    "0/x000/001",
    "0/001.p/0",
    "0/001.p/256",
    "0/001.p/01",
    "64/000",
    "-1/000",
    "0/001/",
    "0/x001",
    "0/../000",
    "entries",
    "entries/001.p/",
    "0/001.p/44/",
    "a/000",
    "0/x001/x001/x001/x001/x001/x001/x001/001",
]


@pytest.mark.parametrize("path", ["", *ODD_PATHS])
def test_any_other_path_is_none(path: str) -> None:
    assert read_tile_path(path) is None
