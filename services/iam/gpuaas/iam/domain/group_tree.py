"""Which group is inside which, of one home. One law: never a circle, and never more than three on one way.

One history per home: two nestings that together would close a circle meet at its guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import NotFound, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.iam import GroupNested, GroupUnnested
from gpuaas.iam.domain.group import demand_none_beyond, demand_none_kept
from gpuaas.iam.domain.names import REASON_MAX, written

DEPTH_MAX: Final = 3
"""Most groups on one way from the innermost outwards."""
NESTINGS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class NestGroup:
    """Put `group_id` inside `parent_id`. `beyond_nester`: what the outer one gives beyond what who asks holds."""

    tenant_id: str
    group_id: str
    parent_id: str
    beyond_nester: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnnestGroup:
    """Take `group_id` out of `parent_id`. `beyond_unnester`: what is prohibited there and who asks does not hold."""

    tenant_id: str
    group_id: str
    parent_id: str
    reason: str
    beyond_unnester: tuple[str, ...] = ()


TreeCommand = NestGroup | UnnestGroup
Tree = frozenset[tuple[str, str]]
"""(inner, outer) of every nesting."""


def decide(command: TreeCommand, tree: Tree) -> list[Event]:
    pair = (command.group_id, command.parent_id)
    match command:
        case NestGroup() as ask if pair in tree:
            raise Rejected("that group is inside the other already")
        case NestGroup() as ask:
            _demand_room(tree, *pair)
            demand_none_beyond(ask.beyond_nester)
            return [GroupNested(tenant_id=ask.tenant_id, group_id=ask.group_id, parent_id=ask.parent_id)]
        case UnnestGroup() as order if pair in tree:
            demand_none_kept(order.beyond_unnester)
            reason = written(order.reason, "reason", REASON_MAX)
            return [
                GroupUnnested(
                    tenant_id=order.tenant_id, group_id=order.group_id, parent_id=order.parent_id, reason=reason
                )
            ]
        case UnnestGroup():
            raise NotFound("that group is not inside the other")


def _demand_room(tree: Tree, inner: str, outer: str) -> None:
    if len(tree) >= NESTINGS_MAX:
        raise Rejected(f"at most {NESTINGS_MAX:,} groups are nested in one place")
    below, above = _levels(frozenset((o, i) for i, o in tree), inner), _levels(tree, outer)
    if any(outer in level for level in below):
        raise Rejected("the groups would be inside each other: a circle")
    if len(below) + len(above) > DEPTH_MAX:
        raise Rejected(f"groups nest at most {DEPTH_MAX} deep; this way would have {len(below) + len(above)}")


def _levels(tree: Tree, start: str) -> list[set[str]]:
    """The groups met on the ways from `start`, by distance; itself first. Ends, because there is no circle."""
    levels = [{start}]
    while further := {outer for inner, outer in tree if inner in levels[-1]}:
        levels.append(further)
    return levels


def evolve(tree: Tree, event: Event) -> Tree:
    match event:
        case GroupNested() as nested:
            return tree | {(nested.group_id, nested.parent_id)}
        case GroupUnnested() as unnested:
            return tree - {(unnested.group_id, unnested.parent_id)}
        case _:
            raise Unreadable(f"the history of a group tree cannot hold {event.TYPE}")


GROUP_TREE: Final[Decider[Tree, TreeCommand]] = Decider(initial=frozenset(), decide=decide, evolve=evolve)
VOCABULARY: Final = Vocabulary(GroupNested, GroupUnnested)
