"""Legal holds and erasures, decided on one history."""

from __future__ import annotations

import pytest
from gpuaas.audit.domain.data_subjects import (
    DATA_SUBJECTS,
    CertifyErasure,
    DataSubject,
    DataSubjectCommand,
    LiftHold,
    OrderErasure,
    PlaceHold,
)
from gpuaas.audit.domain.outcomes import outcome_of
from gpuaas.common.errors import NotFound, Rejected

HOLD = PlaceHold(subject_id="mira", hold_id="h-1", matter="Case 17", reason="court")
LIFT = LiftHold(subject_id="mira", hold_id="h-1", reason="closed")
ERASE = OrderErasure(subject_id="mira", erasure_id="er-1", basis="request", reason="ticket")
CERTIFY = CertifyErasure("mira", "er-1", "e-1", 1, 0, "note\n")


def after(*commands: DataSubjectCommand) -> DataSubject:
    state = DATA_SUBJECTS.initial
    for command in commands:
        state = DATA_SUBJECTS.fold(DATA_SUBJECTS.decide(command, state), state)
    return state


def test_a_person_is_kept_held_erasing_and_erased_in_this_order() -> None:
    story = (HOLD, LIFT, ERASE, CERTIFY)
    assert [after(*story[:length]).status for length in range(5)] == ["kept", "held", "kept", "erasing", "erased"]


def test_one_standing_hold_is_enough_to_forbid_an_erasure() -> None:
    second = PlaceHold(subject_id="mira", hold_id="h-2", matter="Case 18", reason="tax")
    with pytest.raises(Rejected, match="h-2 \\(Case 18\\)"):
        after(HOLD, second, LIFT, ERASE)


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ((ERASE,), HOLD),
        ((HOLD,), HOLD),
        ((HOLD, LIFT), HOLD),
        ((ERASE,), ERASE),
        ((ERASE, CERTIFY), ERASE),
        ((), CERTIFY),
        ((ERASE,), CertifyErasure("mira", "er-2", "e-1", 1, 0, "note\n")),
    ],
)
def test_what_comes_too_late_or_twice_is_refused(
    before: tuple[DataSubjectCommand, ...], command: DataSubjectCommand
) -> None:
    with pytest.raises(Rejected):
        DATA_SUBJECTS.decide(command, after(*before))


def test_a_hold_that_does_not_stand_cannot_be_lifted() -> None:
    with pytest.raises(NotFound):
        DATA_SUBJECTS.decide(LIFT, after(HOLD, LIFT))


def test_a_repeated_certificate_says_nothing_new() -> None:
    assert DATA_SUBJECTS.decide(CERTIFY, after(ERASE, CERTIFY)) == []


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("gpuaas.allocations.allocation-rejected.v1", "failure"),
        ("gpuaas.nodes.node-validation-failed.v2", "failure"),
        ("gpuaas.billing.usage-metered.v1", "success"),
        (None, "unknown"),
    ],
)
def test_how_it_ended_is_read_off_the_type(kind: str | None, outcome: str) -> None:
    assert outcome_of(kind) == outcome
