"""How a pool's events change what it knows of its GPUs. One law: `evolve` costs O(members), not O(nodes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gpuaas.allocations.domain.book import (
    DEMAND_WINDOW,
    EMPTY,
    Book,
    Change,
    Claim,
    Demand,
    Node,
    Place,
    Promise,
    Version,
)
from gpuaas.allocations.domain.calendar import NO_CALENDAR, Calendar, booked, closed, freed, opened
from gpuaas.allocations.domain.room import Bits, lowest
from gpuaas.allocations.domain.shape import WHOLE_MILLI
from gpuaas.allocations.domain.sharing import with_share
from gpuaas.common.events import Event
from gpuaas.contracts.allocations import (
    ClaimExtended,
    ClaimGranted,
    ClaimReturned,
    Member,
    PoolCapacityAdded,
    PoolCapacityWithdrawn,
    PoolTimeBooked,
    PoolTimeClosed,
    PoolTimeFreed,
    PoolTimeOpened,
    PreemptionOrdered,
    Topology,
)


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool at one version: `events` are behind it, `gpus` is what they add up to, `calendar` what is promised."""

    events: int
    gpus: Version
    calendar: Calendar = NO_CALENDAR

    @property
    def book(self) -> Book:
        """Nodes, claims and indexes at this version; read it before another version is touched."""
        return self.gpus.book

    def granted(self, claim: Claim) -> Pool:
        """The pool after one more claim, in thought."""
        return self.after(_changes_of_grant(self.book, replace(claim, since=self.events)))

    def returned(self, allocation_id: str) -> Pool:
        """The pool after a claim came back, in thought; itself if there is none."""
        claim = self.book.claims.get(allocation_id)
        return self if claim is None else self.after(_changes_of_return(self.book, claim))

    def after(self, changes: Sequence[Change]) -> Pool:
        """The pool one event later."""
        return Pool(events=self.events + 1, gpus=self.gpus.after(changes), calendar=self.calendar)

    def at_time(self, calendar: Calendar) -> Pool:
        """The pool one event later, with other promises."""
        return Pool(events=self.events + 1, gpus=self.gpus, calendar=calendar)


EMPTY_POOL: Final = Pool(events=0, gpus=EMPTY)


def mask_of(node: Node, member: Member) -> Bits | None:
    """The member's devices as bits; None when one is not in this machine."""
    mask = 0
    for device in member.device_ids:
        try:
            mask |= 1 << node.devices.index(device)
        except ValueError:
            return None
    return mask


def per_node(holdings: Sequence[tuple[int, Bits]]) -> dict[int, Bits]:
    """Holdings with replicas on one node put together."""
    together: dict[int, Bits] = {}
    for number, mask in holdings:
        together[number] = together.get(number, 0) | mask
    return together


def evolve(pool: Pool, event: Event) -> Pool:
    """The pool after `event`, in O(members) and without touching `pool` as a value."""
    book = pool.book
    match event:
        case ClaimGranted() as grant:
            changes = _changes_of_grant(book, replace(_claim_in(book, grant), since=pool.events))
        case ClaimReturned() as back:
            changes = _changes_of_return(book, book.claims[back.allocation_id])
        case PreemptionOrdered() as order:
            nodes = sum(1 << book.number[node_id] for node_id in order.node_ids)
            victims = frozenset(victim.allocation_id for victim in order.victims)
            changes = [("promise", order.allocation_id, Promise(order.gpu_model, nodes, victims))]
        case PoolCapacityAdded() as offer:
            changes = [_change_of_node(book, offer)]
        case PoolCapacityWithdrawn() as closing:
            number = book.number[closing.node_id]
            node = book.nodes[number]
            changes = [("node", number, _with_withdrawal(node, closing.reason))]
        case ClaimExtended() as longer:
            claim = replace(book.claims[longer.allocation_id], ends_by=longer.ends_by)
            changes = [("claim", longer.allocation_id, claim)]
        case PoolTimeBooked() | PoolTimeFreed() | PoolTimeClosed() | PoolTimeOpened():
            return pool.at_time(_calendar_after(pool, event))
        case _:
            raise AssertionError(f"{event.TYPE} is not an event of a pool")
    return pool.after(changes)


def _calendar_after(pool: Pool, event: PoolTimeBooked | PoolTimeFreed | PoolTimeClosed | PoolTimeOpened) -> Calendar:
    match event:
        case PoolTimeBooked():
            return booked(pool.calendar, pool.book, event)
        case PoolTimeFreed():
            return freed(pool.calendar, event)
        case PoolTimeClosed():
            return closed(pool.calendar, pool.book, event)
        case PoolTimeOpened():
            return opened(pool.calendar, event.closure_id)


