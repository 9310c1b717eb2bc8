"""What tenants held lately, on average. One law: past use fades by half each half-life, and is never written anew.

The average of what a tenant holds of a GPU model, weighted by age: between two changes at t₀ and t it moves towards
what is held, average(t) = held + (average(t₀) - held) · 2^-((t - t₀) / half-life). It is folded from claims in the
order of the log, so everybody who reads the same log has the same averages.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

Holder = tuple[str, str]
"""(tenant, GPU model)."""


@dataclass(slots=True)
class _Held:
    milli: int = 0
    average: float = 0.0
    at: datetime | None = None

    def advance(self, now: datetime, half_life: timedelta) -> float:
        """The average at `now`; from now on it is counted from there."""
        if self.at is not None and now > self.at:
            self.average = self.ahead(now, half_life)
        self.at = now if self.at is None else max(now, self.at)
        return self.average

    def ahead(self, now: datetime, half_life: timedelta) -> float:
        if not half_life:
            return float(self.milli)
        age = max(now - self.at, timedelta(0)) / half_life if self.at is not None else 0.0
        return self.milli + (self.average - self.milli) * math.exp2(-age)


@dataclass(slots=True)
class PastUse:
    """The averages of one pool, in thousandths of GPUs."""

    half_life: timedelta = timedelta(0)
    _of: dict[Holder, _Held] = field(default_factory=dict)
    _claims: dict[str, tuple[Holder, int]] = field(default_factory=dict)

    def granted(self, allocation_id: str, tenant_id: str, model: str, milli: int, at: datetime) -> None:
        """A claim of that much stands from now on."""
        self._claims[allocation_id] = ((tenant_id, model), milli)
        self._change((tenant_id, model), milli, at)

    def returned(self, allocation_id: str, at: datetime) -> None:
        """It has come back."""
        if (claim := self._claims.pop(allocation_id, None)) is not None:
            self._change(claim[0], -claim[1], at)

    def fading(self, half_life: timedelta, at: datetime) -> None:
        """From now on past use fades like this."""
        for held in self._of.values():
            held.advance(at, self.half_life)
        self.half_life = half_life

    def at(self, now: datetime) -> Iterator[tuple[Holder, float]]:
        """Each tenant's average of each model; nothing where past use does not count."""
        if self.half_life:
            for holder, held in self._of.items():
                yield holder, held.ahead(now, self.half_life)

    def _change(self, holder: Holder, milli: int, at: datetime) -> None:
        held = self._of.setdefault(holder, _Held())
        held.advance(at, self.half_life)
        held.milli += milli
