"""Where a share of a GPU goes. One law: exactly FGD's choice, without looking at every machine.

FGD (Weng et al., "Beware of Fragmentation", USENIX ATC '23) counts, for each class m of typical demand, what a machine
has free and m cannot use: everything if m does not fit, else the free parts of GPUs that are smaller than m wants. With
f free GPUs and free parts r₁…rₖ that sum falls apart into terms of one variable each:

    F = W(f) + Σ φ(rᵢ)      W(f) = 1000 f × #(m wants more than f whole GPUs)
                            φ(r) = r × #(m wants whole GPUs, or a share greater than r)

so a share s put into a part r costs φ(r − s) − φ(r), whatever else is on the machine, and a fresh GPU costs
W(f − 1) − W(f) + φ(1000 − s). The candidates are the different parts and the different f that occur, each with the set
of machines that have it. (For whole GPUs the parts cancel out: `placement.py` needs f alone.)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import Final, Literal

from gpuaas.allocations.domain.room import Bits, Room, lowest, members
from gpuaas.allocations.domain.shape import WHOLE_MILLI

SHARE_CLASSES_MAX: Final = 128
"""Different shares remembered as typical demand; the rarest is forgotten first."""
SHARE_DEMAND_WINDOW: Final = 4_096

Policy = Literal["least-fragments-v1", "best-fit-v1", "spread-v1", "random-v1"]
ShareDemand = tuple[tuple[int, int], ...]
"""Typical demand for shares: (share, replicas granted lately), by share."""


def with_share(demand: ShareDemand, share_milli: int, replicas: int) -> ShareDemand:
    """The demand after a grant; old habits fade."""
    counts = dict(demand)
    counts[share_milli] = counts.get(share_milli, 0) + replicas
    if sum(counts.values()) > SHARE_DEMAND_WINDOW:
        counts = {share: count // 2 for share, count in counts.items() if count > 1}
    while len(counts) > SHARE_CLASSES_MAX:
        del counts[min(counts, key=lambda share: (counts[share], share))]
    return tuple(sorted(counts.items()))


class Parts:
    """Free parts of GPUs among the open machines of one model: which machines have a part of which size."""

    __slots__ = ("_count", "nodes")

    def __init__(self) -> None:
        self.nodes: dict[int, Bits] = {}
        self._count: dict[tuple[int, int], int] = {}

    def copy(self) -> Parts:
        """The same, to be changed in thought."""
        twin = Parts()
        twin.nodes, twin._count = dict(self.nodes), dict(self._count)
        return twin

    def add(self, node: int, part: int) -> None:
        key = (part, node)
        self._count[key] = self._count.get(key, 0) + 1
        self.nodes[part] = self.nodes.get(part, 0) | 1 << node

    def remove(self, node: int, part: int) -> None:
        key = (part, node)
        left = self._count[key] = self._count[key] - 1
        if not left:
            del self._count[key]
            self.nodes[part] ^= 1 << node
            if not self.nodes[part]:
                del self.nodes[part]

    def replicas_among(self, allowed: Bits, share_milli: int) -> int:
        """How many shares of this size fit into the parts on `allowed`."""
        return sum(
            part // share_milli * self._count[part, node]
            for part, nodes in self.nodes.items()
            if part >= share_milli
            for node in members(nodes & allowed)
        )

    def with_at_least(self, share_milli: int) -> Bits:
        """The machines that have a part of this size or greater."""
        found = 0
        for part, nodes in self.nodes.items():
            if part >= share_milli:
                found |= nodes
        return found


class Fragments:
    """W and φ for one state of typical demand."""

    def __init__(self, whole: Sequence[int], shares: ShareDemand) -> None:
        self._whole = sum(whole)
        self._sizes = [share for share, _ in shares]
        self._behind = [*accumulate((count for _, count in shares), initial=0)]
        self._beyond: list[int] = []
        beyond = self._whole
        for f, count in enumerate(whole):
            beyond -= count
            self._beyond.append(f * beyond)

    def of_gpus(self, f: int) -> int:
        """W(f)."""
        return WHOLE_MILLI * self._beyond[f] if f < len(self._beyond) else 0

    def of_part(self, r: int) -> int:
        """φ(r)."""
        return r * (self._whole + self._behind[-1] - self._behind[bisect_right(self._sizes, r)])


class Choice:
    """Puts shares down one after another, in thought.

    Args:
        free, parts: the model's open machines by free GPUs, and their free parts.
        allowed: the machines that may be used.
        seed: of the policy that draws.
    """

    def __init__(
        self, free: Room, parts: Parts, allowed: Bits, fragments: Fragments, policy: Policy, seed: str
    ) -> None:
        self._buckets = [bits & allowed for bits in free.nodes]
        self._parts = parts.copy()
        self._allowed = allowed
        self._fragments = fragments
        self._policy = policy
        self._seed = seed
        self.grown = 0

    def next(self, share_milli: int) -> tuple[int, int]:
        """(machine, part it goes into; 1000 is a fresh GPU). That one fits is known."""
        if self._policy == "random-v1":
            node, part = self._drawn(share_milli)
        else:
            _, _, node, part = min(self._ranked(share_milli))
        self.grown += self._cost(node, part, share_milli)
        if part == WHOLE_MILLI:
            f = next(k for k, bits in enumerate(self._buckets) if bits >> node & 1)
            self._buckets[f] ^= 1 << node
            self._buckets[f - 1] |= 1 << node
        else:
            self._parts.remove(node, part)
        if part > share_milli:
            self._parts.add(node, part - share_milli)
        return node, part

    def _ranked(self, share: int) -> Iterable[tuple[int, int, int, int]]:
        """(cost, order among equals, machine, part) of the first machine of each kind."""
        for part, nodes in self._parts.nodes.items():
            if part >= share and (able := nodes & self._allowed):
                yield self._rank(part, 0, share), part, lowest(able), part
        for f in range(1, len(self._buckets)):
            if able := self._buckets[f]:
                yield self._rank(WHOLE_MILLI, f, share), WHOLE_MILLI + f, lowest(able), WHOLE_MILLI

    def _rank(self, part: int, f: int, share: int) -> int:
        match self._policy:
            case "best-fit-v1":
                return part + f * WHOLE_MILLI
            case "spread-v1":
                return -part - f * WHOLE_MILLI
            case _:
                grown = self._fragments.of_part(part - share)
                if part < WHOLE_MILLI:
                    return grown - self._fragments.of_part(part)
                return grown + self._fragments.of_gpus(f - 1) - self._fragments.of_gpus(f)

    def _cost(self, node: int, part: int, share: int) -> int:
        grown = self._fragments.of_part(part - share)
        if part < WHOLE_MILLI:
            return grown - self._fragments.of_part(part)
        f = next(k for k, bits in enumerate(self._buckets) if bits >> node & 1)
        return grown + self._fragments.of_gpus(f - 1) - self._fragments.of_gpus(f)

    def _drawn(self, share: int) -> tuple[int, int]:
        able = self._parts.with_at_least(share) & self._allowed
        for bits in self._buckets[1:]:
            able |= bits
        node = drawn(able, f"{self._seed}/{self.grown}")
        fitting = [part for part, nodes in self._parts.nodes.items() if part >= share and nodes >> node & 1]
        return node, min(fitting, default=WHOLE_MILLI)


def drawn(able: Bits, seed: str) -> int:
    """One member of a set, each as likely, the same for the same seed."""
    choice = int.from_bytes(sha256(seed.encode()).digest()[:8]) % able.bit_count()
    return next(node for number, node in enumerate(members(able)) if number == choice)
