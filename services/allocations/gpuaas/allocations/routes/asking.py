"""What a request may say beyond its shape. One law: the domain decides what makes sense; here is the form."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from gpuaas.allocations.domain.orders import RequestAllocation
from gpuaas.allocations.domain.price_list import PriceList, ceiling_of
from gpuaas.allocations.domain.retrying import EVERY_CAUSE, policy_of
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Shape, forms_of
from gpuaas.allocations.reactions import POOL
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.http import Body
from gpuaas.common.service import Service
from gpuaas.contracts.allocations import Label, RetryCause, RetryPolicy, TopologyLevel, TopologyMode
from pydantic import Field

Count = Annotated[int, Field(strict=True)]


class AlternativeShape(Body):
    """Another shape that will do, as in the request itself; granted whole or not at all.

    Attributes:
        gpu_model: absent: any model of the pool.
    """

    gpu_model: Label | None = None
    replicas: Count = 1
    gpus_per_replica: Count
    share_milli: Count = WHOLE_MILLI
    topology_level: TopologyLevel | None = None
    topology_mode: TopologyMode | None = None

    def shape(self) -> Shape:
        """As the domain knows it."""
        level, mode = self.topology_level, self.topology_mode
        return Shape(self.gpu_model, self.replicas, self.gpus_per_replica, level, mode, self.share_milli)


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


async def priced(
    service: Service, prices: PriceList, ask: RequestAllocation, amount: Decimal, currency: str
) -> RequestAllocation:
    """The request with its ceiling in money turned into one in GPU-time.

    Raises:
        Rejected: a model that will do has no price in that currency.
    """
    forms = forms_of(ask.shape, ask.gpu_models, ask.replicas_min, ask.alternatives)
    models = {form.shape.gpu_model for form in forms}
    if None in models:
        pool, _ = await service.commands.state(POOL, PLATFORM, ask.pool_id)
        models |= set(pool.book.models)
    named = {model for model in models if model is not None}
    since = ask.start_at or service.clock.now()
    said, left = ceiling_of(prices, amount, currency, named, since, ask.gpu_ms_max)
    return replace(ask, cost_max=said, gpu_ms_max=left)
