"""Strict JSON and its canonical form: the published RFC 8785 vectors, and an independent implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import rfc8785
from gpuaas.verify.refusals import Unusable
from gpuaas.verify.strict_json import canonical, parse
from hypothesis import given
from hypothesis import strategies as st

VECTORS = Path(__file__).parent / "vectors" / "rfc8785"

integers = st.integers(-(2**53) + 1, 2**53 - 1)
values = st.recursive(
    st.none() | st.booleans() | integers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["french", "unicode", "weird"])
def test_the_published_documents_have_their_published_form(name: str) -> None:
    read = parse((VECTORS / "input" / f"{name}.json").read_bytes(), name)
    assert canonical(read) == (VECTORS / "output" / f"{name}.json").read_bytes()


@given(values)
def test_the_canonical_form_is_the_one_others_write(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)
    assert parse(canonical(value), "it") == value


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"a":1,"a":1}', "duplicate-key"),
        (b'{"b":{"a":1,"a":2}}', "duplicate-key"),
        (b'{"a":NaN}', "unreadable"),
        (b"[Infinity]", "unreadable"),
        (b'"\\ud800"', "unreadable"),
        (b'{"\\udfff":1}', "unreadable"),
        (b'\xef\xbb\xbf{"a":1}', "unreadable"),
        (b'"\xff"', "unreadable"),
        (b"{", "unreadable"),
        (b"[" * 100_000, "unreadable"),
        (b"[" * 100 + b"]" * 100, "unreadable"),
        (b"1" * 5000, "unreadable"),
    ],
)
def test_json_that_could_be_read_two_ways_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as refusal:
        parse(payload, "it")
    assert refusal.value.reason == reason


@pytest.mark.parametrize("value", [1.5, 2**53, {"a": [0.0]}, "\ud800"])
def test_what_has_no_single_spelling_is_not_hashed(value: Any) -> None:
    with pytest.raises(Unusable):
        canonical(value)
