"""Permission globs. One law: nobody hands on what they do not hold.

A permission is `service.resource.verb`; in a glob `*` stands for any one word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gpuaas.common.errors import Forbidden, Invalid

PERMISSIONS_MAX: Final = 256
_GLOB = re.compile(r"^(\*|[a-z][a-z0-9-]*)(\.(\*|[a-z][a-z0-9-]*)){2}$")
_GLOB_CHARACTERS_MAX: Final = 128
_NAMED_MAX: Final = 3


def checked(globs: Iterable[str]) -> tuple[str, ...]:
    """`globs` without repeats, in order.

    Raises:
        Invalid: none, too many, or one that is not a glob.
    """
    kept = tuple(dict.fromkeys(globs))
    if not 1 <= len(kept) <= PERMISSIONS_MAX:
        raise Invalid(f"a role has 1 to {PERMISSIONS_MAX} permissions; this has {len(kept)}")
    for glob in kept:
        if len(glob) > _GLOB_CHARACTERS_MAX or _GLOB.fullmatch(glob) is None:
            raise Invalid(f"{glob[:140]!r} is not a permission; write service.resource.verb, `*` for any one word")
    return kept


def covers(wide: str, narrow: str) -> bool:
    """Whether everything `narrow` permits, `wide` permits too."""
    return all(w in ("*", n) for w, n in zip(wide.split("."), narrow.split("."), strict=True))


def overlap(one: str, other: str) -> bool:
    """Whether some permission is covered by both globs."""
    return all("*" in (a, b) or a == b for a, b in zip(one.split("."), other.split("."), strict=True))


def beyond(held: Iterable[str], wanted: Iterable[str], withheld: Iterable[str] = ()) -> list[str]:
    """Those of `wanted` that no single one of `held` covers, or of which something is `withheld`, sorted."""
    holding, lacking = list(held), list(withheld)
    return sorted(
        {
            glob
            for glob in wanted
            if not any(covers(own, glob) for own in holding) or any(overlap(glob, ban) for ban in lacking)
        }
    )


def demand_held(held: Iterable[str], wanted: Iterable[str], deed: str, withheld: Iterable[str] = ()) -> None:
    """Return if `held` covers all of `wanted` and nothing of it is `withheld`.

    Raises:
        Forbidden: it does not; `deed` completes the sentence "you cannot …".
    """
    if missing := beyond(held, wanted, withheld):
        named = ", ".join(missing[:_NAMED_MAX]) + (" and more" if len(missing) > _NAMED_MAX else "")
        raise Forbidden(
            f"you cannot {deed}: you do not hold {named} there yourself; ask somebody who does",
            missing_permissions=missing,
        )
