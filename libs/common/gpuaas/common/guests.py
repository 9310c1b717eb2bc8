"""Who works in another tenant's project by a share. One law: a guest decides nothing about who may do what.

Whatever role a share names, and whatever a later version of it holds, guests only read what is iam's.
"""

from __future__ import annotations

from typing import Final

from gpuaas.common.decisions import READ_VERBS

_RIGHTS: Final = "iam"


def is_for_guests(permission: str) -> bool:
    """Whether a share can give it."""
    service, _, verb = permission.split(".")
    return service != _RIGHTS or verb in READ_VERBS


def beyond_guests(globs: tuple[str, ...]) -> list[str]:
    """Those of `globs` that cover something which no share gives, sorted."""
    return sorted(glob for glob in globs if _reaches_rights(*glob.split(".")))


def _reaches_rights(service: str, _: str, verb: str) -> bool:
    return service in ("*", _RIGHTS) and verb not in READ_VERBS
