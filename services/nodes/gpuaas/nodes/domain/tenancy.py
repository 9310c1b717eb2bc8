"""In whose hands a machine is, and what it takes to leave them. One law: unclean until wiped, and closed until clean.

This is about machines whose isolation is `machine`. Where it is `device`, the runtime scrubs each GPU at its release;
who holds what there is a fold over the pool's claims (`projections/node_claims`), and nothing is recorded here.
"""

from __future__ import annotations

from dataclasses import replace

from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.nodes import (
    NodeAllocated,
    NodeAllocationEnded,
    NodeHoldPlaced,
    NodeSanitizingStarted,
    NodeWiped,
)
from gpuaas.nodes.domain.axes import (
    OWN_NAME,
    TENANCY_HOLD,
    Isolation,
    Lifecycle,
    Node,
    Occupant,
)
from gpuaas.nodes.domain.orders import RecordAllocated, RecordAllocationEnded, RecordWiped


def allocated(node: Node, claim: RecordAllocated) -> list[Event]:
    """A claim was granted: the machine is theirs, and closed from here to its next validation."""
    if node.expected.isolation is Isolation.DEVICE:
        return []
    if claim.pool_position <= node.claims_seen or any(
        each.allocation_id == claim.allocation_id for each in node.occupants
    ):
        return []
    before = node.unclean
    taken = NodeAllocated(
        node_id=node.node_id,
        allocation_id=claim.allocation_id,
        tenant_id=claim.tenant_id,
        project_id=claim.project_id,
        pool_position=claim.pool_position,
        unclean=True if before is not None and before.tenant_id != claim.tenant_id else None,
    )
    if node.hold(TENANCY_HOLD) is not None:
        return [taken]
    cause = "a tenant has the whole machine; it is wiped, looked at and validated before the next one"
    return [
        taken,
        NodeHoldPlaced(node_id=node.node_id, hold_id=TENANCY_HOLD, owner=OWN_NAME, cause=cause, expires_at=None),
    ]


def given_back(node: Node, end: RecordAllocationEnded) -> list[Event]:
    """A claim was returned; after the last one the machine is sanitized, unless it is in other hands by then."""
    if all(each.allocation_id != end.allocation_id for each in node.occupants):
        return []
    ended = NodeAllocationEnded(node_id=node.node_id, allocation_id=end.allocation_id, reason=end.reason[:500])
    if len(node.occupants) > 1 or node.lifecycle not in (Lifecycle.ALLOCATED, Lifecycle.VALIDATING):
        return [ended]
    return [ended, NodeSanitizingStarted(node_id=node.node_id, after_allocation_id=end.allocation_id)]


def wiped(node: Node, proof: RecordWiped) -> list[Event]:
    """The provider's report on a wipe; a second one has nothing to add."""
    if node.lifecycle is not Lifecycle.SANITIZING:
        raise Rejected(f"node {node.node_id} is {node.lifecycle.value}; only a machine that is sanitizing is wiped")
    if node.unclean is None:
        return []
    if node.occupants:
        # A claim that the pool granted just before it closed the machine: what was wiped before is in use again.
        raise Rejected(
            f"allocation {node.occupants[0].allocation_id} got node {node.node_id} meanwhile; wipe it after its end"
        )
    if not 0 <= proof.gpus <= 64 or proof.gpus < node.expected.gpu_count:
        raise Invalid(f"the wipe reports {proof.gpus} GPUs cleared of {node.expected.gpu_count}; wipe all of them")
    return [
        NodeWiped(
            node_id=node.node_id,
            method=proof.method,
            disks=proof.disks,
            gpus=proof.gpus,
            wiped_at=proof.wiped_at,
            report_sha256=proof.report_sha256,
        )
    ]


def sanitizing_again(node: Node) -> list[Event]:
    """A repaired or serviced machine that a tenant left unclean is wiped before it is available.

    Raises:
        Rejected: a tenant still has it.
    """
    assert node.unclean is not None
    if node.occupants:
        raise Rejected(f"allocation {node.occupants[0].allocation_id} still has node {node.node_id}; wait for its end")
    return [NodeSanitizingStarted(node_id=node.node_id, after_allocation_id=node.unclean.allocation_id)]


def with_tenancy(node: Node, event: Event) -> Node:
    """The node after an event about its tenants; other events change nothing here."""
    match event:
        case NodeAllocated() as fact:
            occupant = Occupant(fact.allocation_id, fact.tenant_id)
            return replace(
                node, occupants=(*node.occupants, occupant), unclean=occupant, claims_seen=fact.pool_position
            )
        case NodeAllocationEnded() as fact:
            left = tuple(each for each in node.occupants if each.allocation_id != fact.allocation_id)
            return replace(node, occupants=left)
        case NodeSanitizingStarted():
            return replace(node, look_due=True)
        case NodeWiped() as fact:
            return replace(node, unclean=None, wiped_at=fact.wiped_at)
        case _:
            return node
