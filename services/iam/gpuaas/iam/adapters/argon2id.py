"""Passwords as argon2id hashes (RFC 9106). One law: a wrong name costs as much time as a wrong password.

19 MiB and two passes, as OWASP's password storage cheat sheet gives for one thread. Two are worked out at once and few
wait: who signs in cannot starve what else this process does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from gpuaas.common.errors import Unavailable

MEMORY_KIB: Final = 19_456
PASSES: Final = 2
AT_ONCE: Final = 2
WAITING_MAX: Final = 64


class Argon2id:
    """Hashes and checks in threads of their own."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._free = asyncio.Semaphore(AT_ONCE)
        self._asked = 0
        self._nobodys = self._hasher.hash("nobody signs in with this")

    async def hash(self, password: str) -> str:
        """Raises Unavailable: too many wait already."""
        async with self._turn():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def fits(self, known: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; for None never, after the same work.

        Raises:
            Unavailable: too many wait already.
        """
        async with self._turn():
            return await asyncio.to_thread(self._fits, known or self._nobodys, password) and known is not None

    def _fits(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, password)
        except (Argon2Error, InvalidHashError):
            return False

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._asked >= AT_ONCE + WAITING_MAX:
            raise Unavailable("too many sign in at this moment; try again in a few seconds", retry_after_s=3)
        self._asked += 1
        try:
            async with self._free:
                yield
        finally:
            self._asked -= 1
