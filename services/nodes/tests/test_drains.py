"""Making a machine empty: what is ordered, what replaces what, and who may call it off."""

from __future__ import annotations

import pytest
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.contracts.nodes import NodeDrainCancelled, NodeDrained, NodeDrainOrdered, NodeHoldLifted, NodeHoldPlaced
from gpuaas.nodes.domain.axes import DrainMode
from gpuaas.nodes.domain.orders import CancelDrain, LiftHold, OrderDrain, PlaceHold, RecordDrained, RetireNode
from node_facts import AVAILABLE, at, hold, last_of, node_after

LET_FINISH = OrderDrain(DrainMode.LET_FINISH, 0, "fan 3 is loud", at(10))
NOTICE = OrderDrain(DrainMode.NOTICE_THEN_STOP, 600, "firmware", at(11), window_id="mw-1")
NOW = OrderDrain(DrainMode.NOW, 0, "coolant leak", at(12))


def test_a_drain_is_an_order_and_a_hold() -> None:
    ordered, placed = last_of(*AVAILABLE, LET_FINISH)
    assert isinstance(ordered, NodeDrainOrdered)
    assert (ordered.mode, ordered.deadline, ordered.window_id) == ("let-finish", None, None)
    assert isinstance(placed, NodeHoldPlaced)
    assert (placed.hold_id, placed.owner, placed.expires_at) == ("drain", "nodes", None)
    assert not node_after(*AVAILABLE, LET_FINISH).placeable


@pytest.mark.parametrize(
    ("order", "minute"),
    [
        (NOTICE, 21),
        (OrderDrain(DrainMode.NOTICE_THEN_STOP, 600, "firmware", at(11), deadline=at(60)), 60),
        (OrderDrain(DrainMode.NOTICE_THEN_STOP, 600, "firmware", at(11), deadline=at(12)), 21),
        (NOW, 12),
    ],
)
def test_the_deadline_is_never_before_the_notice_is_over(order: OrderDrain, minute: int) -> None:
    ordered = last_of(*AVAILABLE, order)[0]
    assert isinstance(ordered, NodeDrainOrdered)
    assert ordered.deadline == at(minute)


def test_a_stronger_order_replaces_a_weaker_one_and_keeps_whose_it_is() -> None:
    events = last_of(*AVAILABLE, NOTICE, NOW)
    assert [type(event) for event in events] == [NodeDrainOrdered]
    assert isinstance(events[0], NodeDrainOrdered)
    assert (events[0].mode, events[0].window_id) == ("now", "mw-1")
    assert last_of(*AVAILABLE, NOW, NOTICE) == []
    assert last_of(*AVAILABLE, NOTICE, NOTICE) == []


def test_an_empty_machine_is_said_to_be_so_once() -> None:
    (drained,) = last_of(*AVAILABLE, NOTICE, RecordDrained(at(30), 48_211))
    assert isinstance(drained, NodeDrained)
    assert (drained.drained_at, drained.pool_position, drained.window_id) == (at(30), 48_211, "mw-1")
    assert last_of(*AVAILABLE, NOTICE, RecordDrained(at(30), 48_211), RecordDrained(at(31), 48_300)) == []
    assert last_of(*AVAILABLE, NOTICE, RecordDrained(at(30), 48_211), NOW) == []
    with pytest.raises(Rejected, match="not being drained"):
        last_of(*AVAILABLE, RecordDrained(at(30), 1))


def test_calling_it_off_opens_the_machine_again() -> None:
    called_off, lifted = last_of(*AVAILABLE, LET_FINISH, CancelDrain("it was the neighbour's fan"))
    assert isinstance(called_off, NodeDrainCancelled)
    assert isinstance(lifted, NodeHoldLifted)
    assert node_after(*AVAILABLE, LET_FINISH, CancelDrain("the neighbour's fan")).placeable
    assert last_of(*AVAILABLE, CancelDrain("nothing to call off")) == []


def test_a_windows_drain_ends_with_the_window_and_an_operators_with_the_operator() -> None:
    with pytest.raises(Rejected, match="mw-1"):
        last_of(*AVAILABLE, NOTICE, CancelDrain("in a hurry"))
    assert last_of(*AVAILABLE, LET_FINISH, CancelDrain("window over", window_id="mw-1")) == []
    assert len(last_of(*AVAILABLE, NOTICE, CancelDrain("window over", window_id="mw-1"))) == 2


def test_nobody_lifts_the_hold_of_a_drain_and_nobody_takes_its_name() -> None:
    with pytest.raises(Rejected, match="nodes's"):
        last_of(*AVAILABLE, LET_FINISH, LiftHold("drain", "u-jonas", "hurry"))
    with pytest.raises(Rejected, match="kept for"):
        last_of(*AVAILABLE, PlaceHold(hold("drain")))


def test_a_retired_machine_is_not_drained_and_notice_has_a_limit() -> None:
    with pytest.raises(Rejected, match="retired"):
        last_of(*AVAILABLE, RetireNode("sold"), LET_FINISH)
    with pytest.raises(Invalid, match="notice_s"):
        last_of(*AVAILABLE, OrderDrain(DrainMode.NOTICE_THEN_STOP, -1, "x", at(1)))
