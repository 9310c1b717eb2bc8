"""Machines the books expect, and what only one of them can have. One law: no serial or rack slot is in two plans.

A plan and what it claims are appended in one atomic batch: `PLAN` says what is expected, one `CLAIM` for each serial
number and rack slot says whose it is. `claims_of` names the claims; who gives the orders takes new ones and frees old
ones together with the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import derived_id, is_name
from gpuaas.contracts.inventory import (
    MachinePlanned,
    MachinePlanWithdrawn,
    PlanClaimFreed,
    PlanClaimTaken,
    Topology,
)
from gpuaas.inventory.domain.sku import Sku

REASON_MAX: Final = 500
PLAN_VOCABULARY: Final = Vocabulary(MachinePlanned, MachinePlanWithdrawn)
CLAIM_VOCABULARY: Final = Vocabulary(PlanClaimTaken, PlanClaimFreed)


@dataclass(frozen=True, slots=True)
class Plan:
    """A machine that is expected.

    Attributes:
        gpu_model, gpu_count: what the SKU's version says.
        machine_serial: None: not known yet.
        rack_slot: lowest rack unit, from 1; None: not decided.
        nvlink_domain: None: its GPUs are not linked with others.
    """

    machine_id: str
    sku_id: str
    sku_version: int
    gpu_model: str
    gpu_count: int
    pool_id: str
    topology: Topology
    machine_serial: str | None = None
    rack_slot: int | None = None
    nvlink_domain: str | None = None


@dataclass(frozen=True, slots=True)
class Unplanned:
    """Nothing is expected under this id."""


PlanState: TypeAlias = Unplanned | Plan


@dataclass(frozen=True, slots=True)
class PlanMachine:
    """Expect a machine; a changed plan replaces the old one.

    Attributes:
        sku: the SKU's history, for what its version says.
        sku_version: None: the newest that takes plans.
        replaces: the plan that the claims beside this order were reckoned from.
    """

    machine_id: str
    sku_id: str
    sku_version: int | None
    sku: Sku
    pool_id: str
    topology: Topology
    machine_serial: str | None
    rack_slot: int | None
    replaces: PlanState


@dataclass(frozen=True, slots=True)
class WithdrawPlan:
    """Expect it no longer; `replaces` as in `PlanMachine`."""

    machine_id: str
    reason: str
    replaces: PlanState


PlanCommand: TypeAlias = PlanMachine | WithdrawPlan


def decide_plan(command: PlanCommand, state: PlanState) -> Sequence[Event]:
    match state, command:
        case _, (PlanMachine() | WithdrawPlan()) as order if order.replaces != state:
            raise Rejected(f"the plan of {order.machine_id} has just changed; look at it and send this again")
        case _, PlanMachine() as order:
            plan = planned(order, state)
            return [] if plan == state else [_said(plan)]
        case Unplanned(), WithdrawPlan() as order:
            raise NotFound(f"no machine is planned as {order.machine_id}; there is nothing to withdraw")
        case Plan(), WithdrawPlan() as order:
            if not 1 <= len(order.reason) <= REASON_MAX:
                raise Invalid(f"reason has {len(order.reason)} characters; say it in 1 to {REASON_MAX}")
            return [MachinePlanWithdrawn(machine_id=order.machine_id, reason=order.reason)]
        case _:
            raise Rejected(f"a plan cannot {type(command).__name__}")


def planned(order: PlanMachine, state: PlanState) -> Plan:
    """The plan that the order comes to.

    Raises:
        NotFound: no such SKU or version.
        Rejected: the version takes no new plans.
    """
    sku = order.sku
    for name, value in (("machine_id", order.machine_id), ("pool_id", order.pool_id)):
        if not is_name(value):
            raise Invalid(f"{name} {value!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    if not sku.bills:
        raise NotFound(f"there is no SKU {order.sku_id}; publish it first, see GET /v1/skus")
    version = order.sku_version if order.sku_version is not None else sku.newest
    if version is None:
        raise Rejected(f"every version of {order.sku_id} is retired; publish the next one")
    if (bill := sku.bill(version)) is None:
        raise NotFound(f"{order.sku_id} has no version {version}; it has {len(sku.bills)}")
    kept = isinstance(state, Plan) and (state.sku_id, state.sku_version) == (order.sku_id, version)
    if version in sku.retired and not kept:
        raise Rejected(f"version {version} of {order.sku_id} is retired; the newest that takes plans is {sku.newest}")
    domains = {"none": None, "machine": order.machine_id, "rack": rack_domain(order.topology)}
    return Plan(
        machine_id=order.machine_id,
        sku_id=order.sku_id,
        sku_version=version,
        gpu_model=bill.gpu_model,
        gpu_count=bill.gpu_count,
        pool_id=order.pool_id,
        topology=order.topology,
        machine_serial=order.machine_serial,
        rack_slot=order.rack_slot,
        nvlink_domain=domains[bill.nvlink_scope],
    )


def rack_domain(place: Topology) -> str:
    """The NVLink domain that a whole rack is; racks of one name stand in several pods, so it is derived."""
    whole = "/".join((place.region, place.site, place.pod, place.rack))
    return f"rack-{derived_id('nvlink-rack', whole).replace('-', '')[-16:]}"


def _said(plan: Plan) -> MachinePlanned:
    return MachinePlanned(
        machine_id=plan.machine_id,
        sku_id=plan.sku_id,
        sku_version=plan.sku_version,
        gpu_model=plan.gpu_model,
        gpu_count=plan.gpu_count,
        pool_id=plan.pool_id,
        machine_serial=plan.machine_serial,
        topology=plan.topology,
        rack_slot=plan.rack_slot,
        nvlink_domain=plan.nvlink_domain,
    )


def evolve_plan(state: PlanState, event: Event) -> PlanState:
    match event:
        case MachinePlanned() as fact:
            return Plan(
                machine_id=fact.machine_id,
                sku_id=fact.sku_id,
                sku_version=fact.sku_version,
                gpu_model=fact.gpu_model,
                gpu_count=fact.gpu_count,
                pool_id=fact.pool_id,
                topology=fact.topology,
                machine_serial=fact.machine_serial,
                rack_slot=fact.rack_slot,
                nvlink_domain=fact.nvlink_domain,
            )
        case MachinePlanWithdrawn():
            return Unplanned()
        case _:
            raise Unreadable(f"{event.TYPE} does not belong to a plan's history")


PLAN: Final[Decider[PlanState, PlanCommand]] = Decider(initial=Unplanned(), decide=decide_plan, evolve=evolve_plan)


# -- what only one plan can have -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Claimable:
    """A serial number, or a place in a rack as region/site/pod/rack/slot."""

    kind: Literal["serial", "slot"]
    value: str

    @property
    def claim_id(self) -> str:
        return f"{self.kind}-{derived_id('plan-claim', self.kind, self.value).replace('-', '')[-16:]}"


def claims_of(state: PlanState) -> frozenset[Claimable]:
    """What a plan has for itself alone."""
    if isinstance(state, Unplanned):
        return frozenset()
    found: set[Claimable] = set()
    if state.machine_serial is not None:
        found.add(Claimable("serial", state.machine_serial))
    if state.rack_slot is not None:
        place = state.topology
        where = (place.region, place.site, place.pod, place.rack, str(state.rack_slot))
        found.add(Claimable("slot", "/".join(where)))
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose it is; None: nobody's."""

    machine_id: str | None = None


