"""Where a right holds and what it covers: scopes, permissions, roles. One law: a permission is three words.

Plain values without a clock: `rights.py` folds them from iam's events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

REMEMBERED_PERMISSIONS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a right holds or is asked for: a project, a tenant, or (with neither) the platform."""

    tenant_id: str | None = None
    project_id: str | None = None

    def __post_init__(self) -> None:
        if self.project_id is not None and self.tenant_id is None:
            raise ValueError("a project is always named with its tenant")

    def __str__(self) -> str:
        if self.tenant_id is None:
            return "the platform"
        if self.project_id is None:
            return f"tenant {self.tenant_id}"
        return f"project {self.project_id} of tenant {self.tenant_id}"

    def covers(self, other: Scope) -> bool:
        """Whether a right here is also one there: the platform covers all, a tenant its projects."""
        if self.tenant_id is None:
            return True
        return self.tenant_id == other.tenant_id and self.project_id in (None, other.project_id)


EVERYWHERE: Final = Scope()


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a principal holds one permission: everywhere, or in whole tenants and single projects of others.

    For exact lists in SQL: `gpuaas.common.reaching.scopes_where`.
    """

    everywhere: bool
    tenants: frozenset[str]
    projects: frozenset[tuple[str, str]]

    def __bool__(self) -> bool:
        """Whether it is anything at all."""
        return self.everywhere or bool(self.tenants) or bool(self.projects)

    def within(self, tenant_id: str) -> Self:
        """Its part in one tenant."""
        whole = self.everywhere or tenant_id in self.tenants
        single = frozenset() if whole else frozenset(place for place in self.projects if place[0] == tenant_id)
        return type(self)(False, frozenset({tenant_id}) if whole else frozenset(), single)


class Role:
    """The newest version of a role: its permission globs, and what they said about permissions asked before.

    A glob is `service.resource.verb` where `*` stands for any one word.
    """

    __slots__ = ("_globs", "_said", "name", "permissions", "version")

    def __init__(self, name: str, version: int, permissions: tuple[str, ...]) -> None:
        """Raises ValueError: a permission is not three words."""
        self.name = name
        self.version = version
        self.permissions = permissions
        self._globs = [words(glob) for glob in permissions]
        self._said: dict[str, bool] = {}

    def permits(self, permission: str) -> bool:
        """Whether one of the globs covers `permission`. Raises ValueError: it is not three words."""
        said = self._said.get(permission)
        if said is None:
            wanted = words(permission)
            said = any(all(g in ("*", w) for g, w in zip(glob, wanted, strict=True)) for glob in self._globs)
            if len(self._said) < REMEMBERED_PERMISSIONS_MAX:
                self._said[permission] = said
        return said


def words(permission: str) -> list[str]:
    """The three words of `service.resource.verb`. Raises ValueError: they are not three."""
    parts = permission.split(".")
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{permission!r} is not a permission; write service.resource.verb")
    return parts


Holder = tuple[str, str]
"""What can hold rights: (kind, id), where kind is `user`, `service-account` or `group`."""


def once(key: object, known: dict[Any, Any] | set[str], what: str) -> None:
    """Raises ValueError: `key` is known already."""
    if key in known:
        raise ValueError(f"{what} {key} was created before")
