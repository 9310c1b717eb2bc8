"""Who goes next, and that nobody is made to wait for ever."""

from __future__ import annotations

from collections.abc import Mapping

from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.queue import Kept, Line, Plan, Waiting, plan
from gpuaas.allocations.domain.shape import Shape
from hypothesis import given, settings
from hypothesis import strategies as st
from small_fleet import fleet, give_back, gpus, grant, machine, member, told, withdraw


def line(*waiting: tuple[str, Shape, int]) -> Line:
    """Requests in order of arrival: (id, shape, priority)."""
    standing = Line()
    for arrival, (name, shape, priority) in enumerate(waiting):
        standing.join(Waiting(name, "acme", "research", shape, priority, arrival))
    return standing


def go(pool: Pool, standing: Line, kept: Mapping[str, Kept] | None = None, most: int = 200) -> Plan:
    return plan("main", pool, standing, kept or {}, grants_max=most)


def granted(cycle: Plan) -> list[str]:
    return [claim.allocation_id for claim in cycle.grants]


def test_higher_priority_goes_first_then_earlier_arrival() -> None:
    standing = line(("low", gpus(8), 0), ("first", gpus(8), 5), ("second", gpus(8), 5), ("high", gpus(8), 9))
    assert granted(go(fleet(3), standing)) == ["high", "first", "second"]


def test_a_cycle_changes_neither_line_nor_pool() -> None:
    pool, standing = fleet(1), line(("a", gpus(8), 0))
    assert granted(go(pool, standing)) == granted(go(pool, standing)) == ["a"]
    assert pool.book.models["h100"].free.total == 8


def test_many_requests_of_one_cycle_never_share_a_gpu() -> None:
    cycle = go(fleet(2), line(*((f"a{i}", gpus(3), 0) for i in range(9))))
    devices = [(m.node_id, device) for claim in cycle.grants for m in claim.members for device in m.device_ids]
    assert len(cycle.grants) == 4
    assert len(set(devices)) == len(devices)


def test_a_small_request_passes_a_blocked_gang_without_touching_what_is_kept_for_it() -> None:
    pool = told(fleet(2), grant("x", member(0, "n0", [0])), grant("y", member(0, "n1", [0, 1])))
    cycle = go(pool, line(("gang", gpus(8), 0), ("small", gpus(1), 0)))
    assert granted(cycle) == ["small"]
    assert cycle.grants[0].members[0].node_id == "n1"
    assert cycle.kept == {"h100": Kept("gang", 0b01)}
    assert {o.reason for o in cycle.obstacles.values()} == {"insufficient-capacity"}


def test_what_would_only_fit_on_kept_machines_waits_behind_the_head() -> None:
    pool = told(fleet(1), grant("x", member(0, "n0", [0])))
    cycle = go(pool, line(("gang", gpus(8), 0), ("small", gpus(1), 0)))
    assert granted(cycle) == []
    assert [o.reason for o in cycle.obstacles.values()] == ["insufficient-capacity", "behind-higher-priority"]


def test_higher_priority_is_not_bound_by_what_is_kept() -> None:
    pool = told(fleet(1), grant("x", member(0, "n0", [0])))
    assert granted(go(pool, line(("gang", gpus(8), 0), ("urgent", gpus(1), 1)))) == ["urgent"]


def test_another_model_is_not_held_up() -> None:
    pool = told(fleet(1), grant("x", member(0, "n0", [0])), machine(1, model="a100"))
    assert granted(go(pool, line(("gang", gpus(8), 0), ("other", Shape("a100", 1, 8), 0)))) == ["other"]


def test_the_kept_machines_stay_the_same_while_the_head_does() -> None:
    pool = told(fleet(2), grant("x", member(0, "n0", [0])), grant("y", member(0, "n1", [0, 1])))
    standing = line(("gang", gpus(8), 0))
    kept = go(pool, standing).kept
    pool = told(pool, give_back("y"), grant("z", member(0, "n1", [0])))
    assert go(pool, standing, kept).kept == kept
    pool = told(pool, withdraw("n0"))
    assert go(pool, standing, kept).kept == {"h100": Kept("gang", 0b10)}


def test_the_head_starts_when_its_machine_has_drained_whatever_came_after_it() -> None:
    pool = told(fleet(2), grant("x", member(0, "n0", [0])), grant("y", member(0, "n1", [0, 1])))
    standing = line(("gang", gpus(8), 0))
    kept: dict[str, Kept] = {}
    for arrival in range(20):
        standing.join(Waiting(f"s{arrival}", "acme", "research", gpus(1), 0, 100 + arrival))
        cycle = go(pool, standing, kept)
        for claim in cycle.grants:
            pool = told(pool, claim)
            standing.leave(claim.allocation_id)
        kept = dict(cycle.kept)
    assert "gang" in standing
    pool = told(pool, give_back("x"))
    assert granted(go(pool, standing, kept))[0] == "gang"


def test_what_can_never_be_served_leaves_the_line_and_blocks_nobody() -> None:
    cycle = go(fleet(1), line(("absurd", gpus(16), 9), ("strange", Shape("b200", 1, 1), 9), ("fine", gpus(8), 0)))
    assert granted(cycle) == ["fine"]
    assert {(r.waiting.allocation_id, r.reason) for r in cycle.refusals} == {
        ("absurd", "never-satisfiable"),
        ("strange", "unknown-gpu-model"),
    }


def test_a_cycle_has_a_limit_and_says_that_there_is_more() -> None:
    cycle = go(fleet(2), line(*((f"a{i}", gpus(1), 0) for i in range(5))), most=3)
    assert (granted(cycle), cycle.full) == (["a0", "a1", "a2"], True)


def test_joining_twice_or_late_keeps_the_order_of_arrival() -> None:
    standing = line(("b", gpus(8), 0), ("c", gpus(8), 0))
    standing.join(Waiting("a", "acme", "research", gpus(8), 0, -1))
    standing.join(Waiting("a", "acme", "research", gpus(8), 0, 99))
    assert granted(go(fleet(3), standing)) == ["a", "b", "c"]
    assert standing.leave("b") is not None
    assert standing.leave("b") is None
    assert granted(go(fleet(3), standing)) == ["a", "c"]
    assert len(standing) == 2


Requests = st.lists(
    st.tuples(st.sampled_from([gpus(1), gpus(2), gpus(8), gpus(8, 2), gpus(4, 3)]), st.integers(0, 2)), max_size=25
)


@settings(max_examples=80, deadline=None)
@given(requests=Requests, ends=st.lists(st.integers(0, 10), max_size=60))
def test_everyone_is_served_in_the_end_and_no_gpu_twice(requests: list[tuple[Shape, int]], ends: list[int]) -> None:
    pool = fleet(3)
    kept: dict[str, Kept] = {}
    standing = line(*((f"a{i}", shape, priority) for i, (shape, priority) in enumerate(requests)))
    for turn in [*ends, *([0] * 200)]:
        cycle = go(pool, standing, kept)
        for claim in cycle.grants:
            pool = told(pool, claim)
            standing.leave(claim.allocation_id)
        kept = dict(cycle.kept)
        running = sorted(pool.book.claims)
        if not running:
            break
        pool = told(pool, give_back(running[turn % len(running)]))
    assert len(standing) == 0
    assert pool.book.held == [0, 0, 0]
