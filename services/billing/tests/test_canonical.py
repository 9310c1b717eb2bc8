"""Canonical JSON. One law tested: byte for byte what RFC 8785 says, or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from gpuaas.billing.domain.canonical import INTEGER_MAX, canonical, sha256_of_ids
from gpuaas.common.errors import Invalid
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(st.characters(max_codepoint=127))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_it_writes_what_the_standard_writes(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [1.5, 2**53, -(2**53), {"ü": 1}, {1: 1}, b"x", "\ud800", ["\udfff"]])
def test_it_refuses_what_could_be_spelled_in_two_ways(value: Any) -> None:
    with pytest.raises(Invalid):
        canonical(value)


def test_the_digest_of_ids_does_not_depend_on_their_order() -> None:
    assert sha256_of_ids(["b", "a"]) == sha256_of_ids(["a", "b"]) != sha256_of_ids(["ab"])
