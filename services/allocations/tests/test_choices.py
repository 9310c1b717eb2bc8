"""Several shapes will do: the most wanted that can be had is granted, and it is told what was passed over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from allocations_world import World, world
from gpuaas.allocations.domain.asking import forms_in, requested
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.choosing import first_of, most_that
from gpuaas.allocations.domain.fair import plan_with_quotas
from gpuaas.allocations.domain.placement import NoPlacement, Placement, place
from gpuaas.allocations.domain.pool import POOL, GrantClaim
from gpuaas.allocations.domain.queue import Line, Plan, Waiting, plan
from gpuaas.allocations.domain.quota import Scope
from gpuaas.allocations.domain.retrying import EVERY_CAUSE, policy_of
from gpuaas.allocations.domain.shape import Form, Shape, forms_of
from gpuaas.allocations.settings import AllocationsSettings
from gpuaas.common.errors import Invalid
from gpuaas.common.testing.running import fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import QuotaSet
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from small_fleet import fleet, give_back, gpus, grant, machine, member, told, withdraw
from test_allocation import ASK


def among(pool: Pool, forms: tuple[Form, ...]) -> Plan:
    standing = Line()
    standing.join(Waiting("a", "acme", "research", forms[0].shape, 0, 0, forms=forms))
    return plan("main", pool, standing, {})


def two_models(h100: int = 1, a100: int = 1) -> Pool:
    return told(
        POOL.initial,
        *(machine(number) for number in range(h100)),
        *(machine(number, model="a100") for number in range(h100, h100 + a100)),
    )


def test_the_first_model_that_has_room_is_taken_and_the_receipt_says_why_not_the_others() -> None:
    pool = told(two_models(), grant("x", member(0, "n0", [0])))
    (claim,) = among(pool, forms_of(Shape(None, 1, 8), ("b200", "h100", "a100"))).grants
    assert claim.gpu_model == "a100"
    assert [(each.wanted, each.reason) for each in claim.receipt.passed_over or ()] == [
        ("1 × 8 GPUs of b200", "unknown-gpu-model"),
        ("1 × 8 GPUs of h100", "insufficient-capacity"),
    ]


def test_the_most_wanted_is_taken_where_it_can_be_had_and_nothing_is_said_of_the_rest() -> None:
    (claim,) = among(two_models(), forms_of(Shape(None, 1, 8), ("h100", "a100"))).grants
    assert (claim.gpu_model, claim.receipt.passed_over, claim.receipt.replicas_wanted) == ("h100", None, None)


def test_another_shape_is_taken_where_the_first_cannot_be_had() -> None:
    forms = forms_of(gpus(8, 4), alternatives=[gpus(8, 3), gpus(4, 4)])
    (claim,) = among(fleet(2), forms).grants
    assert [len(each.device_ids) for each in claim.members] == [4, 4, 4, 4]
    assert len(claim.receipt.passed_over or ()) == 2


def test_a_gang_starts_with_as_many_members_as_there_is_room_for_and_not_with_fewer_than_it_may() -> None:
    pool = told(fleet(5), grant("x", member(0, "n0", [0])))
    (claim,) = among(pool, forms_of(gpus(8, 7), replicas_min=2)).grants
    assert (len(claim.members), claim.receipt.replicas_wanted) == (4, 7)
    waits = among(pool, forms_of(gpus(8, 5), replicas_min=5))
    assert (waits.grants, waits.refusals) == ((), ())


def test_what_waits_for_one_of_several_shapes_is_turned_down_only_if_none_can_ever_be_had() -> None:
    full = told(fleet(1), grant("x", member(0, "n0", [0])))
    waits = among(full, forms_of(gpus(64), alternatives=[gpus(8)]))
    assert [each.reason for each in waits.obstacles.values()] == ["insufficient-capacity"]
    assert {model: kept.nodes for model, kept in waits.kept.items()} == {"h100": 0b1}
    never = among(full, forms_of(gpus(64), alternatives=[gpus(8, 2)]))
    assert [each.reason for each in never.refusals] == ["never-satisfiable"]


def test_within_the_quota_a_smaller_gang_or_another_model_goes_first_and_then_what_is_borrowed() -> None:
    quota = QuotaSet(tenant_id="acme", pool_id="main", gpu_model="h100", nominal_gpus=16, weight=1, reason="x")
    quotas: dict[Scope, QuotaSet] = {("acme", "h100", None): quota}
    standing = Line()
    forms = forms_of(gpus(8, 4), replicas_min=1)
    standing.join(Waiting("a", "acme", "research", forms[0].shape, 0, 0, forms=forms))
    (claim,) = plan_with_quotas("main", fleet(4), standing, {}, quotas).grants
    assert (len(claim.members), claim.receipt.replicas_wanted) == (2, 4)
    never_borrows = Waiting("b", "acme", "research", gpus(8, 4), 0, 0, False, forms=forms_of(gpus(8, 4), (), 3))
    other = Line()
    other.join(never_borrows)
    decided = plan_with_quotas("main", fleet(4), other, {}, quotas)
    assert (decided.grants, list(decided.exhausted)) == ((), ["b"])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (replace(ASK, gpu_models=("h100",), shape=gpus(2, 2)), "not both"),
        (replace(ASK, gpu_models=("h100", "h100"), shape=Shape(None, 2, 2)), "twice"),
        (replace(ASK, replicas_min=3), "between 1 and replicas"),
        (replace(ASK, replicas_min=0), "between 1 and replicas"),
        (replace(ASK, alternatives=(gpus(0),)), "gpus_per_replica must be between"),
        (replace(ASK, alternatives=(gpus(1),) * 9), "at most 8"),
        (replace(ASK, alternatives=(gpus(1),), reservation_id="r"), "leave the alternatives out"),
        (replace(ASK, alternatives=(gpus(8, 8),), gpu_ms_max=63_999), "used up in less than a second"),
    ],
)
def test_choices_that_make_no_sense_are_refused_at_once(wrong: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        requested(wrong)


def test_what_was_asked_for_is_read_back_as_it_was() -> None:
    ask = replace(
        ASK,
        shape=Shape(None, 4, 8, "rack", "required"),
        gpu_models=("h200", "h100"),
        replicas_min=2,
        alternatives=(gpus(1), Shape(None, 2, 1, share_milli=250)),
        retry=policy_of(2, 0, EVERY_CAUSE),
    )
    assert forms_in(requested(ask)) == forms_of(ask.shape, ask.gpu_models, 2, ask.alternatives)


@given(lowest=st.integers(1, 50), more=st.integers(0, 50), limit=st.integers(0, 120))
def test_the_most_is_found_by_halving(lowest: int, more: int, limit: int) -> None:
    found = most_that(lowest, lowest + more, lambda n: n <= max(limit, lowest))
    assert found == min(lowest + more, max(limit, lowest))


Small = st.builds(
    Shape,
    gpu_model=st.sampled_from(["h100", "a100", None]),
    replicas=st.integers(1, 6),
    gpus_per_replica=st.sampled_from([1, 2, 4, 8]),
    topology_level=st.sampled_from([None, "rack"]),
    topology_mode=st.just("required"),
)
Several = st.lists(
    Small.flatmap(lambda shape: st.builds(Form, st.just(shape), st.integers(1, shape.replicas))), min_size=1, max_size=4
)


class Choosing(RuleBasedStateMachine):
    """Requests for one of several shapes against a plain look at each of them, in any order of grants and returns."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = told(two_models(h100=5, a100=3))
        self.asked = 0

    @rule(forms=Several)
    def ask(self, forms: list[Form]) -> None:
        def fits(shape: Shape) -> bool:
            return isinstance(place(self.pool.book, shape, self.pool.events), Placement)

        found = first_of(forms, lambda shape: place(self.pool.book, shape, self.pool.events))
        able = [form for form in forms if fits(form.least)]
        if isinstance(found, NoPlacement):
            assert not able
            return
        first = able[0]
        sizes = [
            n for n in range(first.replicas_min, first.shape.replicas + 1) if fits(replace(first.shape, replicas=n))
        ]
        assert len(found.members) == max(sizes)
        assert {len(each.device_ids) for each in found.members} == {first.shape.gpus_per_replica}
        assert len(found.receipt.passed_over or ()) == forms.index(first)
        assert (found.receipt.replicas_wanted is None) == (max(sizes) == first.shape.replicas)
        self.asked += 1
        claim = GrantClaim("main", f"a{self.asked}", "acme", "ml", found.gpu_model, found.members, found.receipt)
        before = sum(mask.bit_count() for mask in self.pool.book.held)
        self.pool = told(self.pool, claim)
        after = sum(mask.bit_count() for mask in self.pool.book.held)
        assert after - before == max(sizes) * first.shape.gpus_per_replica

    @rule(which=st.integers(0, 20))
    def bring_back(self, which: int) -> None:
        if standing := sorted(self.pool.book.claims):
            self.pool = told(self.pool, give_back(standing[which % len(standing)]))

    @rule(number=st.integers(0, 7))
    def close(self, number: int) -> None:
        self.pool = told(self.pool, withdraw(f"n{number}"))

    @rule(number=st.integers(0, 7))
    def open_again(self, number: int) -> None:
        self.pool = told(self.pool, machine(number, model="h100" if number < 5 else "a100"))


