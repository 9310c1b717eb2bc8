"""Two sums of the books that should be equal and are not. One law: the same difference is told once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.events import Event
from gpuaas.common.ids import derived_id
from gpuaas.contracts.billing import ImbalanceFound


@dataclass(frozen=True, slots=True)
class TellImbalance:
    """Order that a difference is told. `tenant_id`: whose books; empty: all tenants' together."""

    check: str
    tenant_id: str
    thing: str
    left: Decimal
    right: Decimal

    @property
    def imbalance_id(self) -> str:
        """The same for the same difference of the same sums."""
        return f"im-{derived_id(self.check, self.tenant_id, self.thing, f'{self.left:f}', f'{self.right:f}')}"


def decide(command: TellImbalance, told: ImbalanceFound | None) -> list[Event]:
    """The finding, or nothing when it was told before."""
    if told is not None:
        return []
    return [
        ImbalanceFound(
            imbalance_id=command.imbalance_id,
            check=command.check,
            about_tenant_id=command.tenant_id or None,
            thing=command.thing,
            left=command.left,
            right=command.right,
        )
    ]


def evolve(told: ImbalanceFound | None, event: Event) -> ImbalanceFound | None:
    """What was told."""
    assert isinstance(event, ImbalanceFound)
    return event


IMBALANCE: Final[Decider[ImbalanceFound | None, TellImbalance]] = Decider(initial=None, decide=decide, evolve=evolve)
