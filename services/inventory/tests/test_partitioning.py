"""Instances of GPUs: NVIDIA's table as data; whatever fits never counts for more than one GPU."""

from __future__ import annotations

from itertools import product

import pytest
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.inventory.domain.gpu_model import built_in as models
from gpuaas.inventory.domain.partitioning import (
    PARTITIONING,
    Partitioning,
    PublishPartitioning,
    built_in,
    decide,
    fits,
    room_for,
)

A100 = next(order for order in built_in() if order.gpu_model == "nvidia-a100-sxm4-40gb")
PUBLISHED = PARTITIONING.fold(decide(A100, Partitioning()))


@pytest.mark.parametrize("order", built_in(), ids=lambda order: order.gpu_model)
def test_every_combination_that_fits_is_one_gpu_at_most(order: PublishPartitioning) -> None:
    names = [profile.profile for profile in order.profiles]
    fitting = 0
    for counts in product(*(range(profile.instances_max + 1) for profile in order.profiles)):
        if fits(order.profiles, dict(zip(names, counts, strict=True))):
            fitting += 1
            shares = zip(order.profiles, counts, strict=True)
            assert sum(profile.share_milli * count for profile, count in shares) <= 1000
    assert fitting > 50


@pytest.mark.parametrize(
    ("counts", "possible"),
    [
        ({"1g-5gb": 7}, True),
        ({"1g-5gb": 8}, False),
        ({"4g-20gb": 1, "3g-20gb": 1}, True),
        ({"4g-20gb": 1, "2g-10gb": 1, "1g-5gb": 1}, True),
        ({"4g-20gb": 2}, False),
        ({"3g-20gb": 2, "1g-5gb": 1}, False),
        ({"2g-10gb": 3, "1g-5gb": 1}, True),
        ({"7g-40gb": 1, "1g-5gb": 1}, False),
        ({}, True),
    ],
)
def test_combinations_are_those_of_nvidias_table(counts: dict[str, int], possible: bool) -> None:
    assert fits(A100.profiles, counts) is possible


def test_every_table_is_of_a_known_model_and_the_largest_profile_is_the_whole_gpu() -> None:
    known = {model.gpu_model: model for model in models()}
    for order in built_in():
        largest = order.profiles[-1]
        assert (largest.share_milli, largest.instances_max) == (1000, 1)
        assert abs(largest.memory_mib - known[order.gpu_model].memory_mib) < known[order.gpu_model].memory_mib / 20


def test_a_correction_is_the_next_version() -> None:
    assert decide(A100, PUBLISHED) == []
    (second,) = decide(PublishPartitioning("m", "mig", "another page", A100.profiles), PUBLISHED)
    assert PARTITIONING.fold([second], PUBLISHED).version == 2


def test_an_impossible_table_is_refused() -> None:
    first = A100.profiles[0]
    for wrong in (
        (first, first),
        (first.model_copy(update={"share_milli": 100}),),
        (first.model_copy(update={"starts": (7,), "memory_slices": 2, "share_milli": 250}),),
    ):
        with pytest.raises(Invalid):
            decide(PublishPartitioning("m", "mig", "s", wrong), Partitioning())
    with pytest.raises(Rejected):
        decide(PublishPartitioning("m", "mig", "s", (first.model_copy(update={"instances_max": 8}),)), Partitioning())
    with pytest.raises(Invalid, match="there is no profile"):
        fits(A100.profiles, {"9g-9gb": 1})


def test_room_is_counted_by_share() -> None:
    half = PUBLISHED.profile("3g-20gb")
    assert half is not None
    assert [room_for(half, idle) for idle in (1000, 999, 500, 0)] == [2, 1, 1, 0]
    assert PUBLISHED.profile("no-such") is None
