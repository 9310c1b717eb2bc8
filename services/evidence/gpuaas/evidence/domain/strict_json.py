"""JSON read without mercy. One law: bytes that two readers could understand differently are refused.

RFC 8259 leaves duplicate names, NaN, lone surrogates and number ranges to the reader; evidence may not.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final, NoReturn

from gpuaas.common.errors import Invalid

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
NUMBER_MAGNITUDE_MAX: Final = 400
"""Decimal digits before or after the point beyond which a number is refused."""


class Ambiguous(Invalid):
    """The bytes are not one JSON document with one meaning; `why` says which rule they break."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail, why=why)
        self.why = why


def read_json(data: bytes) -> Any:
    """The document in `data`; numbers with a point or exponent are `Decimal`, others `int`.

    Raises:
        Ambiguous: `duplicate-key`, or `malformed` for everything else.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_number,
            parse_int=_integer,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as refused:
        raise Ambiguous("malformed", f"not a JSON document in UTF-8: {refused}") from refused
    except RecursionError:
        raise Ambiguous("malformed", "the JSON document is nested too deeply to read") from None


def write_json(value: Any) -> bytes:
    """One spelling of a document made of objects, arrays, text, integers, booleans and null.

    Keys sorted, no spaces, UTF-8: for such documents with ASCII keys this is RFC 8785.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def is_sound_text(text: str) -> bool:
    """Whether `text` can be written as UTF-8 (a JSON escape can smuggle in half a character)."""
    return _LONE_SURROGATE.search(text) is None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Ambiguous("duplicate-key", f"the key {key!r} appears twice in one object; say it once")
        found[key] = value
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise Ambiguous("malformed", f"{word} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > NUMBER_MAGNITUDE_MAX:
        raise Ambiguous("malformed", f"a number has more than {NUMBER_MAGNITUDE_MAX} digits")
    return int(text)


def _number(text: str) -> Decimal:
    if len(text) > NUMBER_MAGNITUDE_MAX:
        raise Ambiguous("malformed", f"a number has more than {NUMBER_MAGNITUDE_MAX} characters")
    try:
        value = Decimal(text)
    except ArithmeticError:
        raise Ambiguous("malformed", f"the number {text} cannot be held exactly") from None
    if value and abs(value.adjusted()) > NUMBER_MAGNITUDE_MAX:
        raise Ambiguous("malformed", f"the number {text} is too large or too small to be compared exactly")
    return value
