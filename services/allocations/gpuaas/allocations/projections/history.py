"""Why: an allocation's life as its events tell it, with the receipt of its placement. One law: the log's words only.

No table: the answer is read from the log when it is asked for.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Final

from gpuaas.allocations.domain.allocation import ALLOCATION as DECIDER
from gpuaas.allocations.domain.allocation import VOCABULARY as ALLOCATION_WORDS
from gpuaas.allocations.domain.allocation import gpu_count
from gpuaas.allocations.domain.idleness import VOCABULARY as IDLE_WORDS
from gpuaas.allocations.domain.pool import VOCABULARY as POOL_WORDS
from gpuaas.allocations.domain.quote import VOCABULARY as QUOTE_WORDS
from gpuaas.common.envelope import Fact, Recorded
from gpuaas.common.events import Event, Vocabulary, vocabulary_of
from gpuaas.common.projections import decoded
from gpuaas.contracts.allocations import (
    AllocationCommandOrdered,
    AllocationDeferred,
    AllocationIdleEnded,
    AllocationIdleNoticed,
    AllocationLeaseRenewed,
    AllocationNotified,
    AllocationPlaced,
    AllocationPreempted,
    AllocationQueued,
    AllocationRejected,
    AllocationReleased,
    AllocationReleaseRequested,
    AllocationRequested,
    AllocationRetried,
    AllocationStarted,
    ClaimGranted,
    NearestShape,
    Receipt,
    StartQuoted,
)

_WORDS: Final[Vocabulary] = vocabulary_of(ALLOCATION_WORDS.types, POOL_WORDS.types, QUOTE_WORDS.types, IDLE_WORDS.types)


def explained(
    allocation_id: str,
    state: str,
    history: Sequence[Recorded],
    claim: Recorded | None,
    as_of: int | None = None,
) -> dict[str, Any]:
    """The life of one allocation in order, each step with its sentence, cause and position in the log.

    Args:
        as_of: up to this position of the log, with the state that it was in then.
    """
    facts = decoded(_WORDS, [*history, *([claim] if claim is not None else [])])
    facts.sort(key=lambda fact: fact.position)
    if as_of is not None:
        facts = [fact for fact in facts if fact.position <= as_of]
        own = [fact.event for fact in facts if isinstance(fact.event, ALLOCATION_WORDS.types)]
        state = DECIDER.fold(own, DECIDER.initial).name
    granted = next((fact.event for fact in facts if isinstance(fact.event, ClaimGranted)), None)
    return {
        "allocation_id": allocation_id,
        "state": state,
        "why": _why(state, [fact.event for fact in facts]),
        "history": [_step(fact) for fact in facts],
        "nearest": [each.model_dump(mode="json") for each in _nearest_in(facts)],
        "receipt": granted.receipt.model_dump(mode="json") if granted is not None else None,
    }


def _nearest_in(facts: Sequence[Fact]) -> tuple[NearestShape, ...]:
    """Of one that can never be served: the shapes that would do."""
    refusal = next((fact.event for fact in facts if isinstance(fact.event, AllocationRejected)), None)
    return tuple(refusal.nearest or ()) if refusal is not None else ()


def _why(state: str, events: Sequence[Event]) -> str:
    """The last that happened; of who waits also when it is expected to start."""
    happened = [event for event in events if not isinstance(event, StartQuoted)]
    quotes = [event for event in events if isinstance(event, StartQuoted)] if state in ("requested", "queued") else []
    return "; ".join(sentence(said) for said in (*happened[-1:], *quotes[-1:]))


def _step(fact: Fact) -> dict[str, Any]:
    return {
        "position": fact.position,
        "time": fact.envelope.time,
        "event_id": fact.envelope.id,
        "type": fact.envelope.type,
        "what": sentence(fact.event),
        "actor": fact.envelope.actor,
        "actor_kind": fact.envelope.actorkind,
        "caused_by": fact.envelope.causationid,
    }


def sentence(event: Event) -> str:
    """An event in words."""
    match event:
        case AllocationRequested() as ask:
            model = ask.gpu_model or (" or ".join(ask.gpu_models) if ask.gpu_models else "any model")
            share = f" (a share of {ask.share_milli}/1000 of each)" if ask.share_milli else ""
            again = f"; attempt {ask.attempt or 1}, goes on for {ask.retry_of}" if ask.retry_of else ""
            fewest = f" (at least {ask.replicas_min})" if ask.replicas_min else ""
            others = f", or {len(ask.alternatives)} other shapes" if ask.alternatives else ""
            wanted = f"{ask.replicas}{fewest} × {ask.gpus_per_replica} GPUs of {model}{share}{others}"
            most = ""
            if (cost := ask.cost_max) is not None:
                most = f", for at most {cost.amount} {cost.currency} at {cost.price_per_gpu_hour} a GPU-hour"
            return f"{wanted} asked for, priority {ask.priority}{most}{again}"
        case AllocationQueued() as waiting:
            return f"waits ({waiting.pending_reason}): {waiting.detail}"
        case AllocationDeferred() as later:
            return f"its time has not come ({later.reason}): {later.detail}"
        case AllocationIdleNoticed() as idle:
            seen = f"{idle.samples} samples below {idle.below_percent} %, by {idle.source}"
            return (
                f"none of its GPUs has been used since {idle.idle_since.isoformat()} ({seen}); "
                f"taken back at {idle.reclaim_at.isoformat()} if that stays so"
            )
        case AllocationIdleEnded() as over:
            return f"not taken back for idleness: {over.why}"
        case StartQuoted() as quote:
            return _expected(quote)
        case AllocationRejected() as refusal:
            return f"turned down ({refusal.reason}): {refusal.detail}{_instead(refusal.nearest)}"
        case ClaimGranted() as claim:
            return f"{gpu_count(claim.members)} GPUs of {claim.gpu_model} granted. {_chosen(claim.receipt)}"
        case AllocationPlaced() as placed:
            machines = {member.node_id for member in placed.members}
            return f"placed on {len(machines)} machine(s): {', '.join(sorted(machines)[:8])}"
        case AllocationStarted() as started:
            return f"started at {started.started_at.isoformat()}"
        case AllocationCommandOrdered() as order:
            return f"command run beside it: {shlex.join(order.command)[:200]}"
        case AllocationLeaseRenewed() as renewal:
            return f"lease renewed: {renewal.lease_s} s from the start"
        case AllocationNotified() as notice:
            return f"will be ended at {notice.ends_at.isoformat()}: {notice.detail}"
        case AllocationReleaseRequested() as release:
            known = release.because or ("node-lost" if release.lost_node_id else "idle" if release.idle_since else None)
            because = f", {known}" if known else ""
            detail = f": {release.detail}" if release.detail else ""
            return f"release asked for ({release.reason}{because}){detail}"
        case AllocationPreempted() as order:
            return f"ended early ({order.cause}): {order.detail}"
        case AllocationReleased() as end:
            code = "" if end.exit_code is None else f", exit code {end.exit_code}"
            because = f", {end.because}" if end.because else ""
            detail = f": {end.detail}" if end.detail else ""
            return f"ended at {end.ended_at.isoformat()} ({end.end_reason}{because}{code}){detail}"
        case AllocationRetried() as retry:
            return f"asked for again as {retry.retry_allocation_id} ({retry.cause}): {retry.detail}"
        case _:
            return event.TYPE


def _instead(nearest: Sequence[NearestShape] | None) -> str:
    """The shapes that would do, in words."""
    told = [
        f"{each.replicas} × "
        + (f"{each.share_milli}/1000 GPU" if each.share_milli else f"{each.gpus_per_replica} GPUs")
        + f" of {each.gpu_model or 'any model'} ({each.change})"
        for each in nearest or ()
    ]
    return f"; possible would be {', '.join(told)}" if told else ""


def _expected(quote: StartQuoted) -> str:
    if quote.p50_at is None:
        return "no start is foreseen"
    surely = f"in nine cases of ten by {quote.p90_at.isoformat()}" if quote.p90_at else "it may be much later"
    return f"expected to start by {quote.p50_at.isoformat()}, {surely}; {quote.requests_ahead} request(s) before it"


def _chosen(receipt: Receipt) -> str:
    left_out = ", ".join(f"{e.nodes} {e.reason}" for e in receipt.exclusions) or "none"
    second = f"; runner-up {receipt.runner_up_node_id}" if receipt.runner_up_node_id else ""
    return (
        f"Policy {receipt.policy} on version {receipt.pool_version} of the pool: {receipt.nodes_considered} machines "
        f"considered, left out: {left_out}; score {receipt.score}{second}{_rather(receipt)}"
    )


def _rather(receipt: Receipt) -> str:
    """What would have been liked better."""
    fewer = f"; up to {receipt.replicas_wanted} members were wanted" if receipt.replicas_wanted else ""
    passed = [f"{each.wanted} ({each.reason}: {each.detail})" for each in receipt.passed_over or ()]
    return fewer + (f"; passed over: {'; '.join(passed)}" if passed else "")
