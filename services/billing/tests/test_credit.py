"""Prepaid credit as pure decisions. One law tested: whatever is taken is accounted for, and goes back as it came."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from billing_world import AUGUST, HOUR, SEPTEMBER
from gpuaas.billing.domain.budget import BUDGET, SetBudget, WeighBudget, month_of
from gpuaas.billing.domain.burn_down import Grant, runway_s
from gpuaas.billing.domain.invoice_series import Series
from gpuaas.billing.domain.kept import (
    ledger_read,
    ledger_written,
    series_read,
    series_written,
    wallet_read,
    wallet_written,
)
from gpuaas.billing.domain.ledger import Ledger
from gpuaas.billing.domain.spending import SPENDING, Ladder, SetLevel, Spending, on_ladder, prepaid_level
from gpuaas.billing.domain.wallet import (
    WALLET,
    ApplyCredit,
    GrantCredit,
    HoldCredit,
    RestoreCredit,
    VoidGrant,
    Wallet,
)
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.billing import BudgetThresholdCrossed, CreditApplied, CreditHeld, CreditLapsed, CreditRestored
from hypothesis import given
from hypothesis import strategies as st

GRANT = GrantCredit("g-1", "acme", "EUR", Decimal("10.00"), "purchased", 50, (), AUGUST, None, "order 1")


def hold(at_hours: int = 1, **costs: str) -> HoldCredit:
    at = AUGUST + at_hours * HOUR
    spent = {project: Decimal(cost) for project, cost in costs.items()}
    return HoldCredit("acme", spent, at, at + HOUR, at + 3 * HOUR, Decimal("1.00"))


def after(*commands: Any) -> Wallet:
    wallet = Wallet()
    for command in commands:
        wallet = WALLET.fold(WALLET.decide(command, wallet), wallet)
    return wallet


def said(wallet: Wallet, command: Any) -> list[Event]:
    return list(WALLET.decide(command, wallet))


def amounts(parts: Any) -> list[tuple[str, str, str]]:
    return [(part.grant_id, part.project_id, str(part.amount)) for part in parts]


def test_priority_then_end_then_gift_then_age_decides_what_burns_first() -> None:
    wallet = after(
        replace(GRANT, grant_id="late", priority=1, amount=Decimal("1.00")),
        replace(GRANT, grant_id="old", amount=Decimal("1.00")),
        replace(GRANT, grant_id="gift", kind="promotional", amount=Decimal("1.00")),
        replace(GRANT, grant_id="ends", expires_at=SEPTEMBER, amount=Decimal("1.00")),
        replace(GRANT, grant_id="first", priority=0, amount=Decimal("1.00")),
    )
    (held,) = said(wallet, hold(vision="4.50"))
    assert isinstance(held, CreditHeld)
    assert [part.grant_id for part in held.collected] == ["first", "late", "ends", "gift", "old"]
    assert held.collected[-1].amount == Decimal("0.50")


def test_a_grant_pays_only_for_its_projects() -> None:
    wallet = after(replace(GRANT, project_ids=("vision",)))
    (held,) = said(wallet, hold(vision="4.00", speech="3.00"))
    assert isinstance(held, CreditHeld)
    assert amounts(held.collected) == [("g-1", "vision", "4.00")]
    assert [(each.project_id, str(each.amount)) for each in held.uncovered] == [("speech", "3.00")]


def test_a_hold_that_shrinks_goes_back_in_the_reverse_order_of_its_taking() -> None:
    first, second = replace(GRANT, amount=Decimal("4.00")), replace(GRANT, grant_id="g-2", amount=Decimal("6.00"))
    wallet = after(first, second, hold(vision="4.00"), hold(2, vision="10.00"))
    (held,) = said(wallet, hold(3, vision="2.00"))
    assert isinstance(held, CreditHeld)
    assert amounts(held.returned) == [("g-2", "vision", "6.00"), ("g-1", "vision", "2.00")]


def test_credit_granted_later_covers_what_was_uncovered() -> None:
    wallet = after(GRANT, hold(vision="12.00"))
    assert wallet.uncovered == {"vision": Decimal("2.00")}
    wallet = after(GRANT, hold(vision="12.00"), replace(GRANT, grant_id="g-2"), hold(2, vision="12.00"))
    assert (wallet.uncovered, wallet.available(AUGUST + HOUR)) == ({}, Decimal("8.00"))


def test_what_is_held_when_a_grant_ends_still_pays_and_the_rest_lapses() -> None:
    wallet = after(replace(GRANT, expires_at=AUGUST + 2 * HOUR), hold(1, vision="4.00"))
    lapsed, held = said(wallet, hold(2, vision="5.00"))
    assert isinstance(lapsed, CreditLapsed)
    assert (str(lapsed.amount), lapsed.reason) == ("6.00", "expired")
    assert isinstance(held, CreditHeld)
    assert held.collected == ()
    assert str(held.uncovered[0].amount) == "1.00"
    (applied,) = said(
        WALLET.fold([lapsed, held], wallet), ApplyCredit("acme", "i-1", {"vision": Decimal(5)}, SEPTEMBER)
    )
    assert isinstance(applied, CreditApplied)
    assert (str(applied.amount), str(applied.due)) == ("4.00", "1.00")


def test_an_invoice_takes_its_hold_first_then_what_is_free_and_says_what_is_due() -> None:
    wallet = after(GRANT, hold(vision="4.00"))
    order = ApplyCredit("acme", "i-1", {"vision": Decimal("11.00")}, SEPTEMBER)
    (applied,) = said(wallet, order)
    assert isinstance(applied, CreditApplied)
    assert amounts(applied.from_hold) == [("g-1", "vision", "4.00")]
    assert amounts(applied.from_free) == [("g-1", "vision", "6.00")]
    assert str(applied.due) == "1.00"
    assert said(WALLET.fold([applied], wallet), order) == []


def test_a_credit_note_gives_back_the_last_that_paid_first() -> None:
    first, second = replace(GRANT, amount=Decimal("4.00")), replace(GRANT, grant_id="g-2", amount=Decimal("6.00"))
    wallet = after(first, second, ApplyCredit("acme", "i-1", {"vision": Decimal(10)}, SEPTEMBER))
    (restored,) = said(wallet, RestoreCredit("acme", "i-1", "cn-1", Decimal("8.00")))
    assert isinstance(restored, CreditRestored)
    assert amounts(restored.parts) == [("g-2", "vision", "6.00"), ("g-1", "vision", "2.00")]
    with pytest.raises(Rejected, match="at most that"):
        said(WALLET.fold([restored], wallet), RestoreCredit("acme", "i-1", "cn-2", Decimal("2.01")))


def test_bad_grants_are_refused_with_a_reason() -> None:
    for wrong in (
        replace(GRANT, amount=Decimal("0.00")),
        replace(GRANT, amount=Decimal("1.001")),
        replace(GRANT, expires_at=AUGUST),
        replace(GRANT, currency="XAU"),
    ):
        with pytest.raises(Invalid):
            said(Wallet(), wrong)
    with pytest.raises(Rejected, match="in EUR"):
        said(after(GRANT), replace(GRANT, grant_id="g-2", currency="USD"))
    with pytest.raises(Rejected, match="exists already"):
        said(after(GRANT), GRANT)
    with pytest.raises(Rejected, match="no prepaid credit"):
        said(Wallet(), hold(vision="1.00"))
    with pytest.raises(Rejected, match="nothing is left"):
        said(after(GRANT, VoidGrant("acme", "g-1", "mistake")), VoidGrant("acme", "g-1", "again"))


MONEY = st.integers(0, 3_000).map(lambda cents: Decimal(cents).scaleb(-2))
PROJECTS = st.dictionaries(st.sampled_from(["vision", "speech", "search"]), MONEY, max_size=3)
STEPS = st.lists(st.tuples(st.sampled_from(["grant", "hold", "apply", "restore"]), PROJECTS, MONEY), max_size=14)


@given(STEPS)
def test_every_cent_granted_is_free_held_applied_or_lapsed_at_every_moment(steps: list[Any]) -> None:
    wallet, granted, lapsed = after(GRANT), Decimal(10), Decimal(0)
    for number, (what, costs, amount) in enumerate(steps, start=1):
        at = AUGUST + number * HOUR
        command: Any = HoldCredit("acme", costs, at, at + HOUR, at + 3 * HOUR, amount)
        if what == "grant" and amount > 0:
            ends = at + 2 * HOUR if number % 2 else None
            command = replace(GRANT, grant_id=f"more-{number}", amount=amount, expires_at=ends, effective_from=at)
            granted += amount
        elif what == "apply":
            command = ApplyCredit("acme", f"i-{number}", costs, at)
        elif what == "restore" and (paid := [key for key, parts in wallet.applied.items() if parts]):
            command = RestoreCredit("acme", paid[0], f"cn-{number}", wallet.applied[paid[0]][-1].amount)
        for event in WALLET.decide(command, wallet):
            wallet = WALLET.evolve(wallet, event)
            lapsed += event.amount if isinstance(event, CreditLapsed) else 0
        assert wallet_read(wallet_written(wallet)) == wallet
        free = sum(grant.left for grant in wallet.grants.values())
        applied = sum(part.amount for parts in wallet.applied.values() for part in parts)
        assert granted == free + wallet.held_total + applied + lapsed
        assert all(grant.left >= 0 for grant in wallet.grants.values())


def test_the_runway_is_that_of_the_projects_whose_grants_end_first() -> None:
    shared = Grant("g-1", Decimal(10), Decimal(10), 50, False, 0, AUGUST)
    own = Grant("g-2", Decimal(5), Decimal(5), 50, False, 1, AUGUST, None, frozenset({"vision"}))
    assert runway_s([shared, own], {}, AUGUST) is None
    assert runway_s([own], {"speech": Decimal(1)}, AUGUST) == 0
    # speech has 10 for 20 an hour; vision alone has 15 for 5; together 15 for 25.
    assert runway_s([shared, own], {"speech": Decimal(20), "vision": Decimal(5)}, AUGUST) == 1_800


def test_each_rung_of_the_ladder_is_said_once_on_the_way_down() -> None:
    ladder, said_levels, spending = Ladder(), [], Spending()
    for left_s in (90_000, 80_000, 70_000, 14_000, 3_000, 2_900, 1_700, 800, 790, 90_000):
        order = prepaid_level("acme", ladder, left_s, True, AUGUST + timedelta(seconds=90_000 - left_s), spending)
        for event in SPENDING.decide(order, spending):
            spending = SPENDING.evolve(spending, event)
            said_levels.append(spending.level)
    assert said_levels == ["warned", "warned", "warned", "blocked", "stopping", "open"]
    assert on_ladder(ladder, None, False, AUGUST) == ("blocked", 4)


def test_an_operators_word_is_said_once() -> None:
    order = SetLevel("operator", "acme", None, "blocked", "operator", "unpaid")
    (event,) = SPENDING.decide(order, Spending())
    assert SPENDING.decide(order, SPENDING.evolve(Spending(), event)) == []


def test_a_budgets_thresholds_are_said_once_a_month() -> None:
    order = SetBudget("b-1", "acme", None, None, "EUR", Decimal(100), ((80, "actual"), (100, "forecast")), "notify")
    budget = BUDGET.fold(BUDGET.decide(order, BUDGET.initial))
    weigh = WeighBudget("2026-08", Decimal(79), Decimal(100))
    (first,) = BUDGET.decide(weigh, budget)
    assert isinstance(first, BudgetThresholdCrossed)
    assert (first.percent, first.of) == (100, "forecast")
    budget = BUDGET.evolve(budget, first)
    (second,) = BUDGET.decide(replace(weigh, spent=Decimal(80)), budget)
    budget = BUDGET.evolve(budget, second)
    assert BUDGET.decide(replace(weigh, spent=Decimal(500)), budget) == []
    assert len(BUDGET.decide(replace(weigh, month="2026-09"), budget)) == 1


def test_a_month_ends_where_the_next_begins_also_in_december() -> None:
    name, bounds = month_of(AUGUST.replace(month=12, day=31))
    assert name == "2026-12"
    assert bounds.length_ms == 31 * 24 * 3_600_000


def test_a_ledger_and_a_series_read_back_from_what_was_kept_are_equal() -> None:
    ledger = Ledger(
        "acme", {("EUR", "receivable:acme"): Decimal("1.00"), ("JPY", "revenue:gpu"): Decimal(-3)}, 7, "t-7"
    )
    assert ledger_read(ledger_written(ledger)) == ledger
    assert ledger_read(ledger_written(Ledger())) == Ledger()
    assert series_read(series_written(Series(41))) == Series(41)
