"""Which GPUs a pool has and who holds them, kept as versions. One law: every version stays true for whoever holds it.

A pool's history is long (10⁵ events) and wide (10⁴ nodes), and its readers fold speculatively: a scheduler grants in
thought before it asks, the kernel drops a fold that lost a race. Copying the fleet per event would cost O(nodes), a
plainly mutable state would be wrong after the first conflict. So one mutable `Book` belongs to whichever version was
touched last, and every older version knows the few changes that lead back to it (persistent arrays by rerooting:
H. Baker, "Shallow Binding Makes Functional Arrays Fast", 1991). A step costs O(members), a return to an older version
O(steps between), a forgotten version nothing: old versions point to newer ones, never the reverse. Seen from outside
`Version` is an immutable value; it is made for one thread.

The empty version owns no book: each fold that begins there gets a book of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from gpuaas.allocations.domain.room import Bits, Room
from gpuaas.allocations.domain.shape import LEVELS, WHOLE_MILLI, Level
from gpuaas.allocations.domain.sharing import Parts, ShareDemand

DEMAND_WINDOW: Final = 4_096
"""Replicas remembered as typical demand; beyond it all counts are halved, so that old habits fade."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands, from wide to narrow. A rack's name counts only inside its pod, a pod's inside its site."""

    region: str
    site: str
    pod: str
    rack: str

    def domain(self, level: Level) -> tuple[str, ...]:
        """The domain of `level` it belongs to, named by the whole path."""
        if level == "rack":
            return (self.region, self.site, self.pod, self.rack)
        return (self.region, self.site, self.pod) if level == "pod" else (self.region, self.site)


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the pool. `devices[i]` is the GPU that bit i of every mask means.

    Attributes:
        devices: ids by bit; an empty id is a place that no GPU has any more.
        offered: the GPUs that may be claimed.
        withdrawn: why no new claims may stand here, or None.
    """

    node_id: str
    gpu_model: str
    devices: tuple[str, ...]
    offered: Bits
    place: Place
    withdrawn: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """GPUs held by one allocation: per replica (node index, mask of devices), and how much of each.

    Attributes:
        since: the version of the pool that it was granted on: of two claims the lower is the older.
        ends_by: when it will have ended at the latest; None: nobody said, so it is believed to stay.
        reservation_id: the reservation whose GPUs it uses.
    """

    allocation_id: str
    tenant_id: str
    project_id: str
    gpu_model: str
    holdings: tuple[tuple[int, Bits], ...]
    share_milli: int = WHOLE_MILLI
    since: int = field(default=0, compare=False)
    ends_by: datetime | None = field(default=None, compare=False)
    reservation_id: str | None = None
    gpu_count: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gpu_count", sum(mask.bit_count() for _, mask in self.holdings))

    @property
    def milli(self) -> int:
        """Thousandths of GPUs that it holds."""
        return self.gpu_count * self.share_milli


@dataclass(frozen=True, slots=True)
class Promise:
    """Machines kept for an allocation while those that make way for it end.

    Attributes:
        victims: those that have not given back yet.
    """

    gpu_model: str
    nodes: Bits
    victims: frozenset[str]


Demand = tuple[int, ...]
"""Typical demand: `demand[g]` replicas of g GPUs were granted lately."""

Change = (
    tuple[Literal["node"], int, Node | None]
    | tuple[Literal["held"], int, Bits]
    | tuple[Literal["claim"], str, Claim | None]
    | tuple[Literal["promise"], str, Promise | None]
    | tuple[Literal["demand"], int, Demand]
    | tuple[Literal["share-demand"], int, ShareDemand]
    | tuple[Literal["part"], tuple[int, int], int]
)
"""`(what, which, its new value)`; a part: (node, bit), thousandths in use. The inverse of a change is a change."""


class Models:
    """Per GPU model: all nodes by size, the open ones by free GPUs, and their free parts of GPUs."""

    __slots__ = ("free", "parts", "size")

    def __init__(self, home: list[dict[Level, int]]) -> None:
        self.size = Room(home)
        self.free = Room(home)
        self.parts = Parts()


class Book:
    """The newest version's content with its indexes. Read it; only `Version` writes to it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.held: list[Bits] = []
        self.claims: dict[str, Claim] = {}
        self.promises: dict[str, Promise] = {}
        self.in_use: Counter[tuple[str, str, str | None]] = Counter()
        self.used: list[dict[int, int]] = []
        self.demand: Demand = ()
        self.share_demand: ShareDemand = ()
        self.number: dict[str, int] = {}
        self.device_home: dict[str, int] = {}
        self.models: dict[str, Models] = {}
        self.withdrawn_nodes: int = 0
        self._home: list[dict[Level, int]] = []
        self._domains: dict[Level, dict[tuple[str, ...], int]] = {level: {} for level in LEVELS}
        self._standing_in: dict[Level, list[Bits]] = {level: [] for level in LEVELS}

    def free_mask(self, node: int) -> Bits:
        """The devices of `node` that can be claimed now."""
        standing = self.nodes[node]
        return 0 if standing.withdrawn is not None else standing.offered & ~self.held[node]

    def part_of(self, node: int, part: int) -> int:
        """The first GPU of `node` of which exactly `part` thousandths are free."""
        offered = self.nodes[node].offered
        return min(bit for bit, used in self.used[node].items() if WHOLE_MILLI - used == part and offered >> bit & 1)

    def standing_in(self, level: Level, domain: int) -> Bits:
        """The nodes of one domain."""
        return self._standing_in[level][domain]

    def domains(self, level: Level) -> list[tuple[str, ...]]:
        """Every domain of `level` there has been, by number."""
        return list(self._domains[level])

    def know_domains(self, level: Level, names: Sequence[tuple[str, ...]]) -> None:
        """Number domains as another book did; only before any node stands in one."""
        self._domains[level] = {name: number for number, name in enumerate(names)}
        self._standing_in[level] = [0] * len(names)

    def domain_name(self, level: Level, domain: int) -> str:
        return "/".join(list(self._domains[level])[domain])

    def apply(self, changes: Sequence[Change]) -> list[Change]:
        """Make the changes; what would undo them."""
        back = [self._apply(change) for change in changes]
        back.reverse()
        return back

    def _apply(self, change: Change) -> Change:
        match change:
            case ("held", node, mask):
                before, standing = self.held[node], self.nodes[node]
                self.held[node] = mask
                if (was := _free(standing, before)) != (now := _free(standing, mask)):
                    self.models[standing.gpu_model].free.move(node, was, now)
                return ("held", node, before)
            case ("claim", allocation_id, claim):
                was_held = self.claims.pop(allocation_id, None)
                if was_held is not None:
                    self._use(was_held, -was_held.milli)
                if claim is not None:
                    self.claims[allocation_id] = claim
                    self._use(claim, claim.milli)
                return ("claim", allocation_id, was_held)
            case ("promise", gainer, promise):
                kept = self.promises.pop(gainer, None)
                if promise is not None:
                    self.promises[gainer] = promise
                return ("promise", gainer, kept)
            case ("demand", _, demand):
                old, self.demand = self.demand, demand
                return ("demand", 0, old)
            case ("share-demand", _, shares):
                former, self.share_demand = self.share_demand, shares
                return ("share-demand", 0, former)
            case ("part", (node, bit), used):
                return ("part", (node, bit), self._set_part(node, bit, used))
            case ("node", node, record):
                return ("node", node, self._set_node(node, record))
        raise AssertionError(change)

    def _use(self, claim: Claim, milli: int) -> None:
        """`in_use`: thousandths of GPUs held by (tenant, model, project), and by the tenant as a whole (None)."""
        for project_id in (None, claim.project_id):
            key = (claim.tenant_id, claim.gpu_model, project_id)
            self.in_use[key] += milli
            if not self.in_use[key]:
                del self.in_use[key]

    def _set_part(self, node: int, bit: int, used: int) -> int:
        """That many thousandths of a shared GPU are in use, none: it is whole again. What it was before."""
        before = self.used[node].pop(bit, 0)
        if used:
            self.used[node][bit] = used
        standing = self.nodes[node]
        if standing.withdrawn is None and standing.offered >> bit & 1:
            parts = self.models[standing.gpu_model].parts
            if 0 < before < WHOLE_MILLI:
                parts.remove(node, WHOLE_MILLI - before)
            if 0 < used < WHOLE_MILLI:
                parts.add(node, WHOLE_MILLI - used)
        return before

    def _open_parts(self, node: int, record: Node) -> list[int]:
        if record.withdrawn is not None:
            return []
        return [
            WHOLE_MILLI - used
            for bit, used in self.used[node].items()
            if used < WHOLE_MILLI and record.offered >> bit & 1
        ]

    def _set_node(self, node: int, record: Node | None) -> Node | None:
        """Put a node in, change it, or (going back in time) take the last one out again."""
        before = self.nodes[node] if node < len(self.nodes) else None
        if before is not None:
            self._take_out(node, before)
        else:
            self.held.append(0)
            self.used.append({})
            self.nodes.append(record)  # type: ignore[arg-type]  # a node that is not there is never taken out
            self._home.append({})
        if record is not None:
            self._put_in(node, record)
        else:
            self.nodes.pop()
            self.held.pop()
            self.used.pop()
            self._home.pop()
        return before

    def _put_in(self, node: int, record: Node) -> None:
        self.nodes[node] = record
        self.number[record.node_id] = node
        self.device_home.update((device, node) for device in record.devices if device)
        self.withdrawn_nodes += record.withdrawn is not None
        for level in LEVELS:
            known, standing = self._domains[level], self._standing_in[level]
            domain = self._home[node][level] = known.setdefault(record.place.domain(level), len(known))
            if domain == len(standing):
                standing.append(0)
            standing[domain] |= 1 << node
        rooms = self.models.setdefault(record.gpu_model, Models(self._home))
        rooms.size.move(node, None, record.offered.bit_count())
        rooms.free.move(node, None, _free(record, self.held[node]))
        for part in self._open_parts(node, record):
            rooms.parts.add(node, part)

    def _take_out(self, node: int, record: Node) -> None:
        rooms = self.models[record.gpu_model]
        rooms.size.move(node, record.offered.bit_count(), None)
        rooms.free.move(node, _free(record, self.held[node]), None)
        for part in self._open_parts(node, record):
            rooms.parts.remove(node, part)
        # A domain that is empty again keeps its number: it takes no replicas, and the next version may need it.
        for level in LEVELS:
            self._standing_in[level][self._home[node][level]] ^= 1 << node
        for device in record.devices:
            self.device_home.pop(device, None)
        self.withdrawn_nodes -= record.withdrawn is not None
        del self.number[record.node_id]


