"""C2SP proof files: one leaf, one checkpoint, the path between. One law: self-contained, and trusted only by policy.

Format: https://c2sp.org/tlog-proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.verify.encodings import base64_bytes, hash_bytes, uint64
from gpuaas.verify.policy import Head, Policy
from gpuaas.verify.refusals import Unusable
from gpuaas.verify.tree import check_inclusion, leaf_hash

HEADER: Final = "c2sp.org/tlog-proof@v1"
PATH_MAX: Final = 63
"""Longest inclusion proof of a 64-bit tree."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A parsed proof file; `checkpoint` is the signed note, verbatim."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def verify(self, entry: bytes, policy: Policy) -> Head:
        """`entry` is in the tree that the checkpoint names, and the policy trusts it.

        Raises:
            Refuted: it is not, or the checkpoint is not trusted.
        """
        head = policy.accept(self.checkpoint)
        check_inclusion(leaf_hash(entry), self.index, head.checkpoint.size, self.path, head.checkpoint.root)
        return head


def read_proof(text: str) -> Proof:
    """Parse a proof file.

    Raises:
        Unusable: not one.
    """
    head, separator, checkpoint = text.partition("\n\n")
    header, *lines = head.split("\n")
    if header != HEADER or not separator or not lines:
        raise Unusable("bad-proof", f"a proof file begins with {HEADER!r} and an index line")
    extra = None
    if lines[0].startswith("extra "):
        extra = base64_bytes(lines.pop(0).removeprefix("extra "), "the extra data")
    if not lines or not lines[0].startswith("index "):
        raise Unusable("bad-proof", "a proof file names the leaf's index")
    index = uint64(lines.pop(0).removeprefix("index "), "the leaf index")
    if len(lines) > PATH_MAX:
        raise Unusable("bad-proof", f"a path of {len(lines)} hashes; no tree is higher than {PATH_MAX}")
    return Proof(index, tuple(hash_bytes(line, "a proof hash") for line in lines), checkpoint, extra)
