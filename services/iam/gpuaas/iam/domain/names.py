"""Names that people write. One law: what is kept is normalised, and what cannot be shown plainly is refused.

A word of letters from scripts that look alike (a Latin word with one Cyrillic letter) is refused in names: it is there
to be taken for another. Whole words of any script, and words that mix scripts nobody confuses, are names.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from gpuaas.common.errors import Invalid
from gpuaas.common.ids import is_name

DISPLAY_NAME_MAX: Final = 200
LABEL_MAX: Final = 100
REASON_MAX: Final = 500
RESERVED_TENANTS: Final = frozenset({"platform"})
"""Words that mean something else where a tenant's id stands."""

_EMAIL = re.compile(r"^[^@\s]{1,64}@[^@\s]{1,189}$")
_WORD = re.compile(r"[^\W\d_]+")
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU", "DESERET"})
"""Scripts with letters that are drawn like others' (Unicode Technical Standard 39)."""
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width (non-)joiner: invisible, but scripts and emoji need them; other format characters are refused."""


def identifier(text: str, what: str) -> str:
    """`text`, which is an RFC 1123 label.

    Raises:
        Invalid: it is not; upper case and look-alike letters never are.
    """
    if not is_name(text):
        raise Invalid(f"{text[:80]!r} cannot be a {what}: use 1 to 63 of a-z, 0-9 and inner hyphens", field=what)
    return text


def written(text: str, what: str, length_max: int = DISPLAY_NAME_MAX) -> str:
    """`text` as kept: NFC, without space around it.

    Raises:
        Invalid: empty, longer than `length_max` characters, or with characters that do not show.
    """
    kept = unicodedata.normalize("NFC", text).strip()
    if not kept or len(kept) > length_max:
        raise Invalid(f"a {what} has 1 to {length_max} characters; this has {len(kept)}", field=what)
    if (odd := next((letter for letter in kept if _does_not_show(letter)), None)) is not None:
        raise Invalid(f"a {what} cannot hold the character U+{ord(odd):04X}; remove it", field=what)
    return kept


def named(text: str, what: str, length_max: int = DISPLAY_NAME_MAX) -> str:
    """`text` as kept, each word of it in one of the scripts that look alike.

    Raises:
        Invalid: as `written`, or a word mixes such scripts.
    """
    kept = written(text, what, length_max)
    for word in _WORD.findall(unicodedata.normalize("NFKC", kept)):
        if len(mixed := sorted({_script(letter) for letter in word} - {""})) > 1:
            raise Invalid(
                f"a word of this {what} mixes {' and '.join(mixed)} letters; write it in one script", field=what
            )
    return kept


def _script(letter: str) -> str:
    """The script of a letter, if it is one of those that look alike; else empty."""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return first.capitalize() if first in _ALIKE else ""


def _does_not_show(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") and letter not in _JOINERS


def email(text: str) -> str:
    """`text` as kept, which looks like an e-mail address; whether it works only a message can show."""
    kept = named(text, "e-mail address", 254)
    if _EMAIL.fullmatch(kept) is None:
        raise Invalid("that is not an e-mail address; write it like name@example.com", field="email")
    return kept
