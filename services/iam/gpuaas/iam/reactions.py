"""What iam does about its neighbours' events. One law: a key is destroyed before anybody is told that it is.

Audit decides whether a person's data may be erased (a legal hold forbids it); iam keeps the key and carries it out.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.log import EventLog
from gpuaas.common.projections import decoded
from gpuaas.common.reactions import Reaction
from gpuaas.common.sealing import Vault
from gpuaas.contracts.audit import ErasureOrdered
from gpuaas.contracts.iam import PersonalDataErased
from gpuaas.iam.adapters.kept_tables import Passwords
from gpuaas.iam.domain.user import RecordErasure
from gpuaas.iam.entities import SERVICE, USER

_ERASED: Final = Vocabulary(PersonalDataErased)


class Erasing(Reaction):
    """Destroys the key of a person whose erasure was ordered, forgets how they signed in, and says so."""

    name = "erasing"
    reads: ClassVar[tuple[type[Event], ...]] = (ErasureOrdered,)

    def __init__(self, commands: Commands, vault: Vault, passwords: Passwords) -> None:
        self._commands = commands
        self._vault = vault
        self._passwords = passwords

    async def react(self, fact: Fact) -> None:
        assert isinstance(fact.event, ErasureOrdered)
        order = fact.event
        await self._passwords.forget(order.subject_id)
        record = RecordErasure(
            user_id=order.subject_id,
            erasure_id=order.erasure_id,
            sealed_by=f"{SERVICE}/{order.subject_id}",
            had_key=await self._vault.destroy(order.subject_id),
        )
        cause = Cause.of(fact, actor=SERVICE, step="erased")
        await self._commands.execute(USER, PLATFORM, order.subject_id, record, cause)

    async def again(self, log: EventLog) -> None:
        """Destroy the keys of all who were erased, should any of them be back."""
        last = await log.last_position()
        follower = log.follow(_ERASED.subjects(), 0)
        try:
            async for batch in follower.batches():
                for fact in decoded(_ERASED, [each for each in batch.events if each.type in _ERASED]):
                    assert isinstance(fact.event, PersonalDataErased)
                    await self._vault.destroy(fact.event.user_id)
                    await self._passwords.forget(fact.event.user_id)
                if batch.seen >= last or batch.caught_up:
                    return
        finally:
            await follower.close()
