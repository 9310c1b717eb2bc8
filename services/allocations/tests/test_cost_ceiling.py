"""A ceiling in money holds whichever model is granted, and what has no price is not taken to be free."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.asking import requested
from gpuaas.allocations.domain.price_list import PriceList, ceiling_of
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.billing import Price, PriceBookPublished
from hypothesis import given
from hypothesis import strategies as st
from test_allocation import ASK, NOON

DAY = timedelta(days=1)


def book(version: int, since: datetime, until: datetime | None = None, currency: str = "EUR", **prices: str) -> Any:
    return PriceBookPublished(
        price_book_id=f"list-{currency.lower()}",
        version=version,
        currency=currency,
        effective_from=since,
        effective_until=until,
        prices=tuple(
            Price(gpu_model=model, unit="gpu-hour", amount=Decimal(amount)) for model, amount in prices.items()
        ),
    )


def listed(*books: PriceBookPublished) -> PriceList:
    return PriceList(books)


def test_the_dearest_of_what_is_in_force_and_of_what_is_published_for_later_counts() -> None:
    prices = listed(
        book(1, NOON - DAY, h100="2", a100="1"), book(2, NOON + DAY, h100="3"), book(3, NOON + 2 * DAY, b200="1")
    )
    assert prices.highest("h100", "EUR", NOON) == 3
    assert prices.highest("h100", "EUR", NOON - DAY) == 3
    assert prices.highest("a100", "EUR", NOON) == 1
    assert prices.highest("a100", "EUR", NOON + DAY) is None
    assert prices.highest("h100", "EUR", NOON + 2 * DAY) is None


def test_a_newer_version_takes_the_place_of_the_older_and_another_currency_is_no_price() -> None:
    prices = listed(
        book(1, NOON - DAY, h100="9"), book(2, NOON - DAY / 2, h100="2"), book(1, NOON, currency="USD", h100="5")
    )
    assert prices.highest("h100", "EUR", NOON) == 2
    assert prices.highest("h100", "USD", NOON) == 5
    assert prices.highest("h100", "CHF", NOON) is None
    assert listed(book(1, NOON - DAY, NOON, h100="1")).highest("h100", "EUR", NOON) is None


def test_what_has_no_price_is_refused_and_not_free() -> None:
    prices = listed(book(1, NOON, h100="2"))
    with pytest.raises(Rejected, match="no price in EUR for GPUs of a100"):
        ceiling_of(prices, Decimal(10), "EUR", {"h100", "a100"}, NOON, None)
    with pytest.raises(Invalid, match="no GPUs"):
        ceiling_of(prices, Decimal(10), "EUR", set(), NOON, None)
    assert str(ceiling_of(prices, Decimal("1E+3"), "EUR", {"h100"}, NOON, None)[0].amount) == "1000"
    free, left = ceiling_of(listed(book(1, NOON, h100="0")), Decimal(10), "EUR", {"h100"}, NOON, 5)
    assert free.price_per_gpu_hour == 0
    assert left == 5


@given(
    amount=st.decimals(Decimal("0.01"), 10_000, places=2),
    price=st.decimals(Decimal("0.000001"), 100, places=6),
    lease_s=st.integers(1, 31_622_400),
)
def test_no_lease_costs_more_than_the_ceiling(amount: Decimal, price: Decimal, lease_s: int) -> None:
    said, left = ceiling_of(listed(book(1, NOON, h100=f"{price:f}")), amount, "EUR", {"h100"}, NOON, None)
    ask = replace(ASK, lease_s=lease_s, cost_max=said, gpu_ms_max=left)
    if left is not None and left < 4_000:
        with pytest.raises(Invalid, match="less than a second"):
            requested(ask)
        return
    request = requested(ask)
    assert request.lease_s * 4 * price / 3_600 <= amount
    assert request.lease_s == lease_s or (request.lease_s + 1) * 4 * price / 3_600 > amount


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings) as opened,
    ):
        yield opened


async def test_a_request_is_cut_to_what_its_money_buys_at_the_price_that_billing_published(here: World) -> None:
    await here.machines(1)
    money: dict[str, Any] = {"cost_max": "8.00", "currency": "EUR", "lease_s": 86_400, "command": ["sleep", "infinity"]}
    assert await here.ask(status=409, **money) == "urn:gpuaas:rejected"
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    await tell(here.service.log, book(1, long_ago, h100="2.00"), entity_id="list-eur")

    async def known() -> bool:
        answer = await here.client.post(
            "/v1/tenants/acme/projects/research/allocations",
            json={"pool_id": "main", "gpus_per_replica": 8, "image": "sim", "command": ["sleep", "1"], **money},
            headers=(await here.as_member("acme")) | {"Idempotency-Key": "once"},
        )
        here.position = max(here.position, int(answer.headers.get("GPUaaS-Position", 0)))
        return answer.status_code == 202

    await eventually(known)
    name = await here.ask(**money)
    found = await here.one(name)
    assert found["lease_s"] == 1_800
    assert found["cost_max"] == {"amount": "8.00", "currency": "EUR", "price_per_gpu_hour": "2.00"}
    why = await here.get(f"/v1/tenants/acme/projects/research/allocations/{name}/why", await here.as_member("acme"))
    assert "for at most 8.00 EUR at 2.00 a GPU-hour" in why["history"][0]["what"]
    await here.ask(status=422, cost_max="8.00")
