"""What takes rights away: prohibitions and ceilings. One law: a limit wins over every grant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from gpuaas.common.scopes import Holder, Role, Scope


@dataclass(frozen=True, slots=True)
class Prohibition:
    """What a principal or everybody in a group may not do in a scope until `valid_until` (None: no end)."""

    prohibition_id: str
    holder: Holder
    scope: Scope
    globs: Role
    valid_until: datetime | None

    def in_force(self, now: datetime) -> bool:
        return self.valid_until is None or now < self.valid_until


class Limits:
    """Prohibitions and ceilings as the log has them. `prohibitions` is by holder; empty means that there are none."""

    def __init__(self) -> None:
        self.prohibitions: dict[Holder, dict[str, Prohibition]] = {}
        self._placed: dict[str, Prohibition | None] = {}
        self._ceilings: dict[str, Role] = {}

    def below_ceiling(self, scope: Scope, permission: str) -> bool:
        """Whether a binding in `scope` may give `permission`."""
        ceiling = self._ceilings.get(scope.tenant_id) if scope.tenant_id is not None else None
        return ceiling is None or ceiling.permits(permission)

    def ceiling(self, tenant_id: str) -> tuple[str, ...] | None:
        """The most that bindings of a tenant give; None: it has no ceiling."""
        return known.permissions if (known := self._ceilings.get(tenant_id)) is not None else None

    def ceilings(self) -> dict[str, tuple[str, ...]]:
        """The ceilings there are, by tenant."""
        return {tenant_id: ceiling.permissions for tenant_id, ceiling in self._ceilings.items()}

    def standing(self, holders: Iterable[Holder], now: datetime) -> Iterator[Prohibition]:
        """The prohibitions in force of any of `holders`."""
        for holder in holders:
            for each in self.prohibitions.get(holder, {}).values():
                if each.in_force(now):
                    yield each

    def forbids(self, holders: Iterable[Holder], permission: str, scope: Scope, now: datetime) -> str | None:
        """Id of a prohibition of any of `holders` that covers it, or None."""
        for each in self.standing(holders, now):
            if each.scope.covers(scope) and each.globs.permits(permission):
                return each.prohibition_id
        return None

    def withheld(self, holders: Iterable[Holder], scope: Scope, now: datetime) -> frozenset[str]:
        """The globs prohibited to any of `holders` in `scope`, or somewhere inside it."""
        return frozenset(
            glob
            for each in self.standing(holders, now)
            if each.scope.covers(scope) or scope.covers(each.scope)
            for glob in each.globs.permissions
        )

    def place(
        self, prohibition_id: str, holder: Holder, scope: Scope, globs: tuple[str, ...], valid_until: datetime | None
    ) -> None:
        """Raises ValueError: that id was used before."""
        if prohibition_id in self._placed:
            raise ValueError(f"prohibition {prohibition_id} was placed before")
        placed = Prohibition(prohibition_id, holder, scope, Role(prohibition_id, 1, globs), valid_until)
        self._placed[prohibition_id] = placed
        self.prohibitions.setdefault(holder, {})[prohibition_id] = placed

    def lift(self, prohibition_id: str) -> None:
        """Raises ValueError: it does not stand."""
        if (placed := self._placed.get(prohibition_id)) is None:
            raise ValueError(f"prohibition {prohibition_id} does not stand")
        self._placed[prohibition_id] = None
        del self.prohibitions[placed.holder][prohibition_id]
        if not self.prohibitions[placed.holder]:
            del self.prohibitions[placed.holder]

    def set_ceiling(self, tenant_id: str, globs: tuple[str, ...]) -> None:
        self._ceilings[tenant_id] = Role(tenant_id, 1, globs)

    def remove_ceiling(self, tenant_id: str) -> None:
        """Raises KeyError: it has none."""
        del self._ceilings[tenant_id]
