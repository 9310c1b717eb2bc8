"""Where gangs go, and what is said when they go nowhere."""

from __future__ import annotations

import pytest
from gpuaas.allocations.domain.capacity import Pool
from gpuaas.allocations.domain.placement import NoPlacement, Placement, fragments, hold_back, place, preference
from gpuaas.allocations.domain.shape import Shape, refuse_absurd
from gpuaas.common.errors import Invalid
from small_fleet import fleet, gpus, grant, holding, machine, member, placed, told, withdraw


def refused(pool: Pool, shape: Shape) -> NoPlacement:
    found = place(pool.book, shape, pool.events)
    assert isinstance(found, NoPlacement), found
    return found


def nodes(found: Placement) -> list[str]:
    return [m.node_id for m in found.members]


def test_a_replica_goes_where_least_is_left_over() -> None:
    pool = told(fleet(3), grant("a", member(0, "n1", [0, 1, 2, 3, 4])), grant("b", member(0, "n2", [0, 1])))
    assert nodes(placed(pool, gpus(3))) == ["n1"]
    assert nodes(placed(pool, gpus(6))) == ["n2"]
    assert nodes(placed(pool, gpus(8))) == ["n0"]


def test_among_equals_the_machine_enrolled_first_is_taken() -> None:
    assert nodes(placed(fleet(3), gpus(8))) == ["n0"]


def test_the_same_pool_gives_the_same_place() -> None:
    assert placed(fleet(5), gpus(2, 7)) == placed(fleet(5), gpus(2, 7))


def test_typical_demand_decides_which_fragments_hurt() -> None:
    # In a world of fours a node with 5 free loses least by going to 4, one with 4 free would be spoilt for them.
    demand = (0, 0, 0, 0, 100)
    waste = fragments(demand, 9)
    assert preference("least-fragments-v1", waste, 1)[:2] in ([1, 2], [1, 2])
    assert preference("least-fragments-v1", waste, 1).index(5) < preference("least-fragments-v1", waste, 1).index(4)
    assert preference("best-fit-v1", waste, 1) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert preference("spread-v1", waste, 1)[0] == 8


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    pool = told(fleet(2), grant("a", member(0, "n0", [0])))
    assert len(placed(pool, gpus(4, 3)).members) == 3
    assert refused(pool, gpus(8, 2)).reason == "insufficient-capacity"


def test_a_required_rack_holds_the_whole_gang() -> None:
    pool = fleet(8, per_rack=4)
    pool = told(pool, grant("a", member(0, "n0", range(8))))
    found = placed(pool, gpus(8, 4, topology_level="rack", topology_mode="required"))
    assert nodes(found) == ["n4", "n5", "n6", "n7"]
    pool = told(pool, grant("b", member(0, "n4", [0])))
    short = refused(pool, gpus(8, 4, topology_level="rack", topology_mode="required"))
    assert short.reason == "topology-unsatisfied"


def test_the_tightest_rack_that_can_take_the_gang_is_chosen() -> None:
    pool = told(fleet(8, per_rack=4), grant("a", member(0, "n4", range(8))), grant("b", member(0, "n5", range(8))))
    assert nodes(placed(pool, gpus(8, 2, topology_level="rack", topology_mode="required"))) == ["n6", "n7"]


def test_a_rack_with_the_same_name_in_another_pod_is_another_rack() -> None:
    first, second = machine(0), machine(1)
    elsewhere = second.topology.model_copy(update={"pod": "p9", "rack": first.topology.rack})
    pool = told(fleet(1), type(second)("main", "n1", "h100", second.device_ids, elsewhere))
    assert refused(pool, gpus(8, 2, topology_level="rack", topology_mode="required")).reason == "never-satisfiable"


def test_a_preferred_rack_widens_level_by_level() -> None:
    pool = fleet(8, per_rack=4)
    for number in (0, 1, 4, 5):
        pool = told(pool, grant(f"a{number}", member(0, f"n{number}", range(8))))
    found = placed(pool, gpus(8, 3, topology_level="rack", topology_mode="preferred"))
    assert len(found.members) == 3
    assert nodes(placed(pool, gpus(8, 3, topology_level="rack"))) == nodes(found)
    assert refused(pool, gpus(8, 3, topology_level="rack", topology_mode="required")).reason == "topology-unsatisfied"


