"""Predicates over facts. One law: the library here and the verifier's own reading agree, on every one."""

from __future__ import annotations

from decimal import Decimal

import pytest
from gpuaas.common.errors import Invalid
from gpuaas.evidence.domain.predicate import NotEvaluable, read_predicate
from gpuaas.verify import predicates
from hypothesis import given, settings
from hypothesis import strategies as st

FACTS = {"error": "0.00", "tests": "120", "profile": "demo", "clean": "true", "large": "9" * 16}


@pytest.mark.parametrize(
    "text",
    [
        "facts.error == 0",
        "facts.tests > 0 && facts.error <= 0.001 && facts.tests >= 120",
        'facts.profile == "demo" && facts.clean == true',
        'facts.profile != "a && b"',
        "  facts.tests!=-1  ",
        "tests == 120 && profile == 'demo'",
        "error == 1 || clean",
        "!(error > 0) && profile in ['kind', 'demo']",
        "has(facts.tests) && !has(facts.absent)",
        "absent == 1 || tests == 120",
        "tests == error || tests > error",
    ],
)
def test_a_true_predicate_holds_here_and_at_the_verifier(text: str) -> None:
    assert read_predicate(text).holds(FACTS)
    assert predicates.holds(text, FACTS)


@pytest.mark.parametrize(
    "text", ["facts.absent == 0", "profile > 0", "clean > 0", "tests", "large > 0", "absent && tests"]
)
def test_a_predicate_without_a_value_is_not_evaluable(text: str) -> None:
    with pytest.raises(NotEvaluable):
        read_predicate(text).holds(FACTS)
    with pytest.raises(predicates.NoValue):
        predicates.holds(text, FACTS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "true",
        "1 == 1 || true",
        "facts.error == 0 &&",
        "&& facts.error == 0",
        "facts.error = 0",
        "facts.error == 0; drop",
        "facts.error == 1e3",
        "facts.error == +0",
        "fact.error == 0",
        "facts.facts.error == 0",
        "profile == 'demo\"",
        r"profile == 'a\x41'",
        "profile.matches('d')",
        "size(profile) > 1",
        "tests + 1 > 2",
        "[1].all(x, x > 0)",
        "error ? clean : false",
        "facts['error'] == 0",
        "facts.error == 0 " * 300,
        "facts.error == 0.1234567890123456",
        "facts.error == " + "9" * 500,
    ],
)
def test_what_an_outsider_could_not_evaluate_is_refused_when_it_is_written(text: str) -> None:
    with pytest.raises(Invalid):
        read_predicate(text)


def test_a_sentence_shows_the_facts_that_the_predicate_speaks_of() -> None:
    predicate = read_predicate("facts.error == 0 && tests > 120 && profile != 'clean'")
    assert predicate.shown(FACTS) == "error = 0.00, profile = demo, tests = 120"
    assert predicates.facts_named(predicate.text) == predicate.named


def test_numbers_are_exact() -> None:
    assert read_predicate("facts.x == 0.3").holds({"x": str(Decimal("0.1") + Decimal("0.2"))})
    assert not read_predicate("facts.x == 0").holds({"x": "0.00000000000000000000000000000000001"})


_OPERAND = st.sampled_from(
    [
        "error",
        "tests",
        "facts.profile",
        "clean",
        "absent",
        "large",
        "0",
        "-1.5",
        "120",
        "'demo'",
        '"x"',
        "true",
        "false",
    ]
)


def _comparisons() -> st.SearchStrategy[str]:
    signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    compared = st.tuples(_OPERAND, signs, _OPERAND).map(" ".join)
    within = st.tuples(_OPERAND, st.lists(_OPERAND, max_size=3)).map(lambda two: f"{two[0]} in [{', '.join(two[1])}]")
    return st.one_of(_OPERAND, compared, within, st.just("has(facts.tests)"), st.just("has(facts.absent)"))


_PREDICATES = st.recursive(
    _comparisons(),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda three: f"({' '.join(three)})"),
        inner.map(lambda one: f"!({one})"),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(_PREDICATES)
def test_the_library_and_the_verifier_agree_on_every_predicate(text: str) -> None:
    try:
        predicate = read_predicate(text)
    except Invalid:
        return
    try:
        here: bool | None = predicate.holds(FACTS)
    except NotEvaluable:
        here = None
    try:
        there: bool | None = predicates.holds(text, FACTS)
    except predicates.NoValue:
        there = None
    assert here == there, text