TestChoosing = Choosing.TestCase
TestChoosing.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.fixture
async def here(stack: TestStack, tmp_path: Path) -> AsyncIterator[World]:
    async with (
        fresh_settings(stack, AllocationsSettings, tmp_path / "state") as settings,
        world(settings) as opened,
    ):
        yield opened


async def test_a_request_with_choices_runs_as_what_was_granted_and_why_tells_what_was_passed_over(here: World) -> None:
    await here.machines(2)
    name = await here.ask(
        gpu_models=["b200", "h100"],
        replicas=5,
        replicas_min=5,
        alternatives=[
            {"replicas": 3, "gpus_per_replica": 8},
            {"replicas": 1, "gpus_per_replica": 1, "share_milli": 250},
        ],
        command=["sleep", "infinity"],
    )
    runs = await here.until("active", name)
    assert (runs["gpu_count"], runs["share_milli"], runs["gpu_model"]) == (1, 250, "h100")
    path = f"/v1/tenants/acme/projects/research/allocations/{name}/why"
    told_ = await here.get(path, await here.as_member("acme"))
    assert [each["reason"] for each in told_["receipt"]["passed_over"]] == ["unknown-gpu-model"] + [
        "never-satisfiable"
    ] * 2
    fewer = await here.ask(replicas=3, replicas_min=1, command=["sleep", "infinity"])
    runs = await here.until("active", fewer)
    assert (runs["gpu_count"], len(runs["members"])) == (8, 1)
    await here.release(fewer)
    assert (await here.until("released", fewer))["gpu_count"] == 8
    question = {
        "pool_id": "main",
        "gpu_models": ["b200", "h100"],
        "gpus_per_replica": 8,
        "replicas": 9,
        "replicas_min": 1,
    }
    check = "/v1/tenants/acme/projects/research/allocation-checks"
    answer = await here.client.post(check, json=question, headers=await here.as_member("acme"))
    assert answer.json()["verdict"] == "fits-now"
    await here.ask(status=422, gpu_models=["h100"], gpu_model="h100")
