"""Refusals on their way into the log. One law: however often somebody tries, the log grows by time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from gpuaas.common.accesses import FIRST_TOLD_S, ROWS_MAX, TOLD_EVERY_S, Accesses
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.decisions import Asked, Decision, NotBelieved
from gpuaas.common.errors import Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.projections import decoded
from gpuaas.common.scopes import Scope
from gpuaas.contracts.billing import AccessesRefused, OperatorAccessUsed

SAID = Vocabulary(AccessesRefused, OperatorAccessUsed)
NOW = datetime(2026, 8, 3, 9, tzinfo=UTC)


class Told:
    """Accesses on a log in memory, with hands on their clock."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.seconds = 0.0
        self.commands = Commands(self.log, WallClock(), "billing", "dev")
        self.accesses = Accesses("billing", self.commands, lambda: self.seconds)

    async def after(self, seconds: float) -> list[AccessesRefused | OperatorAccessUsed]:
        """Everything said once so much time has passed."""
        self.seconds += seconds
        await self.accesses.tell(self.seconds)
        recorded = [await self.log.at(position + 1) for position in range(await self.log.last_position())]
        return [fact.event for fact in decoded(SAID, [each for each in recorded if each])]  # type: ignore[misc]


def refused(scope: Scope, *, hidden: bool = False, permission: str = "billing.invoice.read") -> Decision:
    asked = Asked(("service-account", "robot"), permission, scope, 7, NOW)
    return Decision(allowed=False, asked=asked, reason="no", sufficient_roles=(), hidden=hidden)


async def test_a_refusal_stands_in_the_trail_of_the_tenant_that_was_asked_about() -> None:
    told = Told()
    told.accesses.refused(refused(Scope("acme", "vision")), "acme")
    assert await told.after(FIRST_TOLD_S - 1) == []
    (event,) = await told.after(1)
    assert isinstance(event, AccessesRefused)
    (row,) = event.refusals
    assert (event.tenant_id, row.principal_id, row.project_id, row.why, row.count) == (
        "acme",
        "robot",
        "vision",
        "no-right",
        1,
    )
    assert Asked.read(row.decision_id).permission == "billing.invoice.read"
    recorded = await told.log.at(1)
    assert recorded is not None
    assert recorded.subject.split(".")[2:4] == ["access", "acme"]


async def test_who_may_not_know_of_a_tenant_is_told_about_at_home_and_not_there() -> None:
    told = Told()
    told.accesses.refused(refused(Scope("acme", "vision"), hidden=True), "umbrella")
    (event,) = await told.after(FIRST_TOLD_S)
    assert isinstance(event, AccessesRefused)
    assert event.tenant_id == "umbrella"
    assert "acme" not in event.model_dump_json(exclude={"refusals": {"__all__": {"decision_id"}}})
    assert event.refusals[0].why == "nothing-there"


async def test_a_flood_of_strangers_is_one_row_a_minute() -> None:
    told = Told()
    for minute in range(3):
        for _ in range(5_000):
            told.accesses.not_believed("not-valid", str(NotBelieved("not-valid", 7, NOW)))
        assert len(await told.after(TOLD_EVERY_S)) == minute + 1
    for event in await told.after(0):
        assert isinstance(event, AccessesRefused)
        assert [(row.why, row.count, row.principal_id) for row in event.refusals] == [("not-valid", 5_000, None)]
        assert event.tenant_id == "platform"


async def test_after_the_first_word_the_next_one_waits_for_its_minute() -> None:
    told = Told()
    told.accesses.refused(refused(Scope("acme")), "acme")
    assert len(await told.after(FIRST_TOLD_S)) == 1
    told.accesses.refused(refused(Scope("acme")), "acme")
    assert len(await told.after(TOLD_EVERY_S - 1)) == 1
    assert len(await told.after(1)) == 2


async def test_rows_are_few_and_what_is_beyond_them_is_a_number() -> None:
    told = Told()
    for number in range(ROWS_MAX + 9):
        told.accesses.refused(refused(Scope("acme"), permission=f"billing.thing-{number}.read"), "acme")
    (event,) = await told.after(FIRST_TOLD_S)
    assert isinstance(event, AccessesRefused)
    assert (len(event.refusals), event.others) == (ROWS_MAX, 9)


async def test_what_the_platform_did_in_a_tenant_is_in_the_tenants_own_trail() -> None:
    told = Told()
    asked = Asked(("user", "u-1"), "billing.invoice.read", Scope("acme"), 7, NOW)
    for _ in range(3):
        told.accesses.used_from_above(asked)
    (event,) = await told.after(FIRST_TOLD_S)
    assert isinstance(event, OperatorAccessUsed)
    assert event.tenant_id == "acme"
    assert [(use.principal_id, use.permission, use.count) for use in event.uses] == [("u-1", "billing.invoice.read", 3)]


async def test_what_the_log_does_not_take_now_is_told_later_and_nothing_is_lost() -> None:
    told = Told()
    told.commands.nearly_full = True
    told.accesses.refused(refused(Scope("acme")), "acme")
    with pytest.raises(Unavailable):
        await told.after(FIRST_TOLD_S)
    told.accesses.refused(refused(Scope("acme")), "acme")
    told.commands.nearly_full = False
    (event,) = await told.after(FIRST_TOLD_S)
    assert isinstance(event, AccessesRefused)
    assert [row.count for row in event.refusals] == [2]


@pytest.mark.parametrize("beyond", [None, (), ("iam.binding.create", "billing.*.*")])
def test_a_decisions_id_holds_its_question(beyond: tuple[str, ...] | None) -> None:
    asked = Asked(("user", "u-1"), "iam.binding.create", Scope("acme", "vision"), 7, NOW, beyond)
    assert Asked.read(str(asked)) == asked
    unbelieved = NotBelieved("over", 7, NOW)
    assert NotBelieved.read(str(unbelieved)) == unbelieved
    for wrong in (str(unbelieved), "u1.", "d1.bm8"):
        with pytest.raises(ValueError):
            Asked.read(wrong)
    with pytest.raises(ValueError):
        NotBelieved.read(str(NotBelieved("because", 7, NOW)))
