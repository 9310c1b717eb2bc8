"""The pool: who holds which GPU. One law: no GPU is ever held twice, however wrong or stale the one who asks.

A pool is the consistency boundary of placement: all its claims are events of one history, and every append is guarded
on that history. A grant carries the GPUs someone chose; `decide` believes nothing of it and checks each one against
the pool as it is. `Settle` decides many returns and grants as one: a cycle of the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from gpuaas.allocations.domain.book import Book, Claim
from gpuaas.allocations.domain.booking import BOOKING_EVENTS, BookingCommand, decide_booking
from gpuaas.allocations.domain.capacity import (
    EMPTY_POOL,
    Pool,
    evolve,
    mask_of,
    node_as_offered,
    per_node,
    share_of,
    shares_of,
)
from gpuaas.allocations.domain.foresight import refuse_promised
from gpuaas.allocations.domain.room import Bits, lowest
from gpuaas.allocations.domain.shape import WHOLE_MILLI
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.allocations import (
    ClaimGranted,
    ClaimReturned,
    Member,
    PoolCapacityAdded,
    PoolCapacityWithdrawn,
    PreemptionCause,
    PreemptionOrdered,
    Receipt,
    Topology,
    Victim,
)

SETTLE_MAX: Final = 500
"""Returns and grants in one `Settle`; half of what one atomic append can carry."""


@dataclass(frozen=True, slots=True)
class AddCapacity:
    """Offer a machine's GPUs: a new machine, one that comes back, or one whose GPUs have changed."""

    pool_id: str
    node_id: str
    gpu_model: str
    device_ids: tuple[str, ...]
    topology: Topology


@dataclass(frozen=True, slots=True)
class WithdrawCapacity:
    """No new claims on this machine; standing ones stay."""

    pool_id: str
    node_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class GrantClaim:
    """Give exactly these GPUs to an allocation.

    Attributes:
        at, ends_by: from when to when at the latest; None: not known, so nothing promised to others may be in it.
        reservation_id: it uses what this reservation keeps.
    """

    pool_id: str
    allocation_id: str
    tenant_id: str
    project_id: str
    gpu_model: str
    members: tuple[Member, ...]
    receipt: Receipt
    at: datetime | None = None
    ends_by: datetime | None = None
    reservation_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReturnClaim:
    """Take back what an allocation holds; nothing happens if it holds nothing."""

    pool_id: str
    allocation_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """First the returns, then the grants; all of it or nothing."""

    returns: tuple[ReturnClaim, ...]
    grants: tuple[GrantClaim, ...]


@dataclass(frozen=True, slots=True)
class OrderPreemption:
    """End `victims` so that an allocation can start on `node_ids`, which are kept for it.

    Attributes:
        pool_version: what it was decided on; in any other version who may be ended may be somebody else.
    """

    pool_id: str
    allocation_id: str
    cause: PreemptionCause
    gpu_model: str
    node_ids: tuple[str, ...]
    victims: tuple[Victim, ...]
    pool_version: int


PoolCommand = AddCapacity | WithdrawCapacity | GrantClaim | ReturnClaim | OrderPreemption | Settle | BookingCommand


def decide(command: PoolCommand, pool: Pool) -> list[Event]:
    """What follows from `command`.

    Raises:
        Rejected: GPUs that are not there, not free or not open; a machine that this pool does not know.
        Invalid: more than `SETTLE_MAX` at once.
    """
    match command:
        case AddCapacity() as offer:
            return _add(offer, pool.book)
        case WithdrawCapacity() as closing:
            return _withdraw(closing, pool.book)
        case GrantClaim() as grant:
            return _grant(grant, pool)
        case ReturnClaim() as back:
            return _return(back, pool.book)
        case OrderPreemption() as order:
            return _preempt(order, pool)
        case Settle() as cycle:
            return _settle(cycle, pool)
        case _:
            return decide_booking(command, pool)


def _add(offer: AddCapacity, book: Book) -> list[Event]:
    number = book.number.get(offer.node_id)
    for device in offer.device_ids:
        elsewhere = book.device_home.get(device, number)
        if elsewhere != number:
            assert elsewhere is not None
            raise Rejected(
                f"GPU {device} is listed on machine {book.nodes[elsewhere].node_id}; take it out there before it is "
                f"added on {offer.node_id}"
            )
    if number is not None:
        standing = book.nodes[number]
        if standing == node_as_offered(standing, book.held[number], offer.gpu_model, offer.device_ids, offer.topology):
            return []
        if standing.gpu_model != offer.gpu_model and book.held[number]:
            raise Rejected(
                f"machine {offer.node_id} changes its GPU model while claims stand on it; let them end first"
            )
    return [
        PoolCapacityAdded(
            pool_id=offer.pool_id,
            node_id=offer.node_id,
            gpu_model=offer.gpu_model,
            device_ids=offer.device_ids,
            topology=offer.topology,
        )
    ]


def _withdraw(closing: WithdrawCapacity, book: Book) -> list[Event]:
    number = book.number.get(closing.node_id)
    if number is None:
        raise Rejected(f"machine {closing.node_id} is not part of pool {closing.pool_id}")
    if book.nodes[number].withdrawn is not None:
        return []
    return [PoolCapacityWithdrawn(pool_id=closing.pool_id, node_id=closing.node_id, reason=closing.reason)]


