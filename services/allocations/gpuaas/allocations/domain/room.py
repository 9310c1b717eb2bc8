"""Where there is room: nodes by GPU count, domains by replica count. One law: an answer never scans the fleet.

A `Room` counts something per node (free GPUs, or all GPUs) among the nodes of one model. Sets of nodes and of
domains are integers used as bit sets: "nodes with exactly 5 free, in this rack, not held back" is two ANDs, and the
first of them is the lowest set bit, so every answer is deterministic. Domains are indexed per (level, GPUs per
replica) by how many replicas they can take; that index is made when first asked for and then kept up to date by
every move.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpuaas.allocations.domain.shape import Level

Bits = int
"""A set of small integers: bit i is set when i belongs to it."""


def lowest(bits: Bits) -> int:
    """The smallest member of a set that is not empty."""
    return (bits & -bits).bit_length() - 1


def members(bits: Bits) -> Iterator[int]:
    """The members in rising order."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


class Room:
    """How much there is on each node of one model. `counts[k]` nodes, the set `nodes[k]`, have exactly k."""

    __slots__ = ("_domains", "_home", "counts", "node_count", "nodes")

    def __init__(self, home: list[dict[Level, int]]) -> None:
        """`home[node][level]` is the domain a node stands in; shared with the book, which extends it."""
        self._home = home
        self._domains: dict[tuple[Level, int], _DomainRoom] = {}
        self.node_count = 0
        self.counts: list[int] = [0]
        self.nodes: list[Bits] = [0]

    def move(self, node: int, before: int | None, after: int | None) -> None:
        """`node` has `after` where it had `before`; None means it is not counted here."""
        bit = 1 << node
        if before is not None:
            self.node_count -= 1
            self.counts[before] -= 1
            self.nodes[before] ^= bit
        if after is not None:
            while len(self.counts) <= after:
                self.counts.append(0)
                self.nodes.append(0)
            self.node_count += 1
            self.counts[after] += 1
            self.nodes[after] ^= bit
        for (level, size), domains in self._domains.items():
            change = (after or 0) // size - (before or 0) // size
            if change:
                domains.change(self._home[node][level], change)

    @property
    def most(self) -> int:
        """The largest amount on any one node."""
        return next((k for k in range(len(self.counts) - 1, 0, -1) if self.counts[k]), 0)

    @property
    def total(self) -> int:
        return sum(k * count for k, count in enumerate(self.counts))

    def replicas(self, size: int) -> int:
        """How many replicas of `size` fit, each on one node."""
        return sum(k // size * self.counts[k] for k in range(size, len(self.counts)))

    def with_at_least(self, size: int) -> Bits:
        """The nodes with `size` or more."""
        found = 0
        for bits in self.nodes[size:]:
            found |= bits
        return found

    def replicas_among(self, allowed: Bits, size: int) -> int:
        """The same, on the nodes of `allowed` only."""
        return sum(k // size * (self.nodes[k] & allowed).bit_count() for k in range(size, len(self.nodes)))

    def tightest(self, level: Level, size: int, replicas: int) -> Iterator[int]:
        """Domains that can take `replicas`, the one with least to spare first."""
        return self._by(level, size).at_least(replicas)

    def roomiest(self, level: Level, size: int) -> int:
        """The most replicas of `size` that any one domain of `level` can take."""
        return self._by(level, size).highest

    def replicas_in(self, level: Level, size: int, domain: int) -> int:
        return self._by(level, size).replicas.get(domain, 0)

    def _by(self, level: Level, size: int) -> _DomainRoom:
        known = self._domains.get((level, size))
        if known is None:
            known = self._domains[level, size] = _DomainRoom()
            for k in range(size, len(self.nodes)):
                for node in members(self.nodes[k]):
                    known.change(self._home[node][level], k // size)
        return known


class _DomainRoom:
    """Domains of one level by how many replicas of one size they can take."""

    __slots__ = ("_at", "_filled", "replicas")

    def __init__(self) -> None:
        self.replicas: dict[int, int] = {}
        self._at: dict[int, Bits] = {}
        self._filled: Bits = 0

    def change(self, domain: int, by: int) -> None:
        before = self.replicas.get(domain, 0)
        after = self.replicas[domain] = before + by
        bit = 1 << domain
        if before:
            self._at[before] ^= bit
            if not self._at[before]:
                self._filled ^= 1 << before
        if after:
            self._at[after] = self._at.get(after, 0) | bit
            self._filled |= 1 << after

    def at_least(self, replicas: int) -> Iterator[int]:
        filled = self._filled >> replicas << replicas
        for capacity in members(filled):
            yield from members(self._at[capacity])

    @property
    def highest(self) -> int:
        return self._filled.bit_length() - 1 if self._filled else 0
