"""Who is in which group. One law: a reader bounds its walk, whatever the events say.

Nesting ends at three: iam refuses circles and deeper nesting before they are said.
"""

from __future__ import annotations

from typing import Final

from gpuaas.common.scopes import Holder

NESTED_MAX: Final = 3
"""Most groups on a way from a member outwards."""


class Groups:
    """Memberships as the log has them. `circle` is asked on every check, so its answers are remembered."""

    def __init__(self) -> None:
        self._outer: dict[Holder, dict[Holder, None]] = {}
        self._members: dict[Holder, dict[Holder, None]] = {}
        self._circles: dict[Holder, tuple[Holder, ...]] = {}

    def circle(self, holder: Holder) -> tuple[Holder, ...]:
        """The holder, then every group they are in, the nearest first."""
        if holder not in self._outer:
            return (holder,)
        if (known := self._circles.get(holder)) is None:
            met, edge = {holder: None}, [holder]
            for _ in range(NESTED_MAX):
                edge = [outer for each in edge for outer in self._outer.get(each, ()) if outer not in met]
                met.update(dict.fromkeys(edge))
            known = self._circles[holder] = tuple(met)
        return known

    def members(self, group: Holder) -> frozenset[Holder]:
        """Every person and program in the group, directly or through groups nested in it."""
        met, edge = {group}, [group]
        for _ in range(NESTED_MAX):
            edge = [inner for each in edge for inner in self._members.get(each, ()) if inner not in met]
            met.update(edge)
        return frozenset(holder for holder in met if holder[0] != "group")

    def direct(self, holder: Holder) -> tuple[Holder, ...]:
        """The groups that name the holder itself."""
        return tuple(self._outer.get(holder, ()))

    def join(self, member: Holder, group: Holder) -> None:
        """`member` is in `group` from now on. Raises ValueError: it was."""
        if group in self._outer.get(member, ()):
            raise ValueError(f"{member[0]} {member[1]} is in group {group[1]} already")
        self._outer.setdefault(member, {})[group] = None
        self._members.setdefault(group, {})[member] = None
        self._forget(member)

    def leave(self, member: Holder, group: Holder) -> None:
        """`member` is in `group` no longer. Raises KeyError: it was not."""
        del self._outer[member][group]
        del self._members[group][member]
        self._forget(member)

    def _forget(self, member: Holder) -> None:
        if member[0] == "group":
            self._circles.clear()  # nesting changes seldom, and for many at once
        else:
            self._circles.pop(member, None)
