"""The main job on a whole running suite: enrol, ask, run, meter, bill, prove. One law: three readings must agree.

The trace says what should have run, the log what did, the invoices what it cost; the offline verifier judges all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from gpuaas.cli.client import Refused, Suite
from gpuaas.cli.demo import play, proof
from gpuaas.cli.demo.world import World

from tests.drills.stage import admin_key, member
from tests.flows.main_job import JOBS, Played

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_every_job_of_the_trace_ran_to_its_end(played: Played) -> None:
    assert len(played.jobs) == len(played.submitted) == JOBS
    assert len(set(played.submitted.values())) == JOBS
    assert {state: count for state, count in played.states.items() if count} == {"released": JOBS}
    assert played.reading.by_type["gpuaas.allocations.allocation-requested.v1"] == JOBS
    assert played.reading.by_type["gpuaas.allocations.allocation-released.v1"] == JOBS


async def test_trace_meter_and_bill_agree_to_the_millisecond(played: Played) -> None:
    traced = proof.expected_gpu_ms(played.jobs)
    billed: Counter[str] = Counter()
    for tenant, invoice in played.invoices.items():
        billed[tenant] += sum(int(line["gpu_ms"]) for line in invoice["lines"])
    assert traced == played.reading.gpu_ms == billed
    assert traced.total() > 0


async def test_every_tenant_pays_what_the_trace_costs_at_the_list_price(played: Played) -> None:
    expected = proof.expected_amounts(played.jobs, play.GPU_HOUR_PRICE, play.CURRENCY)
    assert {tenant: Decimal(invoice["total"]) for tenant, invoice in played.invoices.items()} == expected
    assert played.run["status"] == "completed"
    assert played.run["invoices"] == len(played.tenants)


async def test_a_verifier_that_knows_nothing_of_the_suite_proves_every_invoice(played: Played) -> None:
    assert [(each.tenant, each.verdict, each.detail) for each in played.verified] == [
        (tenant, "verified", each.detail) for tenant, each in zip(sorted(played.tenants), played.verified, strict=True)
    ]
    assert all(each.checks > 0 for each in played.verified)


async def test_no_gpu_was_ever_held_twice_and_none_is_held_at_the_end(played: Played) -> None:
    assert played.reading.held_twice == []
    assert played.reading.still_held == 0


async def test_the_trial_balance_is_zero_and_is_not_empty(world: World, played: Played) -> None:
    told = await world.operator.get("billing", "/v1/trial-balance")
    owed = sum(Decimal(invoice["total"]) for invoice in played.invoices.values())
    assert owed > 0
    [item] = told["items"]
    assert told["balanced"] is True
    assert item["currency"] == play.CURRENCY
    assert [Decimal(item[column]) for column in ("gained", "lost", "difference")] == [owed, -owed, Decimal(0)]


async def test_the_audit_trail_has_one_leaf_for_every_position_of_the_log(world: World, played: Played) -> None:
    ready = await world.operator.ready("audit")
    assert ready is not None
    positions = [
        item["position"]
        async for item in world.operator.items("audit", "/v1/trail", order="oldest")
        if item["position"] <= ready["log_position"]
    ]
    assert positions == list(range(1, ready["log_position"] + 1))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def insider(world: World, played: Played) -> AsyncIterator[Suite]:
    """Somebody with every right in the first of the tenants, and none outside."""
    async with member(world, await admin_key(world, sorted(played.tenants)[0])) as client:
        yield client


def of_tenant(played: Played, tenant: str) -> list[tuple[str, str]]:
    """Every place where something of `tenant` that exists can be read: (service, path)."""
    job = next(job for job in played.jobs if job.tenant == tenant)
    project = f"/v1/tenants/{tenant}/projects/{job.project}"
    allocation = f"{project}/allocations/{played.submitted[job.name]}"
    invoice = played.invoices[tenant]["invoice_id"]
    return [
        ("iam", f"/v1/tenants/{tenant}"),
        ("iam", f"/v1/tenants/{tenant}/projects"),
        ("iam", f"/v1/tenants/{tenant}/service-accounts"),
        ("iam", f"/v1/tenants/{tenant}/bindings"),
        ("allocations", f"/v1/tenants/{tenant}/allocations"),
        ("allocations", f"{project}/allocations"),
        ("allocations", allocation),
        ("allocations", f"{allocation}/why"),
        ("billing", f"/v1/tenants/{tenant}/usage"),
        ("billing", f"{project}/usage"),
        ("billing", f"/v1/tenants/{tenant}/charges"),
        ("billing", f"/v1/tenants/{tenant}/invoices"),
        ("billing", f"/v1/tenants/{tenant}/invoices/{invoice}"),
        ("billing", f"/v1/tenants/{tenant}/ledger/balances"),
        ("billing", f"/v1/tenants/{tenant}/ledger/transfers"),
        ("audit", f"/v1/tenants/{tenant}/trail"),
        ("audit", f"/v1/tenants/{tenant}/checkpoint"),
        ("audit", f"/v1/tenants/{tenant}/tile/entries/000"),
        ("audit", f"/v1/tenants/{tenant}/epoch"),
        ("audit", f"/v1/tenants/{tenant}/bundles/invoices/{invoice}"),
    ]


async def test_a_tenants_admin_reads_every_place_of_its_own(played: Played, insider: Suite) -> None:
    own, *_ = sorted(played.tenants)
    for service, path in of_tenant(played, own):
        if "/tile/" not in path:  # which tiles there are depends on the tree's size
            assert await insider.get_bytes(service, path), path


async def test_another_tenants_things_look_exactly_like_things_that_are_not(played: Played, insider: Suite) -> None:
    """What is said of the other tenant is what is said of a tenant that was never opened."""
    _, other, *_ = sorted(played.tenants)
    for service, path in of_tenant(played, other):
        absent = path.replace(other, "vc-nobody")
        assert await refusal(insider, service, path) == await refusal(insider, service, absent), path


async def test_nothing_of_another_tenant_can_be_changed(played: Played, insider: Suite) -> None:
    _, other, *_ = sorted(played.tenants)
    job = next(job for job in played.jobs if job.tenant == other)
    place = f"/v1/tenants/{other}/projects/{job.project}/allocations"
    ask = {"pool_id": play.POOL, "gpus_per_replica": 1, "image": "philly"}
    for service, path, body in (
        ("allocations", place, ask),
        ("allocations", f"{place}/{played.submitted[job.name]}/release", None),
        ("iam", f"/v1/tenants/{other}/projects", {"project_id": "mine", "display_name": "Mine"}),
        ("iam", f"/v1/tenants/{other}/service-accounts", {"display_name": "Mine"}),
    ):
        with pytest.raises(Refused) as refused:
            await insider.post(service, path, body)
        assert refused.value.status == 404, path


async def test_another_tenants_things_are_not_found_below_ones_own_path_either(played: Played, insider: Suite) -> None:
    own, other, *_ = sorted(played.tenants)
    theirs = next(job for job in played.jobs if job.tenant == other)
    allocation, invoice = played.submitted[theirs.name], played.invoices[other]["invoice_id"]
    for service, path in (
        ("allocations", f"/v1/tenants/{own}/projects/{theirs.project}/allocations/{allocation}"),
        ("allocations", f"/v1/tenants/{own}/projects/{theirs.project}/allocations/{allocation}/why"),
        ("billing", f"/v1/tenants/{own}/invoices/{invoice}"),
        ("audit", f"/v1/tenants/{own}/bundles/invoices/{invoice}"),
    ):
        status, _ = await refusal(insider, service, path)
        assert status == 404, path


async def test_a_tenants_lists_hold_its_own_things_only(played: Played, insider: Suite) -> None:
    own, *others = sorted(played.tenants)
    for service, path in (
        ("allocations", f"/v1/tenants/{own}/allocations"),
        ("billing", f"/v1/tenants/{own}/usage"),
        ("audit", f"/v1/tenants/{own}/trail"),
    ):
        items = [str(item) async for item in insider.items(service, path)]
        assert items
        assert [item for item in items if any(other in item for other in others)] == []
    assert [item["tenant_id"] async for item in insider.items("iam", "/v1/tenants")] == [own]
    assert {item["tenant_id"] async for item in insider.items("allocations", "/v1/allocations")} == {own}


async def test_a_tenant_sees_nothing_of_the_platform(insider: Suite) -> None:
    for service, path in (
        ("allocations", "/v1/pools"),
        ("billing", "/v1/trial-balance"),
        ("billing", "/v1/billing-runs"),
        ("nodes", "/v1/nodes"),
        ("audit", "/v1/trail"),
        ("audit", "/v1/platform/checkpoint"),
        ("allocations", "/v1/projections"),
    ):
        status, _ = await refusal(insider, service, path)
        assert status == 403, path


async def refusal(client: Suite, service: str, path: str) -> tuple[int, dict[str, Any]]:
    """What a question is refused with; its decision's id, which is always another, left out."""
    with pytest.raises(Refused) as refused:
        await client.get_bytes(service, path)
    return refused.value.status, {name: told for name, told in refused.value.problem.items() if name != "decision_id"}
