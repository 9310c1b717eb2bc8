"""What billing is told beyond the settings of every service. One law: read once, at the start."""

from __future__ import annotations

from typing import Self

from gpuaas.billing.domain.spending import Ladder
from gpuaas.common.settings import Settings
from pydantic import Field, model_validator


class BillingSettings(Settings):
    """Settings of the billing service.

    Attributes:
        hold_interval_s: how often prepaid credit is held anew for what runs, in seconds of the world.
        warn_at_s: runways of credit at which a tenant is warned, longest first.
        block_at_s: runway at which nothing new starts.
        stop_at_s: runway at which the end is announced; an outage of this service up to this, less two intervals,
            lets nobody spend uncovered credit.
        books_interval_s: how often all sums of the books are compared, in seconds of this process.
    """

    hold_interval_s: int = Field(default=300, ge=1, le=86_400)
    warn_at_s: tuple[int, int, int] = (86_400, 14_400, 3_600)
    block_at_s: int = Field(default=1_800, ge=1)
    stop_at_s: int = Field(default=900, ge=1)
    books_interval_s: float = Field(default=60.0, gt=0, le=86_400)

    @model_validator(mode="after")
    def _a_ladder(self) -> Self:
        steps = (*self.warn_at_s, self.block_at_s, self.stop_at_s, 2 * self.hold_interval_s)
        if list(steps) != sorted(steps, reverse=True):
            raise ValueError(
                "warn_at_s, block_at_s and stop_at_s must fall, and stop_at_s must be two hold intervals or more"
            )
        return self

    @property
    def ladder(self) -> Ladder:
        return Ladder(self.warn_at_s, self.block_at_s, self.stop_at_s)