def _free(record: Node, held: Bits) -> int | None:
    """Free GPUs of an open node; None when it is closed."""
    return (record.offered & ~held).bit_count() if record.withdrawn is None else None


class Version:
    """One state of a pool's GPUs: a value. `book` is its content, good until another version is read."""

    __slots__ = ("_back", "_book", "_newer")

    def __init__(self, book: Book | None = None) -> None:
        self._book = book
        self._back: Sequence[Change] = ()
        self._newer: Version | None = None

    @property
    def book(self) -> Book:
        """The content at this version."""
        if self._book is None:
            self._book = self._reroot() if self._newer is not None else Book()
        return self._book

    def after(self, changes: Sequence[Change]) -> Version:
        """The version that follows by `changes`."""
        if self is EMPTY:
            book = Book()
            book.apply(changes)
            return Version(book)
        book = self.book
        newer = Version(book)
        self._back = book.apply(changes)
        self._newer = newer
        self._book = None
        return newer

    def _reroot(self) -> Book:
        path: list[Version] = []
        version: Version = self
        while version._newer is not None:
            path.append(version)
            version = version._newer
        book = version._book
        assert book is not None
        for older in reversed(path):
            version._back = book.apply(older._back)
            version._newer, version._book = older, None
            older._newer, older._back = None, ()
            version = older
        return book


EMPTY: Final = Version()
"""A pool without history."""
