"""What a credential may less than its principal. One law: it takes, and never gives; every layer is looked at.

An API key, a trust in workloads and an exchanged token can each name permissions and a place. Whoever comes with one
may what their principal may, and no more than each of them says. A tenant outside of that place is as absent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from gpuaas.common.scopes import EVERYWHERE, Holder, Reach, Role, Scope, words

ACTORS_MAX: Final = 3
"""Who may act for whom, one behind the other."""
NOTHING: Final = Reach(False, frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Narrowing:
    """One layer: `by` what (`API key k-1`), which permission globs (none: all that the principal has), and where."""

    by: str
    permissions: tuple[str, ...] = ()
    scope: Scope = EVERYWHERE

    def permits(self, permission: str, scope: Scope) -> bool:
        """Whether this layer lets `permission` in `scope` through. Raises ValueError: it is not three words."""
        named = not self.permissions or Role(self.by, 1, self.permissions).permits(permission)
        return named and self.scope.covers(scope)

    def hides(self, scope: Scope) -> bool:
        """Whether `scope` is in another tenant than this layer's, so that it has to look absent."""
        mine = self.scope.tenant_id
        return mine is not None and scope.tenant_id not in (None, mine)

    def refusal(self, permission: str, scope: Scope) -> str:
        """Why it does not let it through, as a sentence."""
        if not self.scope.covers(scope):
            return f"{self.by} is for {self.scope} only, and this is about {scope}; use one that is for it"
        return f"{self.by} does not hold {permission}, though its principal may; use one that does"

    def within(self, reach: Reach, permission: str) -> Reach:
        """The part of `reach` that this layer leaves."""
        if self.permissions and not Role(self.by, 1, self.permissions).permits(permission):
            return NOTHING
        tenant_id, project_id = self.scope.tenant_id, self.scope.project_id
        if tenant_id is None:
            return reach
        here = reach.within(tenant_id)
        if project_id is None:
            return here
        place = (tenant_id, project_id)
        return Reach(False, frozenset(), frozenset({place}) if here.tenants or place in here.projects else frozenset())

    def part_of(self, globs: Iterable[str], scope: Scope) -> frozenset[str]:
        """The part of permission globs held in `scope` that this layer leaves."""
        if not self.scope.covers(scope):
            return frozenset()
        if not self.permissions:
            return frozenset(globs)
        return frozenset(
            both for held in globs for mine in self.permissions if (both := common(held, mine)) is not None
        )

    def covers(self, other: Narrowing) -> bool:
        """Whether whatever `other` lets through, this layer does too."""
        named = not self.permissions or (
            bool(other.permissions)
            and all(any(common(mine, glob) == glob for mine in self.permissions) for glob in other.permissions)
        )
        return named and self.scope.covers(other.scope)


WHOLE: Final = Narrowing("the principal")
"""Nothing less than the principal may."""


def common(one: str, other: str) -> str | None:
    """The glob of what both globs cover; None: nothing is covered by both."""
    words = [
        b if a == "*" else a for a, b in zip(one.split("."), other.split("."), strict=True) if "*" in (a, b) or a == b
    ]
    return ".".join(words) if len(words) == 3 else None


def left_by(narrowings: Iterable[Narrowing], globs: frozenset[str], scope: Scope) -> frozenset[str]:
    """The part of what is held in `scope` that all layers leave."""
    for each in narrowings:
        globs = each.part_of(globs, scope)
    return globs


@dataclass(frozen=True, slots=True)
class Credential:
    """What stands behind a request, as far as it narrows it or somebody acts for another.

    Attributes:
        key_id: an API key that may less than its principal.
        trust_id: a trust in workloads.
        permissions, scope: what the token itself was narrowed to.
        actors: who acts with the principal's right, the one who asks first.
    """

    key_id: str = ""
    trust_id: str = ""
    permissions: tuple[str, ...] = ()
    scope: Scope = EVERYWHERE
    actors: tuple[Holder, ...] = ()

    def plain(self) -> list[object]:
        """As JSON, for the id of a decision."""
        place = [self.scope.tenant_id, self.scope.project_id]
        return [self.key_id, self.trust_id, " ".join(self.permissions), *place, [list(each) for each in self.actors]]

    @classmethod
    def read(cls, plain: list[object]) -> Self:
        """What `plain` gave. Raises ValueError: it is none."""
        match plain:
            case [
                str(key_id),
                str(trust_id),
                str(permissions),
                (str() | None) as tenant_id,
                (str() | None) as project_id,
                list(actors),
            ] if len(actors) <= ACTORS_MAX and all(_is_holder(each) for each in actors):
                named = tuple(permissions.split(" ")) if permissions else ()
                for glob in named:
                    words(glob)
                found = tuple((str(each[0]), str(each[1])) for each in actors)
                return cls(key_id, trust_id, named, Scope(tenant_id, project_id), found)
        raise ValueError("it is not what stands behind a request")

    @property
    def own(self) -> tuple[Narrowing, ...]:
        """What the token itself was narrowed to."""
        if not self.permissions and self.scope == Scope():
            return ()
        return (Narrowing("this token", self.permissions, self.scope),)


def _is_holder(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)
