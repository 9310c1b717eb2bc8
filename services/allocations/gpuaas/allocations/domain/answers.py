"""What would happen, and why something did not. One law: the same code as the real decision, on a pool in thought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gpuaas.allocations.domain.asking import LEASE_S_MAX
from gpuaas.allocations.domain.book import Book, Node
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.nearest import nearest
from gpuaas.allocations.domain.outlook import Outlook
from gpuaas.allocations.domain.placement import LEAST_FRAGMENTS, NoPlacement, Placement, place
from gpuaas.allocations.domain.pool import POOL, AddCapacity
from gpuaas.allocations.domain.shape import Form, Shape, refuse_absurd
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.common.errors import Invalid
from gpuaas.contracts.allocations import NearestShape

Verdict = Literal["fits-now", "would-wait", "never"]


@dataclass(frozen=True, slots=True)
class Supposed:
    """What a request would meet.

    Attributes:
        reason, detail: why it does not fit now; None when it does.
        placement: where it would go.
        nearest: of what never fits: shapes near it that could.
    """

    verdict: Verdict
    reason: str | None
    detail: str | None
    placement: Placement | None
    nearest: tuple[NearestShape, ...] = ()


def suppose(pool: Pool, shape: Shape, policy: Policy = LEAST_FRAGMENTS, more: Sequence[AddCapacity] = ()) -> Supposed:
    """What `shape` would meet in `pool` with `more` machines. Nobody's place in the line is looked at.

    Raises:
        Invalid: a shape that makes no sense. Rejected: a machine that the pool would refuse.
    """
    refuse_absurd(shape)
    for machine in more:
        pool = POOL.fold(POOL.decide(machine, pool), pool)
    found = place(pool.book, shape, pool.events, policy)
    if isinstance(found, Placement):
        return Supposed("fits-now", None, None, found)
    return _not_now(pool, shape, found, found.reason)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request as the calendar looks at it, without anybody having made it."""

    tenant_id: str
    project_id: str
    shape: Shape
    lease_s: int
    start_at: datetime | None = None
    reservation_id: str | None = None
    forms: tuple[Form, ...] = ()

    @property
    def choices(self) -> tuple[Form, ...]:
        """All shapes that will do, the most wanted first."""
        return self.forms or (Form(self.shape, self.shape.replicas),)


def check(pool: Pool, wanted: Wanted, outlook: Outlook, policy: Policy = LEAST_FRAGMENTS) -> Supposed:
    """What a request would meet now, for as long as it would stand. Nobody's place in the line is looked at.

    Raises:
        Invalid: a shape or a lease that makes no sense.
    """
    for form in wanted.choices:
        refuse_absurd(form.shape)
    if not 1 <= wanted.lease_s <= LEASE_S_MAX:
        raise Invalid(f"lease_s must be between 1 and {LEASE_S_MAX}, not {wanted.lease_s}", field="lease_s")
    if (later := outlook.deferral(wanted, pool)) is not None:
        return Supposed("never" if later.never else "would-wait", later.reason, later.detail, None)
    found = outlook.find(pool, wanted, policy)
    if isinstance(found, Placement):
        return Supposed("fits-now", None, None, found)
    reason = "promised-to-others" if found.promised else found.reason
    return _not_now(pool, wanted.shape, found, reason)


def _not_now(pool: Pool, shape: Shape, found: NoPlacement, reason: str) -> Supposed:
    if not found.forever:
        return Supposed("would-wait", reason, found.detail, None)
    return Supposed("never", reason, found.detail, None, nearest(pool.book, shape))


def why_not(pool: Pool, shape: Shape, node_id: str, held_by_it: bool, policy: Policy = LEAST_FRAGMENTS) -> str:
    """Why a replica of `shape` is not on that machine of the pool, in a sentence."""
    book = pool.book
    number = book.number.get(node_id)
    if number is None:
        return f"machine {node_id} is not part of this pool"
    node = book.nodes[number]
    if held_by_it:
        return f"it is: the allocation holds GPUs of machine {node_id}"
    if (closed := _closed(book, number, node, shape)) is not None:
        return closed
    found = place(book, shape, pool.events, policy)
    if isinstance(found, NoPlacement):
        return f"the machine could take a replica, but not the whole gang fits now: {found.detail}"
    chosen = sorted({member.node_id for member in found.members})
    if node_id in chosen:
        return f"nothing stands in the way now: policy {policy} would choose it"
    return f"it could; policy {policy} prefers {', '.join(chosen[:8])}"


def _closed(book: Book, number: int, node: Node, shape: Shape) -> str | None:
    if node.withdrawn is not None:
        return f"machine {node.node_id} takes no new claims: {node.withdrawn}"
    if shape.gpu_model is not None and node.gpu_model != shape.gpu_model:
        return f"machine {node.node_id} has GPUs of {node.gpu_model}, not of {shape.gpu_model}"
    free = book.free_mask(number).bit_count()
    if shape.is_share:
        part = max((1_000 - used for used in book.used[number].values()), default=0)
        if free or part >= shape.share_milli:
            return None
        return f"machine {node.node_id} has no GPU with {shape.share_milli}/1000 free; the largest part is {part}/1000"
    if node.offered.bit_count() < shape.gpus_per_replica:
        return f"machine {node.node_id} has {node.offered.bit_count()} GPUs, a replica wants {shape.gpus_per_replica}"
    if free < shape.gpus_per_replica:
        return f"machine {node.node_id} has {free} free GPUs now, a replica wants {shape.gpus_per_replica}"
    return None
