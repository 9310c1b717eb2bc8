"""Where a gang goes: `place()` picks the GPUs or says why not. One law: pure, bounded, the same for the same pool.

All or nothing. A replica sits on one node; a gang with a topology level sits in one domain of it (`required`), or in
the narrowest domain from that level on that can take it (`preferred`). Among domains the one with least to spare,
among nodes the policy's choice, among equals the one enrolled first.

`least-fragments` is FGD (Weng et al., "Beware of Fragmentation", USENIX ATC '23) for whole GPUs: a node with f free
GPUs wastes, for typical demand D, F(f) = f × P(a replica of D needs more than f); a replica goes where F grows least.
F depends on f alone, so the choice is among at most as many candidates as a node has GPUs, whatever the fleet's size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Final, Literal

from gpuaas.allocations.domain.book import Book, Demand
from gpuaas.allocations.domain.room import Bits, Room, lowest, members
from gpuaas.allocations.domain.shape import LEVELS, WHOLE_MILLI, Shape
from gpuaas.allocations.domain.sharing import Choice, Fragments, Policy, drawn
from gpuaas.contracts.allocations import Exclusion, Member, Receipt

LEAST_FRAGMENTS: Final[Policy] = "least-fragments-v1"

DOMAINS_MAX: Final = 64
"""Domains looked at per level. Only a domain that contains held-back nodes is ever looked at in vain."""

Obstacle = Literal[
    "insufficient-capacity",
    "topology-unsatisfied",
    "behind-higher-priority",
    "never-satisfiable",
    "unknown-gpu-model",
]
_FOREVER: Final = frozenset({"never-satisfiable", "unknown-gpu-model"})
_EVERYWHERE: Final[Bits] = -1
_SCORE_STEP: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Placement:
    """GPUs chosen for a whole gang, and how."""

    gpu_model: str
    members: tuple[Member, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """Why a gang cannot be placed now, or at all.

    Attributes:
        promised: it would fit, but not for as long as it would stand.
        shape: which of the shapes that will do this is about; None: the only one.
    """

    reason: Obstacle
    detail: str
    promised: bool = False
    shape: Shape | None = None

    @property
    def forever(self) -> bool:
        """No waiting will help: the pool as enrolled cannot hold it even when empty."""
        return self.reason in _FOREVER


def place(
    book: Book,
    shape: Shape,
    pool_version: int,
    policy: Policy = LEAST_FRAGMENTS,
    held_back: Mapping[str, Bits] | None = None,
) -> Placement | NoPlacement:
    """Choose GPUs for `shape` in the pool as `book` has it.

    Args:
        pool_version: number of the pool's events behind `book`; goes into the receipt.
        held_back: per GPU model, nodes kept for someone else.
    """
    refusal: NoPlacement | None = None
    fitting: list[Placement] = []
    for model in (shape.gpu_model,) if shape.gpu_model else sorted(book.models):
        found = _place_in(book, model, shape, pool_version, policy, (held_back or {}).get(model, 0))
        if isinstance(found, Placement):
            fitting.append(found)
        elif refusal is None or (refusal.forever and not found.forever):
            refusal = found
    if fitting:
        # Any model will do: where it does least harm, then where most is free, so that scarce models stay for those
        # who name them; among equals the first by name.
        return min(fitting, key=lambda found: (-found.receipt.score, -_free_share(book, found.gpu_model)))
    return refusal or NoPlacement("never-satisfiable", f"the pool has no GPUs at all; {shape} were wanted")


def _free_share(book: Book, model: str) -> float:
    rooms = book.models[model]
    return rooms.free.total / rooms.size.total


def _place_in(
    book: Book, model: str, shape: Shape, pool_version: int, policy: Policy, kept: Bits
) -> Placement | NoPlacement:
    rooms = book.models.get(model)
    if rooms is None or not rooms.size.node_count:
        return NoPlacement("unknown-gpu-model", f"no machine of this pool has GPUs of model {model}")
    if shape.is_share:
        return _place_shares(book, model, shape, pool_version, policy, ~kept)
    allowed = _where(book, rooms.free, shape, ~kept)
    if allowed is None:
        if kept and _where(book, rooms.free, shape, _EVERYWHERE) is not None:
            return NoPlacement(
                "behind-higher-priority",
                f"{shape} would fit, but those GPUs are kept for the head of the queue",
            )
        return _obstacle(rooms.size, rooms.free, shape)
    return _fill(book, model, shape, pool_version, policy, allowed, ~kept)


def _where(book: Book, free: Room, shape: Shape, open_nodes: Bits) -> Bits | None:
    """The nodes among which the whole gang fits, by topology; None: there are none."""
    size, replicas = shape.gpus_per_replica, shape.replicas
    if shape.topology_level is not None and replicas > 1:
        narrow = LEVELS.index(shape.topology_level)
        required = shape.topology_mode == "required"
        for level in LEVELS[narrow : narrow + 1 if required else None]:
            for domain in islice(free.tightest(level, size, replicas), DOMAINS_MAX):
                nodes = book.standing_in(level, domain) & open_nodes
                if open_nodes == _EVERYWHERE or free.replicas_among(nodes, size) >= replicas:
                    return nodes
        if required:
            return None
    if open_nodes == _EVERYWHERE:
        return _EVERYWHERE if free.replicas(size) >= replicas else None
    return open_nodes if free.replicas_among(open_nodes, size) >= replicas else None


def _fill(
    book: Book, model: str, shape: Shape, pool_version: int, policy: Policy, allowed: Bits, open_nodes: Bits
) -> Placement:
    """Put the replicas down one by one; that all of them fit among `allowed` is known."""
    free, size = book.models[model].free, shape.gpus_per_replica
    waste = fragments(book.demand, len(free.nodes))
    order = preference(policy, waste, size)
    buckets = [bits & allowed for bits in free.nodes]
    used: dict[int, Bits] = {}
    gang: list[Member] = []
    grown = 0
    for replica in range(shape.replicas):
        if policy == "random-v1":
            able = _union(buckets[size:])
            bit = 1 << drawn(able, f"{pool_version}/{replica}")
            k = next(k for k in order if buckets[k] & bit)
        else:
            k = next(k for k in order if buckets[k])
            bit = buckets[k] & -buckets[k]
        node = bit.bit_length() - 1
        buckets[k] ^= bit
        buckets[k - size] |= bit
        grown += waste[k - size] - waste[k]
        devices = _take(book.free_mask(node) & ~used.get(node, 0), size)
        used[node] = used.get(node, 0) | devices
        standing = book.nodes[node]
        names = tuple(standing.devices[i] for i in members(devices))
        gang.append(Member(member=replica, node_id=standing.node_id, device_ids=names))
    demand = sum(book.demand)
    receipt = Receipt(
        pool_version=pool_version,
        policy=policy,
        nodes_considered=len(book.nodes),
        exclusions=tuple(_exclusions(book, free, size, allowed, open_nodes)),
        score=(Decimal(-grown) / (demand or 1)).quantize(_SCORE_STEP),
        runner_up_node_id=_runner_up(book, free, order, allowed, used),
    )
    return Placement(gpu_model=model, members=tuple(gang), receipt=receipt)


def _place_shares(
    book: Book, model: str, shape: Shape, pool_version: int, policy: Policy, open_nodes: Bits
) -> Placement | NoPlacement:
    """Shares of GPUs for every replica, or why not."""
    rooms, share = book.models[model], shape.share_milli
    each = WHOLE_MILLI // share
    if rooms.size.replicas(1) * each < shape.replicas:
        most = rooms.size.replicas(1) * each
        return NoPlacement("never-satisfiable", f"{shape} can never fit here; the nearest shape that can is {most}")

    def room(nodes: Bits) -> int:
        return rooms.free.replicas_among(nodes, 1) * each + rooms.parts.replicas_among(nodes, share)

    if room(open_nodes) < shape.replicas:
        if open_nodes != _EVERYWHERE and room(_EVERYWHERE) >= shape.replicas:
            return NoPlacement("behind-higher-priority", f"{shape} would fit, but only on what the head is kept")
        return NoPlacement("insufficient-capacity", f"{shape} are wanted; there is room for {room(_EVERYWHERE)}")
    fragments_of = Fragments(book.demand, book.share_demand)
    choice = Choice(rooms.free, rooms.parts, open_nodes, fragments_of, policy, f"{pool_version}")
    gang: list[Member] = []
    used: dict[tuple[int, int], int] = {}
    for replica in range(shape.replicas):
        node, part = choice.next(share)
        bit = _shared_gpu(book, node, part, used)
        used[node, bit] = used.get((node, bit), book.used[node].get(bit, 0)) + share
        standing = book.nodes[node]
        gang.append(
            Member(member=replica, node_id=standing.node_id, device_ids=(standing.devices[bit],), share_milli=share)
        )
    able = rooms.parts.with_at_least(share) | rooms.free.with_at_least(1)
    others = able & open_nodes & ~sum(1 << node for node in {node for node, _ in used})
    demand = sum(book.demand) + sum(count for _, count in book.share_demand)
    receipt = Receipt(
        pool_version=pool_version,
        policy=policy,
        nodes_considered=len(book.nodes),
        exclusions=tuple(_share_exclusions(book, rooms.free.node_count, able, open_nodes)),
        score=(Decimal(-choice.grown) / (WHOLE_MILLI * (demand or 1))).quantize(_SCORE_STEP),
        runner_up_node_id=book.nodes[lowest(others)].node_id if others else None,
    )
    return Placement(gpu_model=model, members=tuple(gang), receipt=receipt)


def _shared_gpu(book: Book, node: int, part: int, used: Mapping[tuple[int, int], int]) -> int:
    """The first GPU of `node` with exactly `part` free, as the book has it and with what is `used` in thought."""
    standing, shared = book.nodes[node], book.used[node]
    for bit in members(standing.offered):
        whole_held = book.held[node] >> bit & 1 and bit not in shared
        if not whole_held and WHOLE_MILLI - used.get((node, bit), shared.get(bit, 0)) == part:
            return bit
    raise AssertionError(f"machine {standing.node_id} has no GPU with {part}/1000 free")


def _share_exclusions(book: Book, open_count: int, able: Bits, open_nodes: Bits) -> list[Exclusion]:
    counted = {
        "withdrawn": book.withdrawn_nodes,
        "other-gpu-model": len(book.nodes) - book.withdrawn_nodes - open_count,
        "insufficient-free-gpus": open_count - able.bit_count(),
        "kept-for-the-head": (able & ~open_nodes).bit_count(),
    }
    return [Exclusion(reason=reason, nodes=nodes) for reason, nodes in counted.items() if nodes]


def _union(sets: Sequence[Bits]) -> Bits:
    found = 0
    for bits in sets:
        found |= bits
    return found


def _take(mask: Bits, count: int) -> Bits:
    """The `count` lowest bits of `mask`."""
    taken = 0
    for _ in range(count):
        low = mask & -mask
        taken |= low
        mask ^= low
    return taken


def fragments(demand: Demand, amounts: int) -> list[int]:
    """F(f) for f in 0..amounts-1, times the size of the demand: free GPUs that typical demand could not use."""
    beyond = sum(demand)
    waste: list[int] = []
    for f in range(amounts):
        beyond -= demand[f] if f < len(demand) else 0
        waste.append(f * beyond)
    return waste


def preference(policy: Policy, waste: Sequence[int], size: int) -> list[int]:
    """Free counts from the most to the least wanted for a replica of `size`."""
    usable = range(size, len(waste))
    match policy:
        case "least-fragments-v1":
            return sorted(usable, key=lambda k: (waste[k - size] - waste[k], k))
        case "best-fit-v1" | "random-v1":
            return list(usable)
        case "spread-v1":
            return list(reversed(usable))


def _exclusions(book: Book, free: Room, size: int, allowed: Bits, open_nodes: Bits) -> list[Exclusion]:
    """Why how many nodes were not candidates; with the candidates they add up to the nodes considered."""
    short = sum(free.counts[:size])
    counted = {
        "withdrawn": book.withdrawn_nodes,
        "other-gpu-model": len(book.nodes) - book.withdrawn_nodes - free.node_count,
        "insufficient-free-gpus": short,
    }
    if allowed != _EVERYWHERE:
        able = free.with_at_least(size)
        candidates = free.node_count - short
        if open_nodes != _EVERYWHERE:
            counted["kept-for-the-head"] = candidates - (able & open_nodes).bit_count()
            candidates -= counted["kept-for-the-head"]
        counted["outside-the-domain"] = candidates - (able & allowed).bit_count()
    return [Exclusion(reason=reason, nodes=nodes) for reason, nodes in counted.items() if nodes]


def _runner_up(book: Book, free: Room, order: Sequence[int], allowed: Bits, used: Mapping[int, Bits]) -> str | None:
    """The node that would have come first had the chosen ones not been there."""
    chosen = sum(1 << node for node in used)
    for k in order:
        if others := free.nodes[k] & allowed & ~chosen:
            return book.nodes[lowest(others)].node_id
    return None


def _obstacle(every: Room, free: Room, shape: Shape) -> NoPlacement:
    """What stands in the way: of the pool as enrolled, of the domain, or of today's free GPUs."""
    size, wanted = shape.gpus_per_replica, shape.replicas
    required = shape.topology_level if shape.topology_mode == "required" and wanted > 1 else None
    possible = every.roomiest(required, size) if required else every.replicas(size)
    if possible < wanted:
        return NoPlacement("never-satisfiable", f"{shape} can never fit here; {_nearest(every, shape, possible)}")
    now = free.replicas(size)
    if now >= wanted and required:
        most = free.roomiest(required, size)
        return NoPlacement(
            "topology-unsatisfied",
            f"{wanted} × {size} GPUs in one {required} are wanted; {most} × {size} are free in one",
        )
    return NoPlacement(
        "insufficient-capacity",
        f"{wanted} × {size} GPUs are wanted; {now} × {size} are free, at most {free.most} on one machine",
    )


