"""Epochs and divergences: what may be said about the trail, and what not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gpuaas.audit.domain.divergences import DIVERGENCES, ReportDivergence
from gpuaas.audit.domain.epochs import EPOCHS, SealEpoch
from gpuaas.common.errors import Invalid, Rejected

FIRST = SealEpoch(
    first_position=1,
    last_position=10,
    leaf_count=9,
    gap_count=1,
    tree_count=2,
    map_root=bytes(32),
    platform_checkpoint="note",
)


def test_epochs_follow_each_other_without_a_hole() -> None:
    events = EPOCHS.decide(FIRST, EPOCHS.initial)
    sealed = EPOCHS.fold(events)
    assert (sealed.epoch, sealed.last_position) == (1, 10)
    second = replace(FIRST, first_position=11, last_position=11, leaf_count=1, gap_count=0)
    assert EPOCHS.fold(EPOCHS.decide(second, sealed), sealed).epoch == 2
    for hole in (replace(second, first_position=12, last_position=12), FIRST):
        with pytest.raises(Rejected):
            EPOCHS.decide(hole, sealed)


def test_an_epoch_whose_sum_is_not_whole_is_not_sealed() -> None:
    with pytest.raises(Invalid):
        EPOCHS.decide(replace(FIRST, leaf_count=8), EPOCHS.initial)
    with pytest.raises(Rejected):
        EPOCHS.decide(replace(FIRST, last_position=0, leaf_count=0, gap_count=0), EPOCHS.initial)


def test_a_finding_is_said_once_and_again_only_when_it_changes() -> None:
    finding = ReportDivergence("rewritten", 7, "a" * 64, "b" * 64, "other bytes")
    state = DIVERGENCES.fold(DIVERGENCES.decide(finding, DIVERGENCES.initial))
    assert DIVERGENCES.decide(finding, state) == []
    assert len(DIVERGENCES.decide(replace(finding, found_sha256="c" * 64), state)) == 1
