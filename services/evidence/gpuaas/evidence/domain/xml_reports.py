"""Test and coverage reports in XML. One law: what is counted is counted case by case; totals in attributes are not
believed.

Read as a stream with `defusedxml`: document types, entities and external references are refused, so no XML bomb and no
file inclusion is possible; nothing of the report is kept but the counts.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final
from xml.sax import SAXException
from xml.sax.handler import ContentHandler

from defusedxml import DefusedXmlException
from defusedxml.sax import make_parser
from gpuaas.common.errors import Invalid

ELEMENTS_MAX: Final = 1_000_000
DEPTH_MAX: Final = 64
DIGITS: Final = 4
"""Decimals of a coverage rate."""


def read_junit(data: bytes) -> dict[str, int]:
    """Counts of a JUnit report's test cases: tests, passed, failed, errors, skipped.

    Raises:
        Invalid: not a JUnit report, or one without a test case.
    """
    return _walked(data, _JUnit()).document()


def read_cobertura(data: bytes) -> dict[str, Any]:
    """A Cobertura report counted line by line: lines, covered, rate (text, covered / lines to four digits, rounded
    down).

    Raises:
        Invalid: not a Cobertura report, or one without a line.
    """
    return _walked(data, _Cobertura()).document()


class _Counter(ContentHandler):
    """Follows the open elements and bounds them."""

    roots: frozenset[str] = frozenset()
    what = "report"

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self._elements = 0

    def startElement(self, name: str, attrs: Any) -> None:
        self._elements += 1
        if self._elements > ELEMENTS_MAX or len(self.open) >= DEPTH_MAX:
            raise Invalid("the report has more elements or levels than a report needs")
        if not self.open and name not in self.roots:
            raise Invalid(f"a {self.what} begins with {' or '.join(sorted(self.roots))}, not {name[:80]}")
        self.began(name, attrs)
        self.open.append(name)

    def endElement(self, name: str) -> None:
        self.open.pop()
        self.ended(name)

    def began(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins below `open`."""

    def ended(self, name: str) -> None:
        """An element ended."""

    def document(self) -> dict[str, Any]:
        """What was counted."""
        raise NotImplementedError


class _JUnit(_Counter):
    roots = frozenset({"testsuites", "testsuite"})
    what = "JUnit report"

    def __init__(self) -> None:
        super().__init__()
        self._counts = {"tests": 0, "failed": 0, "errors": 0, "skipped": 0}
        self._outcome: str | None = None

    def began(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "testcase":
            self._counts["tests"] += 1
            self._outcome = None
        elif self.open[-1:] == ["testcase"] and name in {"failure", "error", "skipped"}:
            # One case may carry several marks; the worst of them is its outcome.
            order = (None, "skipped", "failure", "error")
            self._outcome = max(self._outcome, name, key=order.index)

    def ended(self, name: str) -> None:
        if name == "testcase" and self._outcome is not None:
            self._counts[{"failure": "failed", "error": "errors", "skipped": "skipped"}[self._outcome]] += 1

    def document(self) -> dict[str, int]:
        if self._counts["tests"] == 0:
            raise Invalid("the report holds no test case, so it proves nothing")
        tests, *others = self._counts.values()
        return {**self._counts, "passed": tests - sum(others)}


class _Cobertura(_Counter):
    roots = frozenset({"coverage"})
    what = "Cobertura report"

    def __init__(self) -> None:
        super().__init__()
        self._lines = self._covered = 0

    def began(self, name: str, attributes: Mapping[str, str]) -> None:
        # Methods repeat their lines; those directly below a class are all of them.
        if name == "line" and self.open[-2:] == ["class", "lines"]:
            hits = attributes.get("hits", "")
            if not hits.isdecimal():
                raise Invalid("a line of the report does not say how often it was run")
            self._lines += 1
            self._covered += int(hits) > 0

    def document(self) -> dict[str, Any]:
        if self._lines == 0:
            raise Invalid("the report holds no line, so it proves nothing")
        parts = self._covered * 10**DIGITS // self._lines
        rate = f"{parts // 10**DIGITS}.{parts % 10**DIGITS:0{DIGITS}d}"
        return {"lines": self._lines, "covered": self._covered, "rate": rate}


def _walked(data: bytes, counter: _Counter) -> _Counter:
    parser = make_parser()
    parser.setContentHandler(counter)
    parser.forbid_dtd = True
    try:
        parser.parse(io.BytesIO(data))
    except DefusedXmlException as refused:
        raise Invalid("a report with a document type declaration or entities is not read") from refused
    except (SAXException, UnicodeError) as refused:
        raise Invalid(f"the report is not well-formed XML: {refused}") from refused
    return counter
