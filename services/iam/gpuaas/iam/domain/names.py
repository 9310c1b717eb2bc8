"""Names that people write. One law: what is kept is normalised, and what cannot be shown plainly is refused."""

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


def _does_not_show(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") and letter not in _JOINERS


def email(text: str) -> str:
    """`text` as kept, which looks like an e-mail address; whether it works only a message can show."""
    kept = written(text, "e-mail address", 254)
    if _EMAIL.fullmatch(kept) is None:
        raise Invalid("that is not an e-mail address; write it like name@example.com", field="email")
    return kept
