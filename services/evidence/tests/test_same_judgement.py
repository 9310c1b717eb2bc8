"""The service and the offline verifier judge alike. One law: two codes, one spelling, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from claims_made import NOW, SPECIMENS, claim, inputs, readback, requirement, waiver
from gpuaas.evidence.domain.gate import DecideGate, decided
from gpuaas.evidence.domain.inputs import Inputs
from gpuaas.verify.judgement import judge
from hypothesis import given, settings
from hypothesis import strategies as st

CLAIMS: dict[str, Callable[..., Any]] = {
    "sound": lambda **at: claim(**at),
    "failed": lambda **at: claim(result="failed", **at),
    "expired": lambda **at: claim(expires_at=NOW, **at),
    "early": lambda **at: claim(submitted_at=NOW + timedelta(seconds=1), **at),
    "never opened": lambda **at: claim(**(at | {"opened_position": 0})),
    "other scope": lambda **at: claim(opened={"scope": ("meter",)}, **at),
    "missing": lambda **at: claim(missing=["run.json"], **at),
    "lost statement": lambda **at: claim(stored=lambda _: None, **at),
    "no facts": lambda **at: claim(facts=(), **at),
    "other profile": lambda **at: claim(profile="dev", **at),
}
REQUIRED: dict[str, Any] = {
    "general": {},
    "not met": {"predicate": "gpu_hours_error > 0 || jobs == 1"},
    "more to cover": {"covers": ("invoice", "meter", "verify")},
    "stronger here": {"strengths": ({"profile": "demo", "minimum_readback": "R3", "max_age_s": 60},)},
    "not waivable": {"waivable": False},
    "newer": {"version": 2},
}
WAIVED: dict[str, Any] = {
    "by two": {},
    "by one": {"approved_by": ()},
    "by the claimer": {"approved_by": ("claimer",)},
    "withdrawn": {"withdrawn": True},
    "expired": {"expires_at": NOW},
}


@settings(max_examples=150, deadline=None)
@given(
    required=st.sampled_from(sorted(REQUIRED)),
    stories=st.lists(
        st.tuples(
            st.sampled_from(sorted(CLAIMS)),
            st.lists(
                st.tuples(
                    st.sampled_from(["R1", "R2", "R3"]),
                    st.sampled_from(["confirmed", "contradicted", "unreadable"]),
                    st.integers(-7200, 5),
                ),
                max_size=3,
            ),
        ),
        max_size=3,
    ),
    waived=st.lists(st.sampled_from(sorted(WAIVED)), max_size=2),
    nothing=st.lists(st.sampled_from(["demo", "dev"]), max_size=2),
    end=st.sampled_from([5, 1_000]),
)
def test_both_give_the_same_bytes(required: str, stories: Any, waived: Any, nothing: list[str], end: int) -> None:
    claims, readbacks, position = [], [], 10
    for number, (kind, readings) in enumerate(stories):
        name = f"claim-{number}"
        claims.append(CLAIMS[kind](position=position, opened_position=position - 1, claim_id=name))
        for level, outcome, age in readings:
            position += 1
            readbacks.append(readback(position, level, outcome, claim_id=name, read_at=NOW + timedelta(seconds=age)))
        position += 2
    waivers = [waiver(position + number, **WAIVED[name]) for number, name in enumerate(waived)]
    gave_nothing = tuple(
        SPECIMENS.abandoned(position + number, opened_position=9, claim_id=f"nothing-{number}", profile=profile)
        for number, profile in enumerate(nothing)
    )
    asked = [requirement(**REQUIRED[required])]
    same(inputs(asked, claims, readbacks, waivers, abandoned=gave_nothing, log_position=end))


@pytest.mark.parametrize(
    "changed",
    [
        {"release": None},
        {"controls": None},
        {"controls": SPECIMENS.controls(controls=SPECIMENS.controls().ran.controls[:9])},
        {"controls": SPECIMENS.controls(rules=2)},
        {"kinds": ("ops",)},
        {"requirements": ()},
    ],
)
def test_both_give_the_same_bytes_where_something_is_absent(changed: dict[str, Any]) -> None:
    same(inputs().model_copy(update=changed))


def same(asked: Inputs) -> None:
    said = decided(DecideGate("gate", asked)).model_dump(mode="json", exclude_none=True)
    again = judge(json.loads(asked.encode()))
    assert {name: said[name] for name in again} == again