def _nearest(every: Room, shape: Shape, possible: int) -> str:
    size = min(shape.gpus_per_replica, every.most)
    if size == shape.gpus_per_replica:
        replicas = possible
    else:
        replicas = min(-(-shape.gpu_count // size), every.replicas(size)) if size else 0
    return f"the nearest shape that can is {replicas} × {size}"


def hold_back(book: Book, shape: Shape) -> dict[str, Bits]:
    """Nodes to keep for a gang that cannot be placed now: those that can hold it and are nearest to being free.

    Empty when the open nodes could not hold it even when drained.
    """
    for model in (shape.gpu_model,) if shape.gpu_model else sorted(book.models):
        rooms = book.models.get(model)
        if rooms is None:
            continue
        for among in _candidates(book, rooms.size, rooms.free, shape):
            if kept := _emptiest(book, rooms.free, shape, among):
                return {model: kept}
    return {}


def _candidates(book: Book, every: Room, free: Room, shape: Shape) -> list[Bits]:
    if shape.topology_mode != "required" or shape.topology_level is None or shape.replicas == 1:
        return [_EVERYWHERE]
    level, size = shape.topology_level, shape.gpus_per_replica
    able = list(islice(every.tightest(level, size, shape.replicas), DOMAINS_MAX))
    able.sort(key=lambda domain: -free.replicas_in(level, size, domain))
    return [book.standing_in(level, domain) for domain in able]


def _emptiest(book: Book, free: Room, shape: Shape, among: Bits) -> Bits:
    kept, missing = 0, shape.replicas
    for bits in reversed(free.nodes):
        for node in members(bits & among):
            able = book.nodes[node].offered.bit_count() * (WHOLE_MILLI // shape.share_milli) // shape.gpus_per_replica
            if able:
                kept |= 1 << node
                missing -= able
                if missing <= 0:
                    return kept
    return 0
