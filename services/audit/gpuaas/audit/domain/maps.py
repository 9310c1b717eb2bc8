"""One root over all trees' checkpoints. One law: who has no tenant's secret learns nothing of that tenant from it.

Each tree has a secret. Its line in the map is `HMAC(secret, tree) || HMAC(secret, checkpoint)`; the sorted lines are
the leaves of an RFC 6962 tree. A tenant who is given its own secret finds its line and no other, and holds the epoch's
root against what others were shown.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from gpuaas.audit.domain.merkle import Frontier, grown, inclusion_spans, leaf_hash, node_hash


@dataclass(frozen=True, slots=True)
class CheckpointMap:
    """The map of one epoch: its lines, sorted."""

    lines: tuple[bytes, ...]

    def root(self) -> bytes:
        """The RFC 6962 root over the lines."""
        return grown(Frontier(), map(leaf_hash, self.lines)).frontier.root()

    def proof(self, line: bytes) -> tuple[int, list[bytes]]:
        """Index and inclusion proof of a line."""
        index = self.lines.index(line)
        hashes = [leaf_hash(each) for each in self.lines]
        return index, [_root(hashes[start:end]) for start, end in inclusion_spans(index, len(hashes))]


def secret_of(master: bytes, tree: str) -> bytes:
    """The tree's own secret, out of the installation's."""
    return hmac.digest(master, f"gpuaas-map/v1\n{tree}".encode(), "sha256")


def map_line(secret: bytes, tree: str, checkpoint: str) -> bytes:
    """64 bytes: where a tree's line stands, and what it commits to."""
    return hmac.digest(secret, tree.encode(), "sha256") + hmac.digest(secret, checkpoint.encode(), "sha256")


def checkpoint_map(master: bytes, checkpoints: Mapping[str, str]) -> CheckpointMap:
    """The map over the newest checkpoint of every tree."""
    lines = (map_line(secret_of(master, tree), tree, note) for tree, note in checkpoints.items())
    return CheckpointMap(tuple(sorted(lines)))


def _root(hashes: list[bytes]) -> bytes:
    level = hashes
    while len(level) > 1:
        paired = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0] if level else sha256(b"").digest()
