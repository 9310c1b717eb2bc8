"""When API keys were last used, on its way into the log. One law: one event per key and hour, never one per request."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.errors import Unavailable
from gpuaas.common.ids import new_id
from gpuaas.iam.domain.api_key import TOLD_EVERY, NoteUse
from gpuaas.iam.entities import API_KEY, SERVICE

TOLD_AFTER_S: Final = 60.0


@dataclass(slots=True)
class KeyUses:
    """Notes until it is told. What a crash loses is at most the last minute's; the key's next use says it again."""

    commands: Commands
    clock: Clock
    _untold: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _told: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def note(self, tenant_id: str, key_id: str) -> None:
        """The key signed in just now."""
        key, now = (tenant_id, key_id), self.clock.now()
        told = self._told.get(key)
        if told is None or now - told >= TOLD_EVERY:
            self._untold[key] = now

    async def keep_telling(self) -> None:
        """Say every minute which keys have been used for the first time in an hour."""
        while True:
            await asyncio.sleep(TOLD_AFTER_S)
            await self.tell()

    async def tell(self) -> None:
        """Say now what was noted since the last time; the key's history decides whether an hour is over."""
        now, (untold, self._untold) = self.clock.now(), (self._untold, {})
        self._told = {key: at for key, at in self._told.items() if now - at < TOLD_EVERY} | untold
        for (tenant_id, key_id), used_at in untold.items():
            cause = Cause(id=new_id(), actor=SERVICE, actor_kind="service", relief=False)
            with contextlib.suppress(Unavailable):  # a log that is nearly full is for other things
                await self.commands.execute(API_KEY, tenant_id, key_id, NoteUse(used_at), cause)