def _claim_in(book: Book, grant: ClaimGranted) -> Claim:
    holdings: list[tuple[int, Bits]] = []
    for member in grant.members:
        number = book.number[member.node_id]
        mask = mask_of(book.nodes[number], member)
        whole = share_of(member) == WHOLE_MILLI
        if mask is None or (whole and mask & book.held[number]):
            raise AssertionError(f"allocation {grant.allocation_id} was granted GPUs that were not free")
        holdings.append((number, mask))
    return Claim(
        grant.allocation_id,
        grant.tenant_id,
        grant.project_id,
        grant.gpu_model,
        tuple(holdings),
        share_of(grant.members[0]),
        ends_by=grant.ends_by,
        reservation_id=grant.reservation_id,
    )


def share_of(member: Member) -> int:
    """Thousandths of each of its GPUs that a member holds."""
    return WHOLE_MILLI if member.share_milli is None else member.share_milli


def shares_of(claim: Claim) -> dict[tuple[int, int], int]:
    """Thousandths that a claim on shares holds of each GPU, by (node, bit)."""
    together: dict[tuple[int, int], int] = {}
    for number, mask in claim.holdings:
        key = (number, lowest(mask))
        together[key] = together.get(key, 0) + claim.share_milli
    return together


def _changes_of_shares(book: Book, claim: Claim, sign: int) -> list[Change]:
    changes: list[Change] = []
    held = {number: book.held[number] for number, _ in claim.holdings}
    for (number, bit), milli in shares_of(claim).items():
        used = book.used[number].get(bit, 0) + sign * milli
        changes.append(("part", (number, bit), used))
        held[number] = held[number] | 1 << bit if used else held[number] & ~(1 << bit)
    return [*changes, *(("held", number, mask) for number, mask in held.items())]


def _changes_of_grant(book: Book, claim: Claim) -> list[Change]:
    changes = _changes_of_claim(book, claim)
    if claim.allocation_id in book.promises:
        changes.append(("promise", claim.allocation_id, None))
    return changes


def _changes_of_claim(book: Book, claim: Claim) -> list[Change]:
    if claim.share_milli < WHOLE_MILLI:
        demand = with_share(book.share_demand, claim.share_milli, len(claim.holdings))
        return [
            ("claim", claim.allocation_id, claim),
            *_changes_of_shares(book, claim, 1),
            ("share-demand", 0, demand),
        ]
    changes: list[Change] = [("claim", claim.allocation_id, claim)]
    changes += [("held", number, book.held[number] | mask) for number, mask in per_node(claim.holdings).items()]
    changes.append(("demand", 0, _with_demand(book.demand, claim)))
    return changes


def _changes_of_return(book: Book, claim: Claim) -> list[Change]:
    changes: list[Change] = [("claim", claim.allocation_id, None), *_kept_promises(book, claim.allocation_id)]
    if claim.share_milli < WHOLE_MILLI:
        return [*changes, *_changes_of_shares(book, claim, -1)]
    changes += [("held", number, book.held[number] & ~mask) for number, mask in per_node(claim.holdings).items()]
    return changes


def _kept_promises(book: Book, victim: str) -> list[Change]:
    """Promises that wait for `victim`, without it; one that waits for nobody any more is over."""
    changes: list[Change] = []
    for gainer, promise in book.promises.items():
        if victim in promise.victims:
            left = promise.victims - {victim}
            changes.append(("promise", gainer, replace(promise, victims=left) if left else None))
    return changes


def _with_demand(demand: Demand, claim: Claim) -> Demand:
    counts = list(demand)
    for _, mask in claim.holdings:
        size = mask.bit_count()
        if len(counts) <= size:
            counts += [0] * (size + 1 - len(counts))
        counts[size] += 1
    return tuple(counts) if sum(counts) <= DEMAND_WINDOW else tuple(count // 2 for count in counts)


def _change_of_node(book: Book, offer: PoolCapacityAdded) -> Change:
    number = book.number.get(offer.node_id)
    if number is None:
        offered = (1 << len(offer.device_ids)) - 1
        place = _place(offer.topology)
        node = Node(offer.node_id, offer.gpu_model, offer.device_ids, offered, place)
        return ("node", len(book.nodes), node)
    return (
        "node",
        number,
        node_as_offered(book.nodes[number], book.held[number], offer.gpu_model, offer.device_ids, offer.topology),
    )


def node_as_offered(standing: Node, held: Bits, gpu_model: str, device_ids: Sequence[str], topology: Topology) -> Node:
    """A known machine as offered again: GPUs keep their bits, those that are gone and free leave an empty place."""
    devices = [device if device in device_ids or held >> bit & 1 else "" for bit, device in enumerate(standing.devices)]
    devices += [device for device in device_ids if device not in devices]
    offered = sum(1 << devices.index(device) for device in device_ids)
    return Node(standing.node_id, gpu_model, tuple(devices), offered, _place(topology))


def _with_withdrawal(node: Node, reason: str) -> Node:
    return Node(node.node_id, node.gpu_model, node.devices, node.offered, node.place, reason)


def _place(topology: Topology) -> Place:
    return Place(topology.region, topology.site, topology.pod, topology.rack)
