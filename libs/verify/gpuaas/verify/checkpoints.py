"""C2SP checkpoints: the signed head of a tree. One law: a checkpoint that promises nothing is not accepted.

Format: https://c2sp.org/tlog-checkpoint. An empty tree has no leaf to prove anything about, so size 0 is refused here,
though the format allows it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpuaas.verify.encodings import HASH_BYTES, base64_bytes, uint64
from gpuaas.verify.refusals import Refuted, Unusable


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The body of a checkpoint.

    Attributes:
        origin: the tree's name.
        size: leaves in the tree.
        root: its root hash.
        extensions: further lines, opaque.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def read_checkpoint(text: str) -> Checkpoint:
    """Parse a checkpoint's text (a note's text, ending in a newline). It does not judge the size or the hash's length.

    Raises:
        Unusable: not a checkpoint.
    """
    if not text.endswith("\n"):
        raise Unusable("bad-checkpoint", "a checkpoint ends in a newline")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise Unusable("bad-checkpoint", "a checkpoint is three or more lines, none of them empty")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin=origin,
        size=uint64(size, "the tree size"),
        root=base64_bytes(root, "the root hash"),
        extensions=tuple(extensions),
    )


def check_head(checkpoint: Checkpoint) -> None:
    """The checkpoint says something that proofs can be held against.

    Raises:
        Refuted: of an empty tree, or its root is no SHA-256 value.
    """
    if checkpoint.size == 0:
        raise Refuted("empty-tree", f"the checkpoint of {checkpoint.origin} is of an empty tree: it proves nothing")
    if len(checkpoint.root) != HASH_BYTES:
        raise Refuted("bad-checkpoint", f"the root hash of {checkpoint.origin} is not {HASH_BYTES} bytes long")
