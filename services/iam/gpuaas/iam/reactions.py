"""What iam does about its neighbours' events. One law: a key is destroyed before anybody is told that it is.

Audit decides whether a person's data may be erased (a legal hold forbids it); iam keeps the key and carries it out.
"""

from __future__ import annotations

from typing import ClassVar, Final

from gpuaas.common.access import Access
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.log import EventLog
from gpuaas.common.projections import decoded
from gpuaas.common.reactions import Reaction
from gpuaas.common.sealing import Vault
from gpuaas.contracts.allocations import AllocationReleased
from gpuaas.contracts.audit import ErasureOrdered
from gpuaas.contracts.iam import PersonalDataErased
from gpuaas.iam.adapters.kept_tables import Passwords
from gpuaas.iam.domain.user import RecordErasure
from gpuaas.iam.domain.workload import OWN_ISSUER, EndWorkload
from gpuaas.iam.entities import SERVICE, USER, WORKLOAD
from gpuaas.iam.exchanging import subject_of_allocation, workload_of

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


class EndedWorkloads(Reaction):
    """Ends the workload that a released allocation was, where its tenant lets allocations act as accounts at all."""

    name = "ended-workloads"
    reads: ClassVar[tuple[type[Event], ...]] = (AllocationReleased,)

    def __init__(self, commands: Commands, access: Access, clock: Clock) -> None:
        self._commands = commands
        self._access = access
        self._clock = clock

    async def react(self, fact: Fact) -> None:
        assert isinstance(fact.event, AllocationReleased)
        over = fact.event
        if not self._access.credentials.workloads.any_of(over.tenant_id, OWN_ISSUER):
            return
        subject = subject_of_allocation(over.tenant_id, over.project_id, over.allocation_id)
        workload_id = workload_of(over.tenant_id, OWN_ISSUER, subject)
        order = EndWorkload(
            workload_id=workload_id,
            tenant_id=over.tenant_id,
            cause="allocation-released",
            ended_at=self._clock.now(),
            allocation_id=over.allocation_id,
        )
        cause = Cause.of(fact, actor=SERVICE, step="workload-ended")
        await self._commands.execute(WORKLOAD, over.tenant_id, workload_id, order, cause)
