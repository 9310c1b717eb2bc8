"""Answers come from the same code as decisions, and change nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.answers import suppose, why_not
from gpuaas.allocations.domain.nearest import nearest
from gpuaas.allocations.domain.shape import Shape
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.errors import Invalid
from gpuaas.common.testing.running import eventually, fresh_settings, spoken
from gpuaas.common.testing.stack import TestStack
from small_fleet import fleet, gpus, grant, machine, member, placed, told, withdraw

HOME = "/v1/tenants/acme/projects/research"


def test_what_would_fit_says_where_the_engine_would_put_it() -> None:
    pool = fleet(4)
    found = suppose(pool, gpus(8, 2))
    assert found.verdict == "fits-now"
    assert found.placement == placed(pool, gpus(8, 2))


def test_what_would_wait_and_what_never_fits_are_told_apart() -> None:
    pool = told(fleet(2), grant("a", member(0, "n0", range(8))))
    assert suppose(pool, gpus(8, 2)).verdict == "would-wait"
    never = suppose(pool, gpus(8, 3))
    assert (never.verdict, never.reason) == ("never", "never-satisfiable")
    assert never.detail is not None
    assert "2 × 8" in never.detail


def test_what_never_fits_is_told_with_shapes_that_would() -> None:
    pool = told(fleet(2), *(machine(number, gpus=4, model="l40s") for number in (2, 3, 4)))
    found = {each.change: (each.replicas, each.gpus_per_replica) for each in nearest(pool.book, gpus(16))}
    assert found == {"smaller-members": (2, 8), "fewer-gpus-per-member": (1, 8)}
    three = nearest(pool.book, gpus(8, 3))
    assert [(each.change, each.replicas, each.gpus_per_replica) for each in three] == [
        ("fewer-members", 2, 8),
        ("fewer-gpus-per-member", 3, 4),
    ]
    four = nearest(pool.book, gpus(4, 5))
    assert [each.change for each in four] == ["fewer-members", "fewer-gpus-per-member"]
    other = nearest(pool.book, Shape("a100", 3, 4))
    assert [(each.change, each.gpu_model) for each in other] == [("other-model", "h100")]
    apart = nearest(fleet(8).book, gpus(8, 6, topology_level="rack", topology_mode="required"))
    assert [(each.change, each.replicas) for each in apart] == [
        ("wider-topology", 6),
        ("fewer-members", 4),
        ("fewer-gpus-per-member", 6),
    ]
    shares = nearest(fleet(1).book, Shape("h100", 17, 1, share_milli=500))
    assert [(each.change, each.replicas, each.share_milli) for each in shares] == [("fewer-members", 16, 500)]
    assert nearest(pool.book, gpus(8, 2)) == ()


def test_machines_that_are_not_there_help_only_in_thought() -> None:
    pool = fleet(2)
    more = [machine(number) for number in (2, 3)]
    assert suppose(pool, gpus(8, 4), more=more).verdict == "fits-now"
    assert suppose(pool, gpus(8, 4)).verdict == "never"
    assert len(pool.book.nodes) == 2


def test_a_shape_that_makes_no_sense_is_no_question() -> None:
    with pytest.raises(Invalid):
        suppose(fleet(1), gpus(0))


@pytest.mark.parametrize(
    ("node_id", "shape", "why"),
    [
        ("n9", gpus(1), "not part of this pool"),
        ("n1", gpus(1), "takes no new claims: a hold"),
        ("n0", Shape("a100", 1, 1), "not of a100"),
        ("n0", gpus(16), "has 8 GPUs, a replica wants 16"),
        ("n0", gpus(4), "has 2 free GPUs now, a replica wants 4"),
        ("n2", gpus(1), "prefers n0"),
        ("n0", gpus(1), "would choose it"),
        ("n0", gpus(2, 8), "not the whole gang"),
        ("n0", Shape("h100", 1, 1, share_milli=500), "would choose it"),
    ],
)
def test_why_not_there(node_id: str, shape: Shape, why: str) -> None:
    pool = told(fleet(3), withdraw("n1"), grant("a", member(0, "n0", range(6))))
    assert why in why_not(pool, shape, node_id, held_by_it=False)


def test_it_is_there() -> None:
    assert why_not(fleet(1), gpus(1), "n0", held_by_it=True).startswith("it is")


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    async with fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings, world(settings) as opened:
        yield opened


async def test_the_line_has_places_and_a_tenant_sees_only_its_own(here: World) -> None:
    await here.machines(1)
    holder = await here.ask(command=["sleep", "infinity"])
    await here.until("active", holder)
    mine, theirs = await here.ask(), await here.ask(tenant_id="rival", priority=5)
    await here.until("queued", mine)
    await here.until("queued", theirs, tenant_id="rival")
    whole = (await here.get("/v1/pools/main/queue"))["items"]
    assert [(row["queue_position"], row["allocation_id"], row["gpus_ahead"]) for row in whole] == [
        (1, theirs, 0),
        (2, mine, 8),
    ]
    own = (await here.get(f"{HOME}/queue", await here.as_member("acme")))["items"]
    assert [(row["queue_position"], row["allocation_id"]) for row in own] == [(2, mine)]
    first = await here.get("/v1/pools/main/queue", limit=1)
    rest = await here.get("/v1/pools/main/queue", limit=1, cursor=first["next_cursor"])
    assert [row["allocation_id"] for row in rest["items"]] == [mine]
    await here.get(f"{HOME}/queue", await here.as_member("rival"), status=404)
    then = await here.service.log.last_position()
    await here.release(mine)
    await here.release(holder)
    await here.until("active", theirs, tenant_id="rival")
    assert (await here.get("/v1/pools/main/queue"))["items"] == []
    past = (await here.get("/v1/pools/main/queue", as_of=then))["items"]
    assert [(row["queue_position"], row["allocation_id"]) for row in past] == [(1, theirs), (2, mine)]
    own = (await here.get(f"{HOME}/queue", await here.as_member("acme"), as_of=then))["items"]
    assert [row["allocation_id"] for row in own] == [mine]
    why = await here.get(f"{HOME}/allocations/{mine}/why", await here.as_member("acme"), as_of=then)
    assert (why["state"], why["history"][-1]["position"] <= then) == ("queued", True)
    await here.get(f"{HOME}/allocations/{mine}/why", await here.as_member("acme"), status=404, as_of=1)


async def _quoted(here: World, name: str) -> bool:
    return (await here.one(name))["quoted_start"] is not None


async def test_questions_by_door(here: World) -> None:
    await here.machines(1)
    before = await here.service.log.last_position()
    holder = await here.ask(command=["sleep", "infinity"])
    await here.until("active", holder)
    waiting = await here.ask()
    await here.until("queued", waiting)
    await eventually(lambda: _quoted(here, waiting))  # else that is said while we ask, and counted below
    path = f"/v1/allocations/{waiting}/why-not/n0"
    assert "has 0 free GPUs now" in (await here.get(path))["why_not"]
    assert "would choose it" in (await here.get(path, as_of=before))["why_not"]
    assert (await here.get(f"/v1/allocations/{holder}/why-not/n0"))["why_not"].startswith("it is")
    await here.get("/v1/allocations/ghost/why-not/n0", status=404)
    member, position = await here.as_member("acme"), await spoken(here.service.log)
    ask = {"pool_id": "main", "gpus_per_replica": 8, "replicas": 2}
    check = await here.client.post(f"{HOME}/allocation-checks", json=ask, headers=member)
    assert (check.status_code, check.json()["verdict"]) == (200, "never")
    assert [each["change"] for each in check.json()["nearest"]] == ["fewer-members", "fewer-gpus-per-member"]
    more = {"gpus_per_replica": 8, "more_machines": {"count": 1, "gpu_model": "h100", "gpus": 8}}
    what = await here.client.post("/v1/pools/main/suppositions", json=more, headers=here.operator)
    assert (what.json()["verdict"], what.json()["members"][0]["node_id"]) == ("fits-now", "supposed-0")
    without = await here.client.post("/v1/pools/main/suppositions", json={"gpus_per_replica": 8}, headers=here.operator)
    starts = [datetime.fromisoformat(each.json()["quoted_start"]["p50_at"]) for each in (what, without)]
    assert starts[1] - starts[0] > timedelta(hours=12), "with a machine more it need not wait for two leases of a day"
    assert (await here.client.post("/v1/pools/main/suppositions", json=more, headers=member)).status_code == 403
    assert (await here.client.post("/v1/pools/no/suppositions", json=more, headers=here.operator)).status_code == 404
    assert await spoken(here.service.log) == position
