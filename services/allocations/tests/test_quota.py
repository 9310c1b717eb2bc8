"""Quotas: entitlements first, borrowing evenly by weight, limits kept, nobody held up by who is out of quota."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.fair import plan_with_quotas
from gpuaas.allocations.domain.queue import Line, Plan, Waiting
from gpuaas.allocations.domain.quota import QUOTA, Scope, SetQuota, Usage
from gpuaas.allocations.domain.shape import Shape
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.testing.running import eventually, fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import QuotaSet
from small_fleet import fleet, gpus, told

Quotas = dict[Scope, QuotaSet]


def order(
    nominal: int, project: str | None = None, borrow: int | None = None, weight: int = 1, tenant: str = "acme"
) -> SetQuota:
    return SetQuota(tenant, "main", project, "h100", nominal, borrow, weight, "for a test")


def quotas(*orders: SetQuota) -> Quotas:
    found: Quotas = {}
    for each in orders:
        (said,) = QUOTA.decide(each, {("h100", None): _whole()} if each.project_id else {})
        assert isinstance(said, QuotaSet)
        found[said.tenant_id, said.gpu_model, said.project_id] = said
    return found


def _whole() -> QuotaSet:
    return QuotaSet(tenant_id="acme", pool_id="main", gpu_model="h100", nominal_gpus=1_000, weight=1, reason="all")


def line(*asks: tuple[str, Shape, int] | tuple[str, Shape]) -> Line:
    """(tenant or tenant/project, shape, priority) in order of arrival; names a0, a1 …"""
    made = Line()
    for number, (who, shape, *priority) in enumerate(asks):
        tenant, _, project = who.partition("/")
        level = priority[0] if priority else 0
        made.join(Waiting(f"a{number}", tenant, project or "research", shape, level, number))
    return made


def cycle(pool: Pool, waiting: Line, set_: Quotas) -> Plan:
    return plan_with_quotas("main", pool, waiting, {}, set_)


def names(plan: Plan) -> list[str]:
    return [grant.allocation_id for grant in plan.grants]


def test_projects_divide_what_the_tenant_has_and_no_more() -> None:
    state = QUOTA.fold(QUOTA.decide(order(16), {}), {})
    state = QUOTA.fold(QUOTA.decide(order(10, "a"), state), state)
    assert QUOTA.decide(order(10, "a"), state) == []
    with pytest.raises(Rejected, match="would have 17"):
        QUOTA.decide(order(7, "b"), state)
    with pytest.raises(Rejected, match="the tenant has 9"):
        QUOTA.decide(order(9), state)
    with pytest.raises(Rejected, match="the tenant has 0"):
        QUOTA.decide(order(1, "a"), {})
    with pytest.raises(Invalid):
        QUOTA.decide(order(-1), state)


def test_what_somebody_is_entitled_to_goes_before_what_came_earlier_and_borrows() -> None:
    waiting = line(("rival", gpus(8)), ("rival", gpus(8)), ("acme", gpus(8)))
    assert names(cycle(fleet(2), waiting, quotas(order(8)))) == ["a2", "a0"]


def test_entitled_requests_keep_the_order_of_the_line() -> None:
    waiting = line(("acme", gpus(8)), ("acme", gpus(8), 5), ("acme", gpus(8)))
    assert names(cycle(fleet(3), waiting, quotas(order(24)))) == ["a1", "a0", "a2"]


def test_borrowing_evens_out_by_weight() -> None:
    asks = [(tenant, gpus(1)) for _ in range(12) for tenant in ("acme",)] + [("rival", gpus(1)) for _ in range(12)]
    set_ = quotas(order(0, weight=2), order(0, weight=1, tenant="rival"))
    granted = Counter(grant.tenant_id for grant in cycle(fleet(1, gpus=9), line(*asks), set_).grants)
    assert granted == {"acme": 6, "rival": 3}


def test_a_limit_on_borrowing_holds_back_and_holds_nobody_up() -> None:
    waiting = line(("acme", gpus(4)), ("acme", gpus(4)), ("rival", gpus(4)), ("acme", gpus(8)))
    decided = cycle(fleet(4), waiting, quotas(order(2, borrow=3)))
    assert names(decided) == ["a0", "a2"]
    assert decided.exhausted["a1"].reason == "quota-exhausted"
    assert "has 2 and may borrow 3 and holds 4" in decided.exhausted["a1"].detail
    assert [(each.waiting.allocation_id, each.reason) for each in decided.refusals] == [("a3", "quota-exceeded")]


def test_a_project_is_held_to_its_part() -> None:
    set_ = quotas(order(16), order(4, "small", borrow=0))
    waiting = line(("acme/small", gpus(4)), ("acme/small", gpus(4)), ("acme/other", gpus(8)))
    decided = cycle(fleet(4), waiting, set_)
    assert names(decided) == ["a0", "a2"]
    assert list(decided.exhausted) == ["a1"]


def test_who_borrows_does_not_take_what_is_kept_for_an_entitled_head() -> None:
    set_ = quotas(order(16))
    pool = fleet(2)
    pool = told(pool, *cycle(pool, line(("rival", gpus(1))), set_).grants)
    decided = cycle(pool, line(("acme", gpus(8, 2)), ("rival", gpus(8)), ("rival", gpus(1))), set_)
    assert names(decided) == []
    assert {each.reason for each in decided.obstacles.values()} == {"insufficient-capacity", "behind-higher-priority"}


def test_shares_count_by_thousandths() -> None:
    half = Shape("h100", 1, 1, share_milli=500)
    decided = cycle(fleet(1), line(("acme", half), ("acme", half), ("acme", half)), quotas(order(1, borrow=0)))
    assert names(decided) == ["a0", "a1"]
    assert list(decided.exhausted) == ["a2"]


def test_any_model_means_one_that_the_quota_has() -> None:
    decided = cycle(fleet(1), line(("acme", Shape(None, 1, 8))), quotas(order(8, borrow=0)))
    assert [grant.gpu_model for grant in decided.grants] == ["h100"]
    assert not cycle(fleet(1), line(("acme", Shape(None, 1, 8))), quotas(order(7, borrow=0))).grants


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_asked_no_limit_is_passed_and_no_entitled_request_waits_behind_a_borrower(seed: int) -> None:
    dice = random.Random(seed)
    set_ = quotas(order(8, borrow=4), order(16, tenant="rival", weight=3), order(6, "x", borrow=2))
    tenants = ["acme/x", "acme/y", "rival", "third"]
    asks = [(dice.choice(tenants), gpus(dice.choice([1, 2, 4])), dice.choice([0, 5])) for _ in range(60)]
    decided = cycle(fleet(5), line(*asks), set_)
    usage = Usage(set_)
    for grant in decided.grants:
        usage.add(grant.tenant_id, grant.project_id, "h100", 1_000 * sum(len(m.device_ids) for m in grant.members))
    assert usage.held["acme", "h100", None] <= 12_000
    assert usage.held["acme", "h100", "x"] <= 8_000
    entitled = min(16, sum(shape.gpu_count for who, shape, _ in asks if who == "rival"))
    assert usage.held["rival", "h100", None] >= (entitled - 3) * 1_000


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    async with fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings, world(settings) as opened:
        yield opened


async def test_quotas_by_door(here: World) -> None:
    await here.machines(2)
    amounts = {"gpu_model": "h100", "nominal_gpus": 8, "borrow_gpus": 0, "reason": "a contract"}
    body = amounts | {"tenant_id": "acme"}
    member = await here.identities.member("acme", None, "allocations.*.*")
    assert (await here.client.post("/v1/pools/main/quotas", json=body, headers=member)).status_code == 403
    answer = await here.client.post("/v1/pools/main/quotas", json=body, headers=here.operator)
    assert answer.status_code == 202, answer.text
    part = amounts | {"pool_id": "main", "project_id": "research", "nominal_gpus": 9}
    assert (await here.client.post("/v1/tenants/acme/quotas", json=part, headers=member)).status_code == 409
    part["nominal_gpus"] = 8
    answer = await here.client.post("/v1/tenants/acme/quotas", json=part, headers=member)
    assert answer.status_code == 202, answer.text
    here.position = answer.json()["position"]
    listed = (await here.get("/v1/tenants/acme/quotas", member))["items"]
    assert [(row["project_id"], row["nominal_gpus"]) for row in listed] == [("", 8), ("research", 8)]
    page = await here.get("/v1/pools/main/quotas", limit=1)
    rest = await here.get("/v1/pools/main/quotas", limit=1, cursor=page["next_cursor"])
    assert rest["items"][0]["project_id"] == "research"
    readers = {reader.name: reader for reader in here.service._readers}
    await readers["entitlements"].reached(here.position, 5)
    first, second = await here.ask(command=["sleep", "infinity"]), await here.ask(command=["sleep", "infinity"])
    await here.until("active", first)
    found = await here.until("queued", second)
    assert (found["pending_reason"], "holds 8" in found["detail"]) == ("quota-exhausted", True)
    assert (await here.until("rejected", await here.ask(replicas=2)))["end_reason"] == "quota-exceeded"
    theirs = await here.ask(tenant_id="rival", command=["sleep", "infinity"])
    await here.until("active", theirs, tenant_id="rival")
    await here.release(first)
    await here.until("active", second)
    await eventually(lambda: _holds(here, 16))


async def _holds(here: World, count: int) -> bool:
    return sum(claim.gpu_count for claim in (await here.pool()).book.claims.values()) == count
