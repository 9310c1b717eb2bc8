"""How a tenant is taxed. One law: a profile that cannot stand on an invoice is refused when it is set."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gpuaas.billing.domain.taxes import UNTAXED, Tax, TaxCategory
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid
from gpuaas.common.events import Event
from gpuaas.contracts.billing import TaxProfileSet

REASON_NEEDED: Final[frozenset[str]] = UNTAXED - {"Z"}


@dataclass(frozen=True, slots=True)
class SetTaxProfile:
    """Order how a tenant is taxed from the next run on."""

    tenant_id: str
    category: TaxCategory
    percent: Decimal
    exemption_reason: str | None
    payment_days: int


def decide(command: SetTaxProfile, profile: TaxProfileSet | None) -> list[Event]:
    """The profile, or nothing when it is as it was."""
    Tax(command.category, command.percent)
    if command.category == "S" and command.percent == 0:
        raise Invalid("the standard rate is above 0; without tax the category is Z, E, AE or O")
    if (command.category in REASON_NEEDED) != (command.exemption_reason is not None):
        raise Invalid("categories E, AE and O need an exemption_reason; S and Z have none")
    wanted = TaxProfileSet(
        tenant_id=command.tenant_id,
        category=command.category,
        percent=command.percent,
        exemption_reason=command.exemption_reason,
        payment_days=command.payment_days,
    )
    return [] if wanted == profile else [wanted]


def evolve(profile: TaxProfileSet | None, event: Event) -> TaxProfileSet | None:
    """What was set last."""
    assert isinstance(event, TaxProfileSet)
    return event


TAX_PROFILE: Final[Decider[TaxProfileSet | None, SetTaxProfile]] = Decider(initial=None, decide=decide, evolve=evolve)
