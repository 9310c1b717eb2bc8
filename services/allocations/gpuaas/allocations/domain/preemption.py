"""Who makes way for whom. One law: only rank ends work, rank never turns round, and nothing ends in vain or twice.

Work has a rank. Where a pool has quotas: what stands within its quota outranks everything that borrows, and is never
ended. A claim stands within the quota when it and all older claims of its tenant (and of its project, where that has a
part) fit into it together: later grants cannot take that away, returns can only give it. Among what borrows, and in a
pool without quotas, the higher priority outranks the lower that said it may be preempted. One that gains ranks
strictly higher than all its victims, so no chain of preemptions closes into a circle, whatever comes and goes.

Of all sets of victims that let the whole gang start, the one that loses least GPU-time is wanted. For one replica that
is exact: on each machine the cheapest claims that free enough (a knapsack over its few claims), of all machines the
cheapest. For a gang replicas are added one by one where the next costs least beside what is ended already; then every
victim without which the gang still fits is let off, the dearest first. All or nothing: no order without a placement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from gpuaas.allocations.domain.book import Book, Claim
from gpuaas.allocations.domain.capacity import Pool, per_node
from gpuaas.allocations.domain.foresight import without
from gpuaas.allocations.domain.placement import DOMAINS_MAX, LEAST_FRAGMENTS, Placement, place
from gpuaas.allocations.domain.pool import OrderPreemption
from gpuaas.allocations.domain.queue import Kept, Waiting
from gpuaas.allocations.domain.quota import Scope, Usage, milli_of
from gpuaas.allocations.domain.room import Bits, members
from gpuaas.allocations.domain.rules import Rules
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Shape
from gpuaas.allocations.domain.sharing import Policy
from gpuaas.contracts.allocations import PreemptionCause, QuotaSet, Victim

VICTIMS_MAX: Final = 256
"""Allocations that one order ends."""


@dataclass(frozen=True, slots=True)
class Running:
    """A claim's work: what it said of itself, and since when it runs."""

    priority: int
    preemptible: bool | None
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of it.

    Attributes:
        order: None: nobody can make way now.
        again_at: when work that may be ended then has run long enough; None: waiting for that is no use.
    """

    order: OrderPreemption | None
    again_at: datetime | None = None


def make_way(
    pool_id: str,
    pool: Pool,
    head: Waiting,
    model: str,
    quotas: Mapping[Scope, QuotaSet],
    running: Mapping[str, Running],
    ending: Collection[str],
    rules: Rules,
    now: datetime,
    kept: Mapping[str, Kept] | None = None,
    policy: Policy = LEAST_FRAGMENTS,
    promised: Mapping[int, Bits] | None = None,
) -> Decided:
    """Whose work ends so that `head`, which does not fit now, can start on GPUs of `model`.

    Args:
        running: allocations that run.
        ending: those of them that are on their way out: what they hold counts as free, for it will be.
        kept: what is kept for others; never freed for `head`.
        promised: GPUs, by node, that the calendar promises to others before `head` would end; of no use to it.
    """
    if rules.preemption == "off" or head.allocation_id in pool.book.promises:
        return Decided(None)
    shape = head.least_of(model)
    leaving = {*ending, *(victim for promise in pool.book.promises.values() for victim in promise.victims)}
    version = pool.events
    cause, may_end = _right(pool.book, head, model, milli_of(shape), quotas, rules)
    if cause is None:
        return Decided(None)
    ripe: dict[str, int] = {}
    again_at: datetime | None = None
    for claim in pool.book.claims.values():
        work = running.get(claim.allocation_id)
        if (
            work is None
            or claim.gpu_model != model
            or claim.reservation_id is not None
            or claim.allocation_id in leaving
            or not may_end(claim, work)
        ):
            continue
        ripens = work.started_at + rules.min_run
        if ripens <= now:
            ripe[claim.allocation_id] = lost_ms(claim, work, now)
        elif again_at is None or ripens < again_at:
            again_at = ripens
    if not ripe:
        return Decided(None, again_at)
    others = {name: keep.nodes for name, keep in (kept or {}).items() if keep.allocation_id != head.allocation_id}
    for name in leaving:
        pool = pool.returned(name)
    taken = promised or {}
    if isinstance(place(without(pool, taken).book, shape, version, policy, others), Placement):
        return Decided(None)  # What is on its way out is enough.
    found = _cheapest(pool, shape, ripe, others, policy, taken)
    if found is None:
        return Decided(None, again_at)
    victims, placement = found
    nodes = sorted({member.node_id for member in placement.members})
    ended = tuple(_victim(pool.book.claims[name], ripe[name]) for name in victims)
    return Decided(OrderPreemption(pool_id, head.allocation_id, cause, model, tuple(nodes), ended, version))


def lost_ms(claim: Claim, work: Running, now: datetime) -> int:
    """GPU-milliseconds that the work has done so far: what its end may lose."""
    ran_ms = max(0, (now - work.started_at) // timedelta(milliseconds=1))
    return claim.milli * ran_ms // WHOLE_MILLI


def _victim(claim: Claim, lost: int) -> Victim:
    return Victim(
        allocation_id=claim.allocation_id, tenant_id=claim.tenant_id, project_id=claim.project_id, lost_gpu_ms=lost
    )


# -- rank ----------------------------------------------------------------------------------------------------------


def _right(
    book: Book, head: Waiting, model: str, milli: int, quotas: Mapping[Scope, QuotaSet], rules: Rules
) -> tuple[PreemptionCause | None, Callable[[Claim, Running], bool]]:
    """By what right `head` may end work, and which."""
    covered = within_quota(book.claims.values(), model, quotas) if quotas else frozenset[str]()

    def lower(claim: Claim, work: Running) -> bool:
        gives_way = work.preemptible is True and work.priority < head.priority
        return gives_way and claim.allocation_id not in covered

    def lent(claim: Claim, work: Running) -> bool:
        return work.preemptible is not False and claim.allocation_id not in covered

    if quotas:
        usage = Usage.of(quotas, book)
        if usage.standing(head.tenant_id, head.project_id, model, milli) == "within":
            return "quota-reclaimed", lent
    if rules.preemption == "reclaim-and-priority":
        return "preempted", lower
    return None, lower


def within_quota(claims: Iterable[Claim], model: str, quotas: Mapping[Scope, QuotaSet]) -> frozenset[str]:
    """The claims on `model` that stand within their quota, of the tenant and of the project: the oldest first."""
    used: defaultdict[Scope, int] = defaultdict(int)
    covered: set[str] = set()
    for claim in sorted((claim for claim in claims if claim.gpu_model == model), key=lambda claim: claim.since):
        fits = True
        for scope in ((claim.tenant_id, model, None), (claim.tenant_id, model, claim.project_id)):
            said = quotas.get(scope)
            if said is None and scope[2] is not None:
                continue
            used[scope] += claim.milli
            fits = fits and used[scope] <= WHOLE_MILLI * (said.nominal_gpus if said else 0)
        if fits:
            covered.add(claim.allocation_id)
    return frozenset(covered)


# -- whose work it costs least to end ------------------------------------------------------------------------------


def _cheapest(
    pool: Pool,
    shape: Shape,
    ripe: Mapping[str, int],
    others: Mapping[str, Bits],
    policy: Policy,
    taken: Mapping[int, Bits],
) -> tuple[list[str], Placement] | None:
    assert shape.gpu_model is not None
    best: tuple[list[str], Placement] | None = None
    for among in _domains(pool.book, shape):
        allowed = among & ~others.get(shape.gpu_model, 0)
        chosen = _greedy(pool.book, shape, ripe, allowed, taken)
        if not chosen or len(chosen) > VICTIMS_MAX:
            continue
        if (found := _spared(pool, shape, chosen, ripe, allowed, policy, taken)) is not None and (
            best is None or _lost(found[0], ripe) < _lost(best[0], ripe)
        ):
            best = found
    return best


def _lost(victims: Iterable[str], ripe: Mapping[str, int]) -> int:
    return sum(ripe[name] for name in victims)


def _domains(book: Book, shape: Shape) -> Sequence[Bits]:
    """Sets of machines of which one must hold the whole gang."""
    assert shape.gpu_model is not None
    rooms = book.models[shape.gpu_model]
    if shape.topology_mode != "required" or shape.topology_level is None or shape.replicas == 1:
        return [rooms.free.with_at_least(0)]
    able = islice(rooms.size.tightest(shape.topology_level, shape.gpus_per_replica, shape.replicas), DOMAINS_MAX)
    return [book.standing_in(shape.topology_level, domain) & rooms.free.with_at_least(0) for domain in able]


def _greedy(book: Book, shape: Shape, ripe: Mapping[str, int], allowed: Bits, taken: Mapping[int, Bits]) -> list[str]:
    """Victims that make room for all replicas, each added where it costs least beside those before it."""
    on_node: defaultdict[int, dict[str, Bits]] = defaultdict(dict)
    for name in ripe:
        for number, mask in per_node(book.claims[name].holdings).items():
            if allowed >> number & 1:
                on_node[number][name] = mask
    chosen: set[str] = set()
    placed: dict[int, int] = {}
    offers: dict[int, tuple[int, frozenset[str]] | None] = {}
    touched: Iterable[int] = members(allowed)
    for _ in range(shape.replicas):
        for number in touched:
            wanted = placed.get(number, 0) + 1
            closed = taken.get(number, 0)
            offers[number] = _offer(book, number, on_node.get(number, {}), chosen, ripe, shape, wanted, closed)
        able = [(offer[0], len(offer[1]), number) for number, offer in offers.items() if offer is not None]
        if not able:
            return []
        _, _, number = min(able)
        offer = offers[number]
        assert offer is not None
        placed[number] = placed.get(number, 0) + 1
        touched = {number} | {n for name in offer[1] for n, _ in book.claims[name].holdings if allowed >> n & 1}
        chosen |= offer[1]
    return sorted(chosen, key=lambda name: (ripe[name], name))


def _offer(
    book: Book,
    number: int,
    claims: Mapping[str, Bits],
    chosen: set[str],
    ripe: Mapping[str, int],
    shape: Shape,
    wanted: int,
    closed: Bits,
) -> tuple[int, frozenset[str]] | None:
    """What it costs to have room for `wanted` replicas on a machine, beside what is ended already; and by whom."""
    extra = [name for name in sorted(claims, key=lambda name: (ripe[name], name)) if name not in chosen]
    if shape.is_share:
        for count in range(len(extra) + 1):
            free, parts = _after(book, number, claims, chosen | set(extra[:count]), closed)
            each = shape.share_milli
            if free.bit_count() * (WHOLE_MILLI // each) + sum(part // each for part in parts) >= wanted:
                return _lost(extra[:count], ripe), frozenset(extra[:count])
        return None
    free, _ = _after(book, number, claims, chosen, closed)
    missing = max(0, wanted * shape.gpus_per_replica - free.bit_count())
    best: dict[int, tuple[int, frozenset[str]]] = {0: (0, frozenset())}
    for names in _ends(book, number, claims, extra):
        gives = (_after(book, number, claims, chosen | names, closed)[0] & ~free).bit_count()
        for have, (_, before) in sorted(best.items(), reverse=True):
            more = min(have + gives, missing)
            cost = _lost(before | names, ripe)
            if more > have and (more not in best or cost < best[more][0]):
                best[more] = (cost, before | names)
    return best.get(missing)


def _ends(book: Book, number: int, claims: Mapping[str, Bits], extra: Iterable[str]) -> list[frozenset[str]]:
    """What can end on a machine to free whole GPUs: one claim each, or all that share a GPU."""
    whole = [frozenset({name}) for name in extra if book.claims[name].share_milli == WHOLE_MILLI]
    sharing: defaultdict[int, set[str]] = defaultdict(set)
    for name in extra:
        if book.claims[name].share_milli < WHOLE_MILLI:
            for bit in members(claims[name]):
                sharing[bit].add(name)
    return [*whole, *(frozenset(names) for names in sharing.values())]


def _after(book: Book, number: int, claims: Mapping[str, Bits], gone: set[str], closed: Bits) -> tuple[Bits, list[int]]:
    """A machine's free GPUs, and the free parts of its shared ones, once those of `gone` that stand on it ended.

    What is `closed` counts for nothing.
    """
    offered, used = book.nodes[number].offered & ~closed, dict(book.used[number])
    free = book.free_mask(number) & ~closed
    for name in gone & claims.keys():
        claim = book.claims[name]
        if claim.share_milli == WHOLE_MILLI:
            free |= claims[name] & offered
            continue
        for node, mask in claim.holdings:
            bit = mask.bit_length() - 1
            if node == number:
                used[bit] -= claim.share_milli
                free |= offered & mask if not used[bit] else 0
    parts = [WHOLE_MILLI - milli for bit, milli in used.items() if 0 < milli < WHOLE_MILLI and offered >> bit & 1]
    return free, parts


def _spared(
    pool: Pool,
    shape: Shape,
    chosen: Sequence[str],
    ripe: Mapping[str, int],
    allowed: Bits,
    policy: Policy,
    taken: Mapping[int, Bits],
) -> tuple[list[str], Placement] | None:
    """The victims without those that are not needed, and where the gang then goes; None: it fits nowhere."""

    def fits(victims: Iterable[str]) -> Placement | None:
        after = pool
        for name in victims:
            after = after.returned(name)
        sight = without(after, taken)
        found = place(sight.book, shape, pool.events, policy, {shape.gpu_model or "": ~allowed})
        return found if isinstance(found, Placement) else None

    left = list(chosen)
    placement = fits(left)
    if placement is None:
        return None
    for name in sorted(chosen, key=lambda name: (-ripe[name], name)):
        fewer = [each for each in left if each != name]
        if (found := fits(fewer)) is not None:
            left, placement = fewer, found
    return left, placement
