"""What a tenant and its projects are entitled to in a pool. One law: projects divide what the tenant has, no more.

An entitlement (`nominal`) goes before everything borrowed; borrowing is using what others leave idle, up to a limit of
one's own. A scope that nobody named is entitled to nothing and may borrow: no default gives what nobody decided on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from gpuaas.allocations.domain.book import Book
from gpuaas.allocations.domain.shape import WHOLE_MILLI, Shape
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event, Vocabulary, first_complaint
from gpuaas.contracts.allocations import QuotaSet
from pydantic import ValidationError

Scope = tuple[str, str, str | None]
"""(tenant, GPU model, project); without a project the tenant as a whole."""
Standing = Literal["within", "borrows", "exhausted", "never"]


@dataclass(frozen=True, slots=True)
class SetQuota:
    """Entitle a tenant, or a project of it."""

    tenant_id: str
    pool_id: str
    project_id: str | None
    gpu_model: str
    nominal_gpus: int
    borrow_gpus: int | None
    weight: int
    reason: str


Entitled = Mapping[tuple[str, str | None], QuotaSet]
"""One tenant's quotas in one pool, by (GPU model, project)."""


def decide(order: SetQuota, standing: Entitled) -> list[Event]:
    """The quota, or nothing where it stands so already.

    Raises:
        Rejected: the projects together would have more than the tenant. Invalid: a number out of its range.
    """
    try:
        said = QuotaSet(
            tenant_id=order.tenant_id,
            pool_id=order.pool_id,
            project_id=order.project_id,
            gpu_model=order.gpu_model,
            nominal_gpus=order.nominal_gpus,
            borrow_gpus=order.borrow_gpus,
            weight=order.weight,
            reason=order.reason,
        )
    except ValidationError as refused:
        raise Invalid(first_complaint(refused)) from refused
    key = (said.gpu_model, said.project_id)
    if standing.get(key) == said:
        return []
    after = {**standing, key: said}
    whole = after.get((said.gpu_model, None))
    parts = sum(q.nominal_gpus for (model, project), q in after.items() if model == said.gpu_model and project)
    if parts > (whole.nominal_gpus if whole else 0):
        raise Rejected(
            f"the projects of {said.tenant_id} would have {parts} GPUs of {said.gpu_model} together, the tenant has "
            f"{whole.nominal_gpus if whole else 0}; change those of other projects first"
        )
    return [said]


def evolve(standing: Entitled, event: Event) -> Entitled:
    """The tenant's quotas after `event`."""
    assert isinstance(event, QuotaSet), event.TYPE
    return {**standing, (event.gpu_model, event.project_id): event}


QUOTA: Final[Decider[Entitled, SetQuota]] = Decider(initial={}, decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(QuotaSet)


def milli_of(shape: Shape) -> int:
    """What a shape wants, in thousandths of GPUs."""
    return shape.gpu_count * shape.share_milli


@dataclass(slots=True)
class Usage:
    """Who holds how much in one pool beside what they are entitled to; grants in thought are added."""

    quotas: Mapping[Scope, QuotaSet]
    held: Counter[Scope] = field(default_factory=Counter)
    lately: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, quotas: Mapping[Scope, QuotaSet], book: Book, lately: Mapping[tuple[str, str], float] | None = None
    ) -> Usage:
        """`lately`: thousandths that each tenant held of a model on average, where past use counts."""
        return cls(quotas, Counter(book.in_use), lately or {})

    def add(self, tenant_id: str, project_id: str, model: str, milli: int) -> None:
        self.held[tenant_id, model, None] += milli
        self.held[tenant_id, model, project_id] += milli

    def standing(self, tenant_id: str, project_id: str, model: str, milli: int) -> Standing:
        """How a request for that much stands: the worse of tenant and project."""
        worst: Standing = "within"
        for scope in ((tenant_id, model, None), (tenant_id, model, project_id)):
            said = self.quotas.get(scope)
            if said is None and scope[2] is not None:
                continue
            nominal = WHOLE_MILLI * said.nominal_gpus if said else 0
            if self.held[scope] + milli <= nominal:
                continue
            if said is not None and said.borrow_gpus is not None:
                most = nominal + WHOLE_MILLI * said.borrow_gpus
                if milli > most:
                    return "never"
                if self.held[scope] + milli > most:
                    worst = "exhausted"
                    continue
            if worst == "within":
                worst = "borrows"
        return worst

    def share(self, tenant_id: str, model: str) -> float:
        """What a tenant holds beyond its entitlement, and held lately, by its weight: who has less borrows first."""
        said = self.quotas.get((tenant_id, model, None))
        nominal = WHOLE_MILLI * said.nominal_gpus if said else 0
        now = max(self.held[tenant_id, model, None] - nominal, 0)
        past = max(self.lately.get((tenant_id, model), 0.0) - nominal, 0.0)
        return (now + past) / (said.weight if said else 1)

    def told(self, tenant_id: str, project_id: str, model: str, milli: int) -> str:
        """Where a request stands, in a sentence."""
        parts = []
        for scope, name in (((tenant_id, model, None), "the tenant"), ((tenant_id, model, project_id), "the project")):
            if (said := self.quotas.get(scope)) is not None:
                more = "" if said.borrow_gpus is None else f" and may borrow {said.borrow_gpus}"
                parts.append(f"{name} has {said.nominal_gpus}{more} and holds {_gpus(self.held[scope])}")
        return f"{_gpus(milli)} GPUs of {model} are wanted; {', '.join(parts)}"


def _gpus(milli: int) -> str:
    return f"{milli / WHOLE_MILLI:g}"
