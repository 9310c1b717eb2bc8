"""What a requirement demands of a claim's facts. One law: whatever cannot be evaluated is a no.

A closed part of CEL (Common Expression Language): comparisons joined by `&&`, such as
`gpu_hours_error == 0 && tests > 0`; `facts.` may stand before a name. Numbers are compared exactly, as decimals.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from gpuaas.common.errors import Invalid

PREDICATE_CHARS_MAX: Final = 4_096
COMPARISONS_MAX: Final = 32

_COMPARISON: Final = re.compile(
    r"""\s*(?:facts\.)?(?P<fact>[a-z_][a-z0-9_]{0,62})\s*
        (?P<operator>==|!=|<=|>=|<|>)\s*
        (?P<literal>-?[0-9]{1,100}(?:\.[0-9]{1,100})?|"[^"\\]*"|'[^'\\]*'|true|false)\s*""",
    re.VERBOSE,
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?")
_ORDERED: Final[dict[str, Callable[[Decimal, Decimal], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUAL: Final[dict[str, Callable[[str, str], bool]]] = {"==": operator.eq, "!=": operator.ne}


class NotEvaluable(Exception):
    """The facts at hand give the predicate no value; the reader must take it as a no."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One fact against one literal; `expected` is a decimal, or text (booleans are `true` and `false`)."""

    fact: str
    operator: str
    expected: Decimal | str

    def __str__(self) -> str:
        shown = self.expected if isinstance(self.expected, Decimal) else f"'{self.expected}'"
        return f"{self.fact} {self.operator} {shown}"

    def holds(self, facts: Mapping[str, str]) -> bool:
        """Raises NotEvaluable: the fact is absent, or is no number where one is demanded."""
        if (found := facts.get(self.fact)) is None:
            raise NotEvaluable(f"the fact {self.fact!r} was not given")
        if isinstance(self.expected, str):
            return _EQUAL[self.operator](found, self.expected)
        if (number := as_number(found)) is None:
            raise NotEvaluable(f"the fact {self.fact!r} is {found!r}, which is not a number")
        return _ORDERED[self.operator](number, self.expected)


@dataclass(frozen=True, slots=True)
class Predicate:
    """All comparisons must hold."""

    comparisons: tuple[Comparison, ...]

    def first_broken(self, facts: Mapping[str, str]) -> Comparison | None:
        """The first comparison that does not hold, or None when all do.

        Raises:
            NotEvaluable: a comparison has no value with these facts.
        """
        return next((one for one in self.comparisons if not one.holds(facts)), None)


def read_predicate(text: str) -> Predicate:
    """The predicate written in `text`.

    Raises:
        Invalid: outside the closed form; the detail says where.
    """
    if len(text) > PREDICATE_CHARS_MAX:
        raise Invalid(f"a predicate has at most {PREDICATE_CHARS_MAX} characters")
    comparisons: list[Comparison] = []
    position = 0
    while (found := _COMPARISON.match(text, position)) is not None:
        comparisons.append(_comparison(found))
        position = found.end()
        if not text.startswith("&&", position):
            break
        position += 2
    if position != len(text) or not comparisons or found is None:
        raise Invalid(
            f"the predicate cannot be read at character {position + 1}; write comparisons such as "
            "failed == 0 and join them with &&"
        )
    if len(comparisons) > COMPARISONS_MAX:
        raise Invalid(f"a predicate has at most {COMPARISONS_MAX} comparisons")
    return Predicate(tuple(comparisons))


def as_number(text: str) -> Decimal | None:
    """The decimal that `text` spells plainly, else None."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _comparison(found: re.Match[str]) -> Comparison:
    fact, sign, literal = found["fact"], found["operator"], found["literal"]
    if (number := as_number(literal)) is not None:
        return Comparison(fact=fact, operator=sign, expected=number)
    if sign not in _EQUAL:
        raise Invalid(f"{literal} has no order; compare it with == or !=")
    return Comparison(fact=fact, operator=sign, expected=literal if literal in ("true", "false") else literal[1:-1])
