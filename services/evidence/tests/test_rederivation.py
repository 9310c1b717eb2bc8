"""Facts out of bytes. One law: what cannot be read is never a yes."""

from __future__ import annotations

import pytest
from gpuaas.common.errors import Invalid
from gpuaas.evidence.domain.pointer import PointsNowhere, value_at
from gpuaas.evidence.domain.rederivation import Underivable, document_in, fact_at, same_fact
from gpuaas.evidence.domain.strict_json import Ambiguous, read_json

# The examples of RFC 6901 §5.
RFC6901 = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC6901),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_pointers_name_what_rfc_6901_says(pointer: str, value: object) -> None:
    assert value_at(RFC6901, pointer) == value


@pytest.mark.parametrize("pointer", ["/foo/2", "/foo/-", "/foo/00", "/foo/-1", "/foo/٠", "/nothing", "/foo/0/x"])
def test_a_pointer_to_nothing_says_so(pointer: str) -> None:
    with pytest.raises(PointsNowhere):
        value_at(RFC6901, pointer)


@pytest.mark.parametrize("pointer", ["foo", "/m~n", "/~", "/~2", "/" + "x" * 1_000])
def test_what_is_not_a_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(Invalid):
        value_at(RFC6901, pointer)


def test_tilde_one_after_tilde_zero_is_not_a_slash() -> None:
    assert value_at({"~1": "here"}, "/~01") == "here"


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b'{"v": 0}', "0"),
        (b'{"v": 0.10}', "0.10"),
        (b'{"v": 1e3}', "1000"),
        (b'{"v": 12345678901234567890123}', "12345678901234567890123"),
        (b'{"v": true}', "true"),
        (b'{"v": "12.50"}', "12.50"),
    ],
)
def test_a_fact_is_exactly_what_the_document_spells(data: bytes, fact: str) -> None:
    assert fact_at(document_in("application/json", data), "/v") == fact


@pytest.mark.parametrize(
    "data",
    [
        b'{"v": null}',
        b'{"v": []}',
        b'{"v": {}}',
        b'{"v": "\\ud800"}',
        b'{"w": 1}',
        b'{"v": "' + b"x" * 5_000 + b'"}',
    ],
)
def test_what_is_not_one_plain_value_is_no_fact(data: bytes) -> None:
    with pytest.raises(Underivable):
        fact_at(document_in("application/json", data), "/v")


@pytest.mark.parametrize("number", [b"1e999999999", b"1e500", b"1e-500", b"9" * 500, b"1." + b"0" * 500, b"Infinity"])
def test_numbers_made_to_be_expensive_are_refused(number: bytes) -> None:
    with pytest.raises(Ambiguous):
        read_json(number)


def test_a_document_that_says_a_thing_twice_gives_no_fact() -> None:
    with pytest.raises(Underivable, match="twice"):
        document_in("application/json", b'{"failed": 3, "failed": 0}')


JUNIT = b"""<?xml version="1.0"?><testsuites><testsuite name="a" tests="9" failures="0">
<testcase name="1"/><testcase name="2"><skipped/></testcase>
<testcase name="3"><failure>no</failure></testcase>
<testcase name="4"><error/><failure/></testcase>
<testcase name="5"><system-out><skipped/></system-out></testcase>
</testsuite></testsuites>"""


def test_test_cases_are_counted_and_a_skipped_one_did_not_pass() -> None:
    document = document_in("application/x-junit+xml", JUNIT)
    assert document == {"tests": 5, "passed": 2, "failed": 1, "errors": 1, "skipped": 1}


ENTITY_BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'
ENTITY_FILE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite><testcase>&a;</testcase></testsuite>'


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (ENTITY_BOMB, "document type"),
        (ENTITY_FILE, "document type"),
        (b"<testsuite/>", "no test case"),
        (b"<html><testcase/></html>", "begins with"),
        (b"<testsuite><testcase></testsuite>", "well-formed"),
        (b"<testsuite>" + b"<x>" * 100, "levels"),
        (b"", "well-formed"),
    ],
)
def test_a_hostile_or_empty_report_proves_nothing(report: bytes, said: str) -> None:
    with pytest.raises(Underivable, match=said):
        document_in("application/x-junit+xml", report)


def test_a_media_type_without_a_reader_gives_no_fact() -> None:
    with pytest.raises(Underivable, match="no reader for image/png"):
        document_in("image/png", b"\x89PNG")


def test_the_same_number_in_two_spellings_is_the_same_fact() -> None:
    assert same_fact("0", "0.00")
    assert same_fact("demo", "demo")
    assert not same_fact("0", "0.0000000000000000000001")
    assert not same_fact("1e0", "1")
