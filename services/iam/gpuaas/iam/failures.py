"""Failed sign-ins on their way into the log. One law: one event per account and minute, of few accounts by name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.ids import new_id
from gpuaas.iam.domain.sign_in_failure import TellFailures
from gpuaas.iam.entities import SIGN_IN_FAILURE

TOLD_EVERY_S: Final = 60.0
ACCOUNTS_MAX: Final = 50
"""Accounts told by name at once; failures on further ones are told together, as on accounts that do not exist."""
NOBODY: Final = "nobody"


@dataclass(slots=True)
class _Count:
    first_at: datetime
    last_at: datetime
    attempts: int = 0
    limited: int = 0


@dataclass(slots=True)
class Failures:
    """Counts until they are told. What a crash loses is at most the last minute's."""

    commands: Commands
    clock: Clock
    _counts: dict[str | None, _Count] = field(default_factory=dict)

    def count(self, user_id: str | None, *, limited: bool = False) -> None:
        """One more attempt on the account (None: on one that does not exist)."""
        now = self.clock.now()
        name = user_id if user_id in self._counts or len(self._counts) < ACCOUNTS_MAX else None
        count = self._counts.setdefault(name, _Count(now, now))
        count.last_at = now
        count.attempts += not limited
        count.limited += limited

    async def keep_telling(self) -> None:
        """Say every minute what was counted."""
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            await self.tell()

    async def tell(self) -> None:
        """Say now what was counted since the last time."""
        told, self._counts = self._counts, {}
        for user_id, count in told.items():
            command = TellFailures(user_id, count.attempts, count.limited, count.first_at, count.last_at)
            cause = Cause(id=new_id(), actor="iam", actor_kind="service")
            await self.commands.execute(SIGN_IN_FAILURE, PLATFORM, user_id or NOBODY, command, cause)