def _grant(grant: GrantClaim, pool: Pool) -> list[Event]:
    book = pool.book
    asked = checked(book, grant)
    if (standing := book.claims.get(grant.allocation_id)) is not None:
        if standing == asked:
            return []
        raise Rejected(
            f"allocation {grant.allocation_id} already holds {standing.gpu_count} GPUs of pool {grant.pool_id}",
            allocation_id=grant.allocation_id,
        )
    refuse_promised(pool, asked, grant.at, grant.ends_by)
    return [
        ClaimGranted(
            pool_id=grant.pool_id,
            allocation_id=grant.allocation_id,
            tenant_id=grant.tenant_id,
            project_id=grant.project_id,
            gpu_model=grant.gpu_model,
            members=grant.members,
            receipt=grant.receipt,
            ends_by=grant.ends_by,
            reservation_id=grant.reservation_id,
        )
    ]


def _return(back: ReturnClaim, book: Book) -> list[Event]:
    if back.allocation_id not in book.claims:
        return []
    return [ClaimReturned(pool_id=back.pool_id, allocation_id=back.allocation_id, reason=back.reason)]


def _preempt(order: OrderPreemption, pool: Pool) -> list[Event]:
    if order.pool_version != pool.events:
        raise Rejected(f"pool {order.pool_id} has changed since it was decided who makes way; decide again")
    book = pool.book
    if order.allocation_id in book.claims or order.allocation_id in book.promises:
        raise Rejected(f"allocation {order.allocation_id} holds GPUs already, or some are being freed for it")
    for victim in order.victims:
        if victim.allocation_id not in book.claims:
            raise Rejected(f"allocation {victim.allocation_id} holds no GPUs that it could give up")
    return [
        PreemptionOrdered(
            pool_id=order.pool_id,
            allocation_id=order.allocation_id,
            cause=order.cause,
            gpu_model=order.gpu_model,
            node_ids=order.node_ids,
            victims=order.victims,
            lost_gpu_ms=sum(victim.lost_gpu_ms for victim in order.victims),
        )
    ]


def _settle(cycle: Settle, pool: Pool) -> list[Event]:
    if len(cycle.returns) + len(cycle.grants) > SETTLE_MAX:
        raise Invalid(f"at most {SETTLE_MAX} claims are settled at once")
    said: list[Event] = []
    steps: tuple[ReturnClaim | GrantClaim, ...] = (*cycle.returns, *cycle.grants)
    for step in steps:
        for event in decide(step, pool):
            said.append(event)
            pool = evolve(pool, event)
    return said


def checked(book: Book, grant: GrantClaim) -> Claim:
    """The claim that `grant` asks for; a standing claim of the same allocation may cover the same GPUs.

    Raises:
        Rejected: a GPU in it is not there, not of the model, not offered, held, or named twice.
    """
    own = book.claims.get(grant.allocation_id)
    mine = per_node(own.holdings) if own else {}
    taken: dict[int, Bits] = {}
    holdings: list[tuple[int, Bits]] = []
    share = share_of(grant.members[0])
    parts = shares_of(own) if own and own.share_milli < WHOLE_MILLI else {}
    parts = {key: -milli for key, milli in parts.items()}
    for member in grant.members:
        number = book.number.get(member.node_id)
        if number is None:
            _no(grant, f"machine {member.node_id} is not part of pool {grant.pool_id}")
        node = book.nodes[number]
        if node.gpu_model != grant.gpu_model:
            _no(grant, f"machine {node.node_id} has GPUs of {node.gpu_model}, not of {grant.gpu_model}")
        if node.withdrawn is not None and not own:
            _no(grant, f"machine {node.node_id} is withdrawn: {node.withdrawn}")
        mask = mask_of(node, member)
        if mask is None:
            _no(grant, f"machine {node.node_id} does not have all of {', '.join(member.device_ids)}")
        if share_of(member) != share or (share < WHOLE_MILLI and mask.bit_count() != 1):
            _no(grant, "a share is of one GPU for each replica, the same for all of them")
        elsewhere = book.held[number] & ~mine.get(number, 0)
        if share < WHOLE_MILLI:
            if not _has_room(book, number, lowest(mask), share, parts):
                _no(grant, f"{member.device_ids[0]} on machine {node.node_id} has no {share}/1000 free")
        elif mask & (elsewhere | taken.get(number, 0)):
            _no(grant, f"a GPU of {', '.join(member.device_ids)} on machine {node.node_id} is held already")
        if mask & ~(node.offered | mine.get(number, 0)):
            _no(grant, f"a GPU of {', '.join(member.device_ids)} on machine {node.node_id} is not offered")
        taken[number] = taken.get(number, 0) | mask
        holdings.append((number, mask))
    return Claim(
        grant.allocation_id,
        grant.tenant_id,
        grant.project_id,
        grant.gpu_model,
        tuple(holdings),
        share,
        ends_by=grant.ends_by,
        reservation_id=grant.reservation_id,
    )


def _has_room(book: Book, node: int, bit: int, share: int, parts: dict[tuple[int, int], int]) -> bool:
    """Whether that share is free beside what `parts` says (own claims count negative); then it is taken."""
    if book.held[node] >> bit & 1 and bit not in book.used[node]:
        return False
    taken = parts[node, bit] = parts.get((node, bit), 0) + share
    return book.used[node].get(bit, 0) + taken <= WHOLE_MILLI


def _no(grant: GrantClaim, why: str) -> NoReturn:
    raise Rejected(f"no claim for {grant.allocation_id}: {why}", allocation_id=grant.allocation_id)


POOL: Final[Decider[Pool, PoolCommand]] = Decider(initial=EMPTY_POOL, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(
    PoolCapacityAdded, PoolCapacityWithdrawn, ClaimGranted, ClaimReturned, PreemptionOrdered, *BOOKING_EVENTS
)
