"""A tree as files, the way a tile client mirrors it. One law: the root is computed from the leaves, never read.

Layout: C2SP tlog-tiles: `checkpoint`, `tile/0/<N>[.p/<W>]`, and `tile/entries/<N>[.p/<W>]` where present.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gpuaas.verify.encodings import HASH_BYTES
from gpuaas.verify.policy import Head, Policy
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.tree import leaf_hash, root_of

TILE_WIDTH: Final = 256
LEAVES_MAX: Final = 50_000_000
"""Largest tree that is recomputed in one go."""


def verify_mirror(folder: str | Path, policy: Policy) -> Report:
    """Whether the leaf tiles (and entries) in `folder` are the whole tree that its checkpoint signs."""
    report = Report(what=f"tree {Path(folder).name}")
    with report.deciding():
        head = policy.accept(_read(Path(folder) / "checkpoint"))
        report.held("checkpoint", f"{head.checkpoint.origin}, {head.checkpoint.size:,} leaves, signed")
        roots, entries = _tile_roots(Path(folder), head)
        # A tile is a whole subtree, so the roots of the tiles lead on to the tree's.
        if root_of(roots) != head.checkpoint.root:
            raise Refuted("wrong-root", "the leaves lead to another root than the checkpoint's")
        report.held("tree", f"{head.checkpoint.size:,} leaves lead to the signed root")
        if entries:
            report.held("entries", f"{entries:,} entries are those of their leaves")
        report.facts |= {"origin": head.checkpoint.origin, "size": str(head.checkpoint.size)}
    return report


def tile_path(index: int, width: int = TILE_WIDTH) -> str:
    """`<N>[.p/<W>]`: three digits to a path element, all but the last marked with `x`."""
    digits = str(index)
    groups = [digits[max(0, end - 3) : end].zfill(3) for end in range(len(digits), 0, -3)][::-1]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def entries_in(folder: Path, size: int) -> Iterator[bytes]:
    """The entries of a mirror's first `size` leaves, in order, as far as it has them. `verify_mirror` checks them."""
    for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        bundle, at = _entry_bundle(folder, index, width) or b"", 0
        for _ in range(width if bundle else 0):
            length = int.from_bytes(bundle[at : at + 2], "big")
            yield bundle[at + 2 : at + 2 + length]
            at += 2 + length


def _entry_bundle(folder: Path, index: int, width: int) -> bytes | None:
    base = folder / "tile" / "entries"
    found = (base / tile_path(index, each) for each in (width, TILE_WIDTH))
    file = next((each for each in found if each.is_file()), None)
    return None if file is None else file.read_bytes()


def _tile_roots(folder: Path, head: Head) -> tuple[list[bytes], int]:
    """The root of every leaf tile, in order, and how many entries were checked. One tile is held at a time."""
    size = head.checkpoint.size
    if size > LEAVES_MAX:
        raise Unusable("too-large", f"{size:,} leaves; at most {LEAVES_MAX:,} are recomputed")
    roots: list[bytes] = []
    entries = 0
    for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        tile = _tile(folder / "tile" / "0", index, width)
        hashes = [tile[i : i + HASH_BYTES] for i in range(0, width * HASH_BYTES, HASH_BYTES)]
        entries += _check_entries(folder, index, hashes)
        roots.append(root_of(hashes))
    return roots, entries


def _tile(folder: Path, index: int, width: int) -> bytes:
    """A tile's first `width` hashes; a full tile may stand in for a partial one."""
    partial, full = folder / tile_path(index, width), folder / tile_path(index)
    tile = _read(partial if partial.is_file() else full)
    if len(tile) not in (width * HASH_BYTES, TILE_WIDTH * HASH_BYTES):
        raise Refuted("wrong-tile", f"tile {tile_path(index, width)} does not hold {width} hashes")
    return tile[: width * HASH_BYTES]


def _check_entries(folder: Path, index: int, hashes: list[bytes]) -> int:
    """The entries of one tile, where the mirror has them: each hashes to its leaf. How many were checked."""
    bundle, at = _entry_bundle(folder, index, len(hashes)), 0
    if bundle is None:
        return 0
    for number, expected in enumerate(hashes):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if len(entry) != length or leaf_hash(entry) != expected:
            raise Refuted("wrong-entry", f"entry {index * TILE_WIDTH + number} is not that of its leaf")
        at += 2 + length
    return len(hashes)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as broken:
        raise Unusable("unreadable", f"{file.name} cannot be read: {broken.strerror}") from broken
