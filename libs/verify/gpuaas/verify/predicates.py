"""Predicates over facts: the part of CEL that requirements may use. One law: what has no value is an error, never a
yes.

`or`, `and`, `!`, comparisons, `in` a list, `has(facts.x)`, brackets; as in CEL an error beside a deciding operand of
`&&` or `||` does not count. Numbers have at most 15 significant digits, so that comparing them as decimals and as IEEE
doubles is the same.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

DIGITS_MAX: Final = 15
DEPTH_MAX: Final = 64

Value = bool | Decimal | str

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>\"[^\"\\\n]*\"|'[^'\\\n]*')|(?P<has>has\(facts\.[a-z_][a-z0-9_]*\))"
    r"|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?![\w.]))|(?P<name>(?:facts\.)?[a-z_][a-z0-9_]{0,62}\b(?!\s*\.))"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|[<>!()\[\],]))\s*"
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?")
_WORD: Final = re.compile(r"[a-z_][a-z0-9_]*")
_NO_FACTS: Final = frozenset({"facts", "has", "in", "true", "false"})
_ORDERED: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Unreadable(Exception):
    """The text is no predicate."""


class NoValue(Exception):
    """The facts give it no value."""


def holds(text: str, facts: Mapping[str, str]) -> bool:
    """Whether the predicate in `text` is met.

    Raises:
        Unreadable: not a predicate.
        NoValue: a fact is absent or of the wrong kind.
    """
    values = {name: value for name, given in facts.items() if (value := typed(given)) is not None}
    reader = _Reader(tokens(text), values)
    found = reader.whole()
    if not isinstance(found, bool):
        raise NoValue
    return found


def facts_named(text: str) -> frozenset[str]:
    """Every word in `text` that can name a fact. Raises Unreadable."""
    words = [word for kind, token in tokens(text) if kind != "string" for word in _WORD.findall(token)]
    return frozenset(words) - _NO_FACTS


def tokens(text: str) -> list[tuple[str, str]]:
    """The text as (kind, token). Raises Unreadable."""
    found, at = list[tuple[str, str]](), 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise Unreadable
        found.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return found


def typed(text: str) -> Value | None:
    """A fact's text as a value; None for a number that cannot be held exactly."""
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text) is None:
        return text
    number = Decimal(text)
    spelled = format(abs(number), "f")
    digits = (spelled.rstrip("0") if "." in spelled else spelled).replace(".", "").lstrip("0")
    return number if len(digits) <= DIGITS_MAX else None


class _Reader:
    """Recursive descent that evaluates as it reads; an error is a value of its own until something decides past it."""

    def __init__(self, given: Sequence[tuple[str, str]], facts: Mapping[str, Value]) -> None:
        self._given = given
        self._facts = facts
        self._at = 0
        self._depth = 0

    def whole(self) -> Value:
        found = self._either()
        if self._at != len(self._given):
            raise Unreadable
        if isinstance(found, NoValue):
            raise found
        return found

    def _either(self) -> Value | NoValue:
        found = self._both()
        while self._takes("||"):
            found = _joined(found, self._both(), decides=True)
        return found

    def _both(self) -> Value | NoValue:
        found = self._comparison()
        while self._takes("&&"):
            found = _joined(found, self._comparison(), decides=False)
        return found

    def _comparison(self) -> Value | NoValue:
        left = self._single()
        while True:
            sign = self._peek()
            if sign in ("==", "!="):
                self._at += 1
                left = _equal(left, self._single(), wanted=sign == "==")
            elif sign in _ORDERED:
                self._at += 1
                left = _compared(left, self._single(), _ORDERED[sign])
            elif self._given[self._at : self._at + 1] == [("name", "in")]:
                self._at += 1
                left = self._within(left)
            else:
                return left

    def _single(self) -> Value | NoValue:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise Unreadable
        try:
            return self._operand()
        finally:
            self._depth -= 1

    def _operand(self) -> Value | NoValue:
        kind, word = self._next()
        match kind:
            case "sign" if word in "(":
                found = self._either()
                self._expect(")")
                return found
            case "sign" if word in "!":
                found = self._single()
                return (not found) if isinstance(found, bool) else NoValue()
            case "string":
                return word[1:-1]
            case "number":
                if (number := typed(word)) is None:
                    raise Unreadable
                return number
            case "has":
                return word[len("has(facts.") : -1] in self._facts
            case "name" if word in ("true", "false"):
                return typed(word) or False
            case "name" if word not in _NO_FACTS:
                return self._facts.get(word.removeprefix("facts."), NoValue())
            case _:
                raise Unreadable

    def _within(self, left: Value | NoValue) -> Value | NoValue:
        self._expect("[")
        members: list[Value | NoValue] = []
        while not self._takes("]"):
            if members:
                self._expect(",")
            members.append(self._single())
        if isinstance(left, NoValue) or any(isinstance(one, NoValue) for one in members):
            return NoValue()
        return any(_equal(left, one, wanted=True) is True for one in members)

    def _peek(self) -> str:
        kind, token = self._given[self._at] if self._at < len(self._given) else ("", "")
        return token if kind == "sign" else ""

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._given):
            raise Unreadable
        self._at += 1
        return self._given[self._at - 1]

    def _takes(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self._at += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._takes(sign):
            raise Unreadable


def _joined(left: Value | NoValue, right: Value | NoValue, *, decides: bool) -> Value | NoValue:
    """`||` (decides: true) or `&&` (decides: false): a deciding operand wins over an error on the other side."""
    for one in (left, right):
        if isinstance(one, bool) and one is decides:
            return decides
    if isinstance(left, bool) and isinstance(right, bool):
        return not decides
    return NoValue()


def _equal(left: Value | NoValue, right: Value | NoValue, *, wanted: bool) -> Value | NoValue:
    """Different kinds are different, not an error (CEL: heterogeneous equality)."""
    if isinstance(left, NoValue) or isinstance(right, NoValue):
        return NoValue()
    same = isinstance(left, bool) == isinstance(right, bool) and isinstance(left, str) == isinstance(right, str)
    return (same and left == right) is wanted


def _compared(left: Value | NoValue, right: Value | NoValue, ordered: Callable[[Any, Any], bool]) -> Value | NoValue:
    for kind in (bool, Decimal, str):
        if isinstance(left, kind) and isinstance(right, kind):
            return ordered(left, right)
    return NoValue()