def test_any_model_takes_the_first_that_fits() -> None:
    pool = told(fleet(1, model="a100"), machine(1, model="h100"))
    anything = Shape(None, 1, 8)
    assert placed(pool, anything).gpu_model == "a100"
    assert placed(holding(pool, "a", anything), anything).gpu_model == "h100"


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [
        (gpus(16), "2 × 8"),
        (gpus(64), "4 × 8"),
        (gpus(8, 5), "4 × 8"),
        (gpus(8, 3, topology_level="rack", topology_mode="required"), "2 × 8"),
    ],
)
def test_what_can_never_fit_is_said_at_once_with_the_nearest_shape(shape: Shape, nearest: str) -> None:
    found = refused(fleet(4, per_rack=2), shape)
    assert found.forever
    assert found.reason == "never-satisfiable"
    assert nearest in found.detail


def test_a_withdrawn_machine_may_come_back_so_waiting_is_not_in_vain() -> None:
    assert not refused(told(fleet(1), withdraw("n0")), gpus(8)).forever


def test_a_model_that_nobody_has_is_unknown() -> None:
    assert refused(fleet(1), Shape("b200", 1, 1)).reason == "unknown-gpu-model"


def test_an_empty_pool_holds_nothing() -> None:
    assert refused(fleet(0), Shape(None, 1, 1)).forever


def test_the_receipt_tells_why_which_machines_were_left_out() -> None:
    pool = told(
        fleet(4),
        machine(9, model="a100"),
        withdraw("n3"),
        grant("a", member(0, "n0", range(7))),
    )
    receipt = placed(pool, gpus(4)).receipt
    assert {e.reason: e.nodes for e in receipt.exclusions} == {
        "withdrawn": 1,
        "other-gpu-model": 1,
        "insufficient-free-gpus": 1,
    }
    assert (receipt.nodes_considered, receipt.runner_up_node_id) == (5, "n2")
    assert receipt.pool_version == pool.events


def test_what_is_kept_for_the_head_is_the_machine_nearest_to_being_free() -> None:
    pool = told(fleet(2), grant("a", member(0, "n0", [0, 1])), grant("b", member(0, "n1", [0])))
    kept = hold_back(pool.book, gpus(8))
    assert kept == {"h100": 0b10}
    behind = place(pool.book, gpus(7), 0, held_back=kept)
    assert isinstance(behind, NoPlacement)
    assert behind.reason == "behind-higher-priority"
    aside = place(pool.book, gpus(6), 0, held_back=kept)
    assert isinstance(aside, Placement)
    assert nodes(aside) == ["n0"]
    assert {e.reason for e in aside.receipt.exclusions} == {"kept-for-the-head"}


def test_nothing_is_kept_for_what_drained_machines_could_not_hold() -> None:
    assert hold_back(told(fleet(2), withdraw("n0")).book, gpus(8, 2)) == {}


@pytest.mark.parametrize(
    "shape",
    [gpus(0), gpus(-1), gpus(65), gpus(1, 0), gpus(1, -4), gpus(1, 1025), Shape("h100", 1, 1, None, "required")],
)
def test_an_absurd_shape_goes_no_further(shape: Shape) -> None:
    with pytest.raises(Invalid):
        refuse_absurd(shape)


def test_a_rack_with_machines_kept_for_the_head_is_passed_over() -> None:
    pool = told(fleet(8, per_rack=4), grant("a", member(0, "n0", range(8))))
    within = gpus(8, 3, topology_level="rack", topology_mode="required")
    assert nodes(placed(pool, within)) == ["n1", "n2", "n3"]
    aside = place(pool.book, within, 0, held_back={"h100": 0b10})
    assert isinstance(aside, Placement)
    assert nodes(aside) == ["n4", "n5", "n6"]
    reasons = {e.reason: e.nodes for e in aside.receipt.exclusions}
    assert reasons == {"insufficient-free-gpus": 1, "kept-for-the-head": 1, "outside-the-domain": 2}
