"""The rights that this process enforces, and how fresh they are. One law: no change is decided on old ones.

Rights are the newest when the log held nothing newer about them at that moment. Past the bound of an action's class, a
question is answered with its rights' age beside it, a change is refused; what is dangerous asks the log each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from gpuaas.common.access import Access
from gpuaas.common.decisions import READ_VERBS
from gpuaas.common.errors import GpuaasError, Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.common.scopes import Role

CHANGE_AGE_MAX_S: Final = 10.0
"""Rights older than this decide no change; a question answered on them says how old they are."""
CONFIRMED_EVERY_S: Final = 3.0
CONFIRM_S: Final = 5.0
"""How long a request waits to hear that rights are the newest."""
ActionClass = Literal["question", "change", "dangerous"]
_DANGEROUS: Final = Role(
    "dangerous",
    1,
    (
        "iam.*.*",
        "allocations.workload.*",
        "audit.erasure.*",
        "audit.legal-hold.*",
        "billing.credit.*",
        "billing.price-book.*",
        "evidence.waiver.*",
        "nodes.node.retire",
    ),
)
"""What a right that was just revoked must not do once more."""


def class_of(permission: str) -> ActionClass:
    """How fresh the rights must be on which this is decided."""
    if permission.rpartition(".")[2] in READ_VERBS:
        return "question"
    return "dangerous" if _DANGEROUS.permits(permission) else "change"


@dataclass(frozen=True, slots=True)
class Enforced:
    """The watermark of one process.

    Attributes:
        revision: log position of the newest right enforced.
        age_s: seconds since it was last known that there is no newer one; None: never yet.
        frozen: why nothing newer is enforced (an event that cannot be read), or None.
    """

    revision: int
    age_s: float | None
    frozen: str | None


class AccessReader(Reader):
    """Feeds iam's events to this process's `Access`."""

    def __init__(self, access: Access, log: EventLog, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__("access", log)
        self._monotonic = monotonic
        self._access = access
        self._vocabulary = Vocabulary(*access.READS)
        self._newest_at_s: float | None = None

    async def _begin(self) -> int:
        return self._access.position

    def _follow(self, after: int) -> Follower:
        return self._log.follow(self._vocabulary.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        try:
            for fact in decoded(self._vocabulary, batch.events):
                self._access.apply(fact)
        except Exception as broken:
            # Whatever it is: rights that cannot be read on are old rights.
            self._access.freeze(broken.detail if isinstance(broken, GpuaasError) else repr(broken))
            raise

    # -- how fresh they are ------------------------------------------------------------------------------------

    def enforced(self) -> Enforced:
        """What is enforced now, and since when it is known to be the newest."""
        age_s = None if self._newest_at_s is None else round(self._monotonic() - self._newest_at_s, 3)
        return Enforced(self._access.position, age_s, self._access.frozen)

    def is_fresh(self) -> bool:
        """Whether a change may be decided on these rights."""
        return self._newest_at_s is not None and self._monotonic() - self._newest_at_s <= CHANGE_AGE_MAX_S

    async def confirm(self) -> None:
        """Wait until everything is enforced that had been said when this was called.

        Raises:
            Unavailable: the log does not answer, or reading is behind or has stopped.
        """
        asked_s = self._monotonic()
        try:
            async with asyncio.timeout(CONFIRM_S):
                newest = await self._log.newest(self._vocabulary.subjects())
        except TimeoutError:
            raise Unavailable("the log does not say whether rights have changed; try again") from None
        await self.reached(newest, CONFIRM_S)
        self._newest_at_s = asked_s

    async def keep_confirmed(self) -> None:
        """Ask the log every few seconds, for ever."""
        while True:
            with contextlib.suppress(Unavailable):  # their age tells
                await self.confirm()
            await asyncio.sleep(CONFIRMED_EVERY_S)

    async def demand_fresh(self, permission: str) -> bool:
        """Return once rights are fresh enough for `permission`; whether they had to be asked about.

        Raises:
            Unavailable: they are too old, and the log does not say that there are no newer ones.
        """
        match class_of(permission):
            case "question":
                return False
            case "change" if self.is_fresh():
                return False
        try:
            await self.confirm()
        except Unavailable as away:
            why = "changes are refused until this service knows that its rights are the newest"
            raise Unavailable(f"{why}: {away.detail}", retry_after_s=2) from None
        return True