@dataclass(frozen=True, slots=True)
class TakeClaim:
    thing: Claimable
    machine_id: str


@dataclass(frozen=True, slots=True)
class FreeClaim:
    thing: Claimable
    machine_id: str


ClaimCommand: TypeAlias = TakeClaim | FreeClaim


def decide_claim(command: ClaimCommand, claim: Claim) -> Sequence[Event]:
    thing = command.thing
    match command:
        case TakeClaim() as order if claim.machine_id == order.machine_id:
            return []
        case TakeClaim() if claim.machine_id is not None:
            raise Rejected(f"{thing.kind} {thing.value} is planned for {claim.machine_id}; change that plan first")
        case TakeClaim() as order:
            return [
                PlanClaimTaken(claim_id=thing.claim_id, kind=thing.kind, value=thing.value, machine_id=order.machine_id)
            ]
        case FreeClaim() as order if claim.machine_id == order.machine_id:
            return [PlanClaimFreed(claim_id=thing.claim_id, machine_id=order.machine_id)]
        case FreeClaim():
            return []
    raise Rejected(f"a claim cannot {type(command).__name__}")


def evolve_claim(claim: Claim, event: Event) -> Claim:
    match event:
        case PlanClaimTaken() as fact:
            return Claim(fact.machine_id)
        case PlanClaimFreed():
            return Claim()
        case _:
            raise Unreadable(f"{event.TYPE} does not belong to a claim's history")


CLAIM: Final[Decider[Claim, ClaimCommand]] = Decider(initial=Claim(), decide=decide_claim, evolve=evolve_claim)
