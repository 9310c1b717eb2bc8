"""Facts derived again from an artefact's bytes. One law: a fact is what the bytes say, not the claim.

Readers turn bytes of a media type into a document; a fact's pointer (RFC 6901) names one value in it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final
from xml.parsers import expat

from gpuaas.common.errors import Invalid
from gpuaas.common.money import plain
from gpuaas.evidence.domain.pointer import value_at
from gpuaas.evidence.domain.predicate import as_number
from gpuaas.evidence.domain.strict_json import is_sound_text, read_json

DERIVABLE_BYTES_MAX: Final = 32 * 1024 * 1024
"""Larger artefacts can be stored and re-hashed, but no fact is read out of them."""
XML_ELEMENTS_MAX: Final = 1_000_000
XML_DEPTH_MAX: Final = 64
FACT_CHARS_MAX: Final = 4_096


class Underivable(Invalid):
    """The bytes cannot be read as what they are declared to be, so no fact can be taken from them."""


def document_in(media_type: str, data: bytes) -> Any:
    """The document that `data` holds.

    Returns:
        application/json: the document. application/x-junit+xml: counts of its test cases,
        `{"tests", "passed", "failed", "errors", "skipped"}`, counted one by one, not read from attributes.

    Raises:
        Underivable: no reader for this type, too large, or not readable as it.
    """
    if (reader := _READERS.get(media_type)) is None:
        raise Underivable(f"no reader for {media_type}; facts are derived from {', '.join(sorted(_READERS))}")
    if len(data) > DERIVABLE_BYTES_MAX:
        raise Underivable(f"facts are derived from at most {DERIVABLE_BYTES_MAX} bytes; this artefact has {len(data)}")
    try:
        return reader(data)
    except Underivable:
        raise
    except Invalid as refused:
        raise Underivable(refused.detail) from refused


def fact_at(document: Any, pointer: str) -> str:
    """The value at `pointer` as text: numbers without exponent, booleans `true` and `false`.

    Raises:
        Underivable: nothing there, or not one value.
    """
    try:
        value = value_at(document, pointer)
    except Invalid as refused:
        raise Underivable(refused.detail) from refused
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return plain(value)
        case str() if len(value) <= FACT_CHARS_MAX and is_sound_text(value):
            return value
        case _:
            raise Underivable(f"at {pointer!r} there is no number, boolean or short text, so it is no fact")


def same_fact(declared: str, derived: str) -> bool:
    """Whether both texts say the same: the same number, or the same text."""
    left, right = as_number(declared), as_number(derived)
    return left == right if left is not None and right is not None else declared == derived


class _JUnit:
    """Counts test cases while expat walks the report; nothing of the report is kept."""

    def __init__(self) -> None:
        self.tests = self.failed = self.errors = self.skipped = 0
        self._open: list[str] = []
        self._elements = 0
        self._outcome: str | None = None

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > XML_ELEMENTS_MAX or len(self._open) >= XML_DEPTH_MAX:
            raise Underivable("the report has more elements or levels than a test report needs")
        if not self._open and name not in {"testsuites", "testsuite"}:
            raise Underivable(f"a JUnit report begins with testsuites or testsuite, not {name}")
        if name == "testcase":
            self.tests += 1
            self._outcome = None
        elif self._open[-1:] == ["testcase"] and name in {"failure", "error", "skipped"}:
            self._worsen(name)
        self._open.append(name)

    def end(self, name: str) -> None:
        self._open.pop()
        if name == "testcase":
            self.failed += self._outcome == "failure"
            self.errors += self._outcome == "error"
            self.skipped += self._outcome == "skipped"

    def document(self) -> dict[str, int]:
        if self.tests == 0:
            raise Underivable("the report holds no test case, so it proves nothing")
        return {
            "tests": self.tests,
            "passed": self.tests - self.failed - self.errors - self.skipped,
            "failed": self.failed,
            "errors": self.errors,
            "skipped": self.skipped,
        }

    def _worsen(self, found: str) -> None:
        # One case may carry several marks; the worst of them is its outcome.
        order = (None, "skipped", "failure", "error")
        if order.index(found) > order.index(self._outcome):
            self._outcome = found


def _read_junit(data: bytes) -> dict[str, int]:
    count = _JUnit()
    parser = expat.ParserCreate()
    parser.StartElementHandler = count.start
    parser.EndElementHandler = count.end
    # Entities, and with them every XML bomb and file inclusion, need a document type: none is read.
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as refused:
        raise Underivable(f"the report is not well-formed XML: {refused}") from refused
    return count.document()


def _refuse_doctype(*_declared: object) -> None:
    raise Underivable("a report with a document type declaration is not read")


_READERS: Final[dict[str, Callable[[bytes], Any]]] = {
    "application/json": read_json,
    "application/x-junit+xml": _read_junit,
}
