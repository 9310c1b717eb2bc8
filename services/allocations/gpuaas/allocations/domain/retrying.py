"""Whether an allocation that ended is asked for again. One law: a retry is an allocation of its own, bounded in number,
that keeps the place of the first in the line.

What ended stays ended and is metered as it ran, so nothing is paid twice and nothing is lost; the new one starts with
an empty history. Preemptions are not counted as attempts: nobody is at fault, and each of them is some other's start.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gpuaas.allocations.domain.asking import forms_in
from gpuaas.common.errors import Invalid
from gpuaas.contracts.allocations import AllocationReleased, AllocationRequested, RetryCause, RetryPolicy

ATTEMPTS_MAX: Final = 10
BACKOFF_MAX_S: Final = 86_400
EVERY_CAUSE: Final[tuple[RetryCause, ...]] = ("failed", "runtime-lost", "node-lost", "preempted")
_MAKES_WAY: Final = frozenset({"preempted", "quota-reclaimed"})


@dataclass(frozen=True, slots=True)
class Retry:
    """What is asked for again.

    Attributes:
        attempt: which attempt it is, the first counted as 1.
        not_before: it does not start earlier; None: at once.
        gpu_ms_max: what is left of the ceiling; None: there is none.
    """

    cause: RetryCause
    attempt: int
    attempts_max: int
    not_before: datetime | None
    gpu_ms_max: int | None
    detail: str


def policy_of(attempts_max: int, backoff_s: int, causes: tuple[RetryCause, ...]) -> RetryPolicy:
    """A policy within its limits.

    Raises:
        Invalid: it is not.
    """
    if not 1 <= attempts_max <= ATTEMPTS_MAX:
        raise Invalid(f"retry.attempts_max must be between 1 and {ATTEMPTS_MAX}, not {attempts_max}", field="retry")
    if not 0 <= backoff_s <= BACKOFF_MAX_S:
        raise Invalid(f"retry.backoff_s must be between 0 and {BACKOFF_MAX_S}, not {backoff_s}", field="retry")
    if not causes:
        raise Invalid(f"retry.causes names no end; use any of {', '.join(EVERY_CAUSE)}", field="retry")
    return RetryPolicy(attempts_max=attempts_max, backoff_s=backoff_s, causes=tuple(dict.fromkeys(causes)))


def cause_of(end: AllocationReleased) -> RetryCause | None:
    """What it ended by, of that which may be tried again; None: an end that somebody wanted."""
    if end.because in _MAKES_WAY:
        return "preempted"
    if end.end_reason == "failed":
        return "failed"
    if end.end_reason == "runtime-lost":
        return "node-lost" if end.because == "node-lost" else "runtime-lost"
    return None


def retry_of(request: AllocationRequested, end: AllocationReleased) -> Retry | None:
    """What follows from this end by the request's own policy; None: nothing, it is over."""
    policy, cause = request.retry, cause_of(end)
    if policy is None or cause is None or cause not in policy.causes:
        return None
    made_way = cause == "preempted"
    attempt = (request.attempt or 1) + (not made_way)
    if attempt > policy.attempts_max:
        return None
    left = _left_of_ceiling(request, end)
    if left == 0:
        return None
    wait_s = 0 if made_way else min(policy.backoff_s * 2 ** (attempt - 2), BACKOFF_MAX_S)
    not_before = end.ended_at + timedelta(seconds=wait_s) if wait_s else None
    return Retry(cause, attempt, policy.attempts_max, not_before, left, _detail(end, cause, attempt, policy, wait_s))


def _detail(end: AllocationReleased, cause: RetryCause, attempt: int, policy: RetryPolicy, wait_s: int) -> str:
    after = f"attempt {attempt} of {policy.attempts_max} starts " + (f"after {wait_s} s" if wait_s else "at once")
    match cause:
        case "preempted":
            return "it made way for other work and waits again at its old place"
        case "failed":
            return f"it failed with exit code {end.exit_code}; {after}"
        case "node-lost":
            return f"its machine is gone; {after}"
        case "runtime-lost":
            return f"the runtime lost it or could not start it; {after}"


def _left_of_ceiling(request: AllocationRequested, end: AllocationReleased) -> int | None:
    """GPU-ms that its ceiling still allows; 0: less than a second of its shape, which is no use to anybody."""
    if request.gpu_ms_max is None:
        return None
    each_second = max(form.shape.gpu_count * form.shape.share_milli for form in forms_in(request))
    held = end.gpu_count * (end.share_milli or 1_000)
    ran = end.ended_at - end.started_at if end.started_at is not None else timedelta(0)
    used = -(-held * (ran // timedelta(microseconds=1)) // 1_000_000)
    left = request.gpu_ms_max - used
    return left if left >= each_second else 0
