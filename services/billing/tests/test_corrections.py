"""A billed period under other prices. One law tested: one step, both directions, never a cent off, nothing twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from billing_proof import logged, verified
from billing_world import AUGUST, HOUR, MODEL, OCTOBER, SEPTEMBER, World, settings_on, spelled, world_on
from gpuaas.billing.domain.correction import OtherPrice, StandingLine, planned
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.money import rounded
from gpuaas.common.projections import digest
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import LogAddress
from hypothesis import given
from hypothesis import strategies as st

LINE = StandingLine(
    "inv-1", "l-1", "vision", "h100", "list-eur", 1, 7 * 3_600_000_000, Decimal("17.43"), Decimal(0), Decimal("17.43")
)
HOME = "/v1/tenants/acme"


def other(amount: str, version: int | None = None) -> OtherPrice:
    return OtherPrice("h100", Decimal(amount), version)


def test_too_much_is_given_back_on_the_newest_line_first_and_never_more_than_is_left() -> None:
    late = replace(LINE, invoice_id="inv-2", gpu_us=3_600_000_000, amount=Decimal("2.49"), left=Decimal("1.00"))
    plan = planned([LINE, late], [other("2.00")], "EUR")
    assert plan.extra == ()
    assert plan.difference == Decimal("16.00") - Decimal("19.92")
    assert plan.credits == {"inv-2": (("l-1", Decimal("1.00")),), "inv-1": (("l-1", Decimal("2.92")),)}


def test_what_is_missing_becomes_a_line_that_points_at_the_ones_it_corrects() -> None:
    (line,) = planned([LINE], [other("2.50")], "EUR").extra
    assert (line.amount, line.gpu_us, line.usage_count) == (Decimal("0.07"), 0, 0)
    assert line.corrects is not None
    assert line.corrects.lines == (("inv-1", "l-1"),)


def test_a_price_for_one_version_goes_before_the_price_for_all() -> None:
    second = replace(LINE, line_id="l-2", price_book_version=2)
    plan = planned([LINE, second], [other("2.49"), other("3.00", version=2)], "EUR")
    assert [(change.price_book_version, change.after) for change in plan.changes] == [(2, Decimal("21.00"))]


def test_prices_that_change_nothing_or_contradict_each_other_are_refused() -> None:
    with pytest.raises(Rejected, match="nothing to correct"):
        planned([LINE], [other("2.49")], "EUR")
    with pytest.raises(Invalid, match="twice"):
        planned([LINE], [other("1"), other("2")], "EUR")
    with pytest.raises(Invalid, match="zero or more"):
        planned([LINE], [other("-1")], "EUR")


@given(
    st.lists(st.tuples(st.integers(0, 10**13), st.integers(1, 3)), min_size=1, max_size=6),
    st.lists(st.decimals(0, 100, places=4), min_size=1, max_size=4),
)
def test_however_often_a_period_is_corrected_it_costs_what_the_last_prices_say(
    used: list[tuple[int, int]], prices: list[Decimal]
) -> None:
    standing: list[StandingLine] = []
    quantities: dict[int, int] = {}
    for number, (gpu_us, version) in enumerate(used):
        before = rounded(Fraction(quantities.get(version, 0)) * 2 / 3_600_000_000, "EUR")
        quantities[version] = quantities.get(version, 0) + gpu_us
        amount = rounded(Fraction(quantities[version]) * 2 / 3_600_000_000, "EUR") - before
        line = replace(LINE, invoice_id=f"inv-{number}", price_book_version=version, gpu_us=gpu_us, amount=amount)
        standing.append(replace(line, left=amount))
    for at, price in enumerate(prices):
        try:
            plan = planned(standing, [OtherPrice("h100", price)], "EUR")
        except Rejected:
            continue
        given_back = {(invoice, line): amount for invoice, lines in plan.credits.items() for line, amount in lines}
        standing = [
            replace(
                line,
                credited=line.credited + given_back.get((line.invoice_id, line.line_id), Decimal(0)),
                left=line.left - given_back.get((line.invoice_id, line.line_id), Decimal(0)),
            )
            for line in standing
        ]
        for number, extra in enumerate(plan.extra):
            written = replace(LINE, invoice_id=f"cor-{at}", line_id=f"l-{number}", gpu_us=0, amount=extra.amount)
            standing.append(replace(written, price_book_version=extra.price_book_version, left=extra.amount))
        for version, quantity in quantities.items():
            stands = sum(line.amount - line.credited for line in standing if line.price_book_version == version)
            assert stands == rounded(Fraction(quantity) * Fraction(price) / 3_600_000_000, "EUR")


@pytest.fixture
async def world(log_address: LogAddress, database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(settings_on(log_address.url, database_dsn, tmp_path)) as made:
        yield made


def order(amount: str, model: str = MODEL, **more: Any) -> dict[str, Any]:
    prices = [{"gpu_model": model, "amount": amount}]
    return {
        "period_start": spelled(AUGUST),
        "period_end": spelled(SEPTEMBER),
        "prices": prices,
        "detail": "wrong",
    } | more


async def receivable(world: World) -> str:
    world.position = await world.service.log.last_position()
    items = (await world.get(f"{HOME}/ledger/balances"))["items"]
    return next(str(each["balance"]) for each in items if each["account"] == "receivable:acme")


async def test_a_billed_period_is_corrected_down_and_up_in_one_step_each(world: World) -> None:
    await world.tenant("acme")
    await world.post(f"{HOME}/tax-profile", {"category": "S", "percent": "19"}, 201)
    await world.publish("2.49")
    await world.used("acme", "a-1", AUGUST, AUGUST + HOUR)
    await world.bill()
    await world.used("acme", "a-2", AUGUST + HOUR, AUGUST + 2 * HOUR, gpus=1)
    await world.bill()
    # 19.92 and 2.49, each with 19 % of tax rounded once: 3.78 and 0.47.
    assert await receivable(world) == "26.66"
    down = order("2.00", correction_id="cor-1")
    first = await world.post(f"{HOME}/corrections", down, 201, **{"Idempotency-Key": "k-1"})
    again = await world.post(f"{HOME}/corrections", down, 201, **{"Idempotency-Key": "k-1"})
    assert (again["position"], again["repeated"]) == (first["position"], True)
    (note, newer) = reversed((await world.get(f"{HOME}/credit-notes"))["items"])
    assert {each["net"] for each in (note, newer)} == {"2.49", "1.92"}
    (told,) = (await world.get(f"{HOME}/corrections"))["items"]
    assert (told["difference"], told["invoice_id"], len(told["credit_note_ids"])) == ("-4.41", None, 2)
    await world.post(f"{HOME}/corrections", order("2.00"), 409)

    await world.post(f"{HOME}/corrections", order("2.10", correction_id="cor-2"), 201)

    async def done() -> bool:
        return bool((await world.get("/v1/billing-runs/cor-2-run"))["completed_at"])

    await eventually(done)
    extra = (await world.invoices("acme"))[-1]
    (line,) = extra["lines"]
    assert (extra["total"], line["gpu_ms"], line["unit_price"]) == ("0.90", "0", "2.10")
    assert [each["line_id"] for each in line["corrects"]["lines"]] == ["l-1", "l-1"]
    assert line["corrects"]["credited"] == "4.41"
    told = await world.get("/v1/conservation")
    assert told["differences"] == []
    body = {"period_start": spelled(AUGUST), "period_end": spelled(SEPTEMBER)}
    what_if = await world.post(
        f"{HOME}/re-ratings", body | {"versions": [{"prices": [{"gpu_model": MODEL, "amount": "2.10"}]}]}, 200
    )
    assert what_if["difference"] == "0.00"
    await world.post(f"{HOME}/invoices/{extra['invoice_id']}/void", {"detail": "never mind"}, 201)
    events = await logged(world.service.log)
    stands = [verified(events, "acme", each["invoice_id"]) for each in await world.invoices("acme")]
    assert [each.corrections for each in stands] == [2, 2, 2]
    assert str(sum(each.owed for each in stands)) == str(Fraction(await receivable(world)))
    assert (stands[-1].notes, stands[-1].owed) == (1, Fraction(0))
    for view in world.service._projectors.values():
        before = await digest(world.service.database, view.projection)
        await view.rebuild()
        assert await digest(world.service.database, view.projection) == before


async def test_late_usage_of_a_corrected_period_is_billed_at_the_list_and_its_correction_stands(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.00")
    await world.used("acme", "a-1", AUGUST, AUGUST + HOUR)
    await world.bill()
    await world.post(f"{HOME}/corrections", order("3.00", correction_id="cor-1"), 201)

    async def done() -> bool:
        return bool((await world.get("/v1/billing-runs/cor-1-run"))["completed_at"])

    await eventually(done)
    await world.used("acme", "a-2", AUGUST + HOUR, AUGUST + 2 * HOUR)
    await world.bill()
    assert [each["total"] for each in await world.invoices("acme")] == ["16.00", "8.00", "16.00"]


async def test_what_was_never_billed_cannot_be_corrected(world: World) -> None:
    await world.tenant("acme")
    await world.publish("2.49")
    unbilled = await world.post(f"{HOME}/corrections", order("2.00", period_end=spelled(OCTOBER)), 409)
    assert "not billed" in unbilled["detail"]
    await world.used("acme", "a-1", AUGUST, AUGUST + HOUR)
    await world.bill()
    other_model = await world.post(f"{HOME}/corrections", order("2.00", model="b200"), 409)
    assert "nothing to correct" in other_model["detail"]
    await world.tenant("umbrella")
    none = await world.post("/v1/tenants/umbrella/corrections", order("2.00"), 409)
    assert "no invoice" in none["detail"]
