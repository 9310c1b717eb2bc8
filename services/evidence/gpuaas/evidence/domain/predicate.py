"""What a requirement demands of a claim's facts. One law: whatever cannot be evaluated is a no.

Predicates are CEL (Common Expression Language), evaluated by `common-expression-language` (cel-rust). Only the part
that an outsider can evaluate without that library is taken: comparisons, `in`, `has`, `&&`, `||`, `!` and brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from gpuaas.common.errors import Invalid

PREDICATE_CHARS_MAX: Final = 4_096
PROGRAMS_MAX: Final = 1_024
"""Compiled predicates kept."""
DIGITS_MAX: Final = 15
"""Significant digits of a number in a predicate or a fact: with more, two numbers could be one double (IEEE 754)."""
SHOWN_CHARS_MAX: Final = 80
"""Of a fact's value, in a sentence."""
FUNCTIONS: Final = frozenset(
    {"_&&_", "_||_", "!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "in", "_in_", "-_"}
)
"""CEL's names of what a predicate may use."""

_STRING: Final = r"\"[^\"\\\n]*\"|'[^'\\\n]*'"
_NUMBER: Final = r"-?[0-9]+(?:\.[0-9]+)?(?![\w.])"
_FACT: Final = r"(?:facts\.)?[a-z_][a-z0-9_]{0,62}\b(?!\s*\.)"
_TOKEN: Final = re.compile(
    rf"\s*(?:(?P<string>{_STRING})|has\(facts\.[a-z_][a-z0-9_]*\)|(?P<number>{_NUMBER})|(?P<name>{_FACT})|"
    r"&&|\|\||==|!=|<=|>=|[<>!()\[\],])\s*"
)
_PLAIN_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?")
_WORD: Final = re.compile(r"[a-z_][a-z0-9_]*")


class NotEvaluable(Exception):
    """The facts at hand give the predicate no value; the reader must take it as a no."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on facts. `named`: every word in it that can name a fact."""

    text: str
    named: frozenset[str]

    def holds(self, facts: Mapping[str, str]) -> bool:
        """Whether the condition is met.

        Raises:
            NotEvaluable: a fact it needs is absent, of another kind, or a number that cannot be held exactly.
        """
        values = {name: value for name, text in facts.items() if (value := typed(text)) is not None}
        known = {name: value for name, value in values.items() if name in self.named}
        try:
            found = _program(self.text).execute({**known, "facts": known})
        except (RuntimeError, TypeError, KeyError, ValueError, ArithmeticError) as refused:
            raise NotEvaluable(str(refused)) from refused
        if not isinstance(found, bool):
            raise NotEvaluable("it gives no truth value")
        return found

    def shown(self, facts: Mapping[str, str]) -> str:
        """The facts it speaks of, as a list for a sentence."""
        named = sorted(self.named & facts.keys())
        return ", ".join(f"{name} = {facts[name][:SHOWN_CHARS_MAX]}" for name in named) or "no fact of it"


def read_predicate(text: str) -> Predicate:
    """The predicate written in `text`.

    Raises:
        Invalid: no CEL, or CEL beyond the part that is taken here; the detail says where.
    """
    if len(text) > PREDICATE_CHARS_MAX:
        raise Invalid(f"a predicate has at most {PREDICATE_CHARS_MAX} characters")
    position, words = 0, list[str]()
    while position < len(text) and (found := _TOKEN.match(text, position)) is not None:
        _demand_exact(found["number"])
        words += _WORD.findall("" if found["string"] else found[0])
        position = found.end()
    if position != len(text) or not text.strip():
        raise Invalid(
            f"the predicate cannot be read at character {position + 1}; write comparisons of facts such as "
            "failed == 0, joined with && or ||"
        )
    _demand_portable(text)
    named = frozenset(words) - {"facts", "has", "in", "true", "false"}
    if not named:
        raise Invalid("the predicate names no fact, so it would hold whatever was found")
    return Predicate(text=text, named=named)


def typed(text: str) -> bool | int | float | str | None:
    """A fact's text as CEL's value; None for a number that cannot be held exactly."""
    if text in ("true", "false"):
        return text == "true"
    if (number := as_number(text)) is None:
        return text
    if not is_exact(number):
        return None
    return int(number) if number == number.to_integral_value() else float(number)


def is_exact(number: Decimal) -> bool:
    """Whether the number has at most `DIGITS_MAX` significant digits, on both sides of the point together."""
    spelled = format(abs(number), "f")
    digits = (spelled.rstrip("0") if "." in spelled else spelled).replace(".", "").lstrip("0")
    return len(digits) <= DIGITS_MAX


def as_number(text: str) -> Decimal | None:
    """The decimal that `text` spells plainly, else None."""
    return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else None


def _demand_exact(literal: str | None) -> None:
    if literal is not None and ((number := as_number(literal)) is None or not is_exact(number)):
        raise Invalid(f"the number {literal[:80]} has more than {DIGITS_MAX} digits and cannot be compared exactly")


def _demand_portable(text: str) -> None:
    try:
        program = _program(text)
    except (ValueError, RuntimeError) as refused:
        raise Invalid(f"the predicate is not CEL: {str(refused).splitlines()[0][:200]}") from refused
    if beyond := set(program.functions()) - FUNCTIONS:
        raise Invalid(
            f"the predicate uses {', '.join(sorted(beyond))}; take comparisons, in, has, &&, ||, ! and brackets only"
        )


@lru_cache(maxsize=PROGRAMS_MAX)
def _program(text: str) -> Any:
    # Here and not above: the library brings a command line of its own, which costs half a second to import.
    import cel

    return cel.compile(text)
