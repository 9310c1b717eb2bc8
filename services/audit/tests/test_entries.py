"""Leaf entries: canonical whatever the bytes, and never a reason to stop."""

from __future__ import annotations

import json

import pytest
import rfc8785
from gpuaas.audit.domain.entries import PLATFORM_TREE, UNREADABLE, Entry, entry_of, read_header, tree_of
from gpuaas.verify.strict_json import canonical
from hypothesis import given
from hypothesis import strategies as st

text = st.none() | st.text(max_size=40).filter(lambda value: not any(0xD800 <= ord(ch) < 0xE000 for ch in value))
plain = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1)


@given(st.builds(Entry, st.integers(1, 2**62), plain, text, text, text, st.binary(min_size=32, max_size=32)))
def test_an_entry_is_its_own_canonical_form(entry: Entry) -> None:
    assert entry.encode() == rfc8785.dumps(entry.members()) == canonical(entry.members())  # type: ignore[arg-type]


@given(st.binary(max_size=300))
def test_no_bytes_stop_the_trail(noise: bytes) -> None:
    entry = entry_of(1, "events.a.b.c.d", read_header(noise), noise)
    assert json.loads(entry.encode())["sha256"] == entry.sha256.hex()


@given(plain, plain, plain)
def test_a_readable_event_is_named_by_its_entry(kind: str, identity: str, time: str) -> None:
    payload = json.dumps({"type": kind, "id": identity, "time": time, "data": {"deep": [1.5, None]}}).encode()
    header = read_header(payload)
    assert (header.type, header.id, header.time) == (kind, identity, time)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"{}",
        b'{"type":"t","id":"i"}',
        b'{"type":"t","id":7,"time":"x"}',
        b'{"type":"t","id":"","time":"x"}',
        b'{"type":"t","id":"a\\u0000b","time":"x"}',
        b'{"type":"t","id":"\\ud800","time":"x"}',
        b'{"type":"t","id":"i","time":"x","data":"\xff"}',
        b'{"type":"t","time":"x","id":"' + b"a" * 1025 + b'"}',
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_event_are_a_leaf_without_a_name(payload: bytes) -> None:
    assert read_header(payload) == UNREADABLE


def test_an_event_belongs_to_the_tree_of_the_tenant_in_its_subject() -> None:
    assert tree_of("events.billing.invoice.acme.inv-1") == "acme"
    assert tree_of("events.nodes.node.platform.n1") == PLATFORM_TREE
    for odd in ("events.a.b.c", "events.a.b.acme.d.e", "other.a.b.acme.d", "events.a.b.UPPER.d", "events.a.b..d", ""):
        assert tree_of(odd) == PLATFORM_TREE


def test_control_characters_in_a_subject_do_not_reach_the_entry() -> None:
    entry = entry_of(1, "events.a\x00b", UNREADABLE, b"")
    assert entry.subject == "events.a\ufffdb"
