"""Duties that nobody may hold together. One law: who holds both may do neither, however they came by them.

The check at the time of giving sees one binding; this one sees what all of them, with groups and newer roles, come to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from gpuaas.common.events import Event
from gpuaas.common.scopes import Role, Scope, words
from gpuaas.contracts import iam


@dataclass(frozen=True, slots=True)
class DutyRule:
    """In `scope`, what `one` permits and what `other` permits are for different people."""

    rule_id: str
    scope: Scope
    one: Role
    other: Role

    def opposite(self, permission: str) -> tuple[str, ...]:
        """What may not be held by who does `permission`; empty: the rule is not about it."""
        if self.one.permits(permission):
            return self.other.permissions
        return self.one.permissions if self.other.permits(permission) else ()


def meet(some: Collection[str], others: Collection[str]) -> bool:
    """Whether a permission is covered by a glob of each."""
    return any(
        all("*" in pair or pair[0] == pair[1] for pair in zip(words(one), words(other), strict=True))
        for one in some
        for other in others
    )


class Duties:
    """The rules as the log has them. Empty means that there are none."""

    def __init__(self) -> None:
        self.rules: dict[str, DutyRule] = {}
        self._known: set[str] = set()
        self.folds: dict[type[Event], Callable[[Any], None]] = {
            iam.DutiesSeparated: self._separated,
            iam.DutiesJoined: self._joined,
        }

    def at(self, scope: Scope) -> Iterator[DutyRule]:
        """The rules that count in `scope`."""
        return (each for each in self.rules.values() if each.scope.covers(scope))

    def broken_by(self, permission: str, scope: Scope, held: Callable[[], Collection[str]]) -> str | None:
        """Id of a rule that forbids `permission` to who holds all of `held` there; None: none does."""
        for rule in self.at(scope):
            if (opposite := rule.opposite(permission)) and meet(held(), opposite):
                return rule.rule_id
        return None

    def joined_by(self, scope: Scope, held: Collection[str], more: Collection[str]) -> tuple[str, ...]:
        """Ids of the rules whose duties would come together if `more` were held beside `held`, in or below `scope`."""
        whole = (*held, *more)
        return tuple(
            rule.rule_id
            for rule in self.rules.values()
            if (rule.scope.covers(scope) or scope.covers(rule.scope))
            and meet(whole, rule.one.permissions)
            and meet(whole, rule.other.permissions)
            and (meet(more, rule.one.permissions) or meet(more, rule.other.permissions))
        )

    # -- the fold ------------------------------------------------------------------------------------------

    def _separated(self, event: iam.DutiesSeparated) -> None:
        if event.rule_id in self._known:
            raise ValueError(f"rule {event.rule_id} was made before")
        self._known.add(event.rule_id)
        one, other = Role(event.rule_id, 1, event.one), Role(event.rule_id, 1, event.other)
        self.rules[event.rule_id] = DutyRule(event.rule_id, Scope(event.tenant_id), one, other)

    def _joined(self, event: iam.DutiesJoined) -> None:
        del self.rules[event.rule_id]
