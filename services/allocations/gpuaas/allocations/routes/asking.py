"""What a request may say beyond its shape. One law: the domain decides what makes sense; here is the form."""

from __future__ import annotations

from typing import Annotated

from gpuaas.allocations.domain.retrying import EVERY_CAUSE, policy_of
from gpuaas.common.http import Body
from gpuaas.contracts.allocations import RetryCause, RetryPolicy
from pydantic import Field


class AskForRetries(Body):
    """When what ended is asked for again. Each attempt is an allocation of its own: the one that ended names it.

    Attributes:
        attempts_max: attempts at most, the first counted; preempted ones are not.
        backoff_s: seconds before the second attempt, doubled with each further one; none after a preemption.
        causes: after which ends.
    """

    attempts_max: Annotated[int, Field(ge=1, le=10, strict=True)] = 3
    backoff_s: Annotated[int, Field(ge=0, le=86_400, strict=True)] = 30
    causes: Annotated[tuple[RetryCause, ...], Field(min_length=1, max_length=4)] = EVERY_CAUSE

    def policy(self) -> RetryPolicy:
        """As the request's event says it."""
        return policy_of(self.attempts_max, self.backoff_s, self.causes)
