"""Refusals, and the platform's rights used in a tenant, on their way into the log. One law: it grows by time only.

Counted in the process, told together: one event per trail and minute at most, of few rows by name. What a crash loses
is at most what was not told yet. A refusal stands in the trail of the tenant whose things were asked for; where who
asked may not know of that tenant, in the trail of the tenant they are at home in; else in the platform's.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.decider import Decider
from gpuaas.common.decisions import Asked, Decision, NotBelieved, Principal
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Forbidden, GpuaasError, NotFound, Unauthenticated
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.scopes import Holder

FIRST_TOLD_S: Final = 5.0
"""From the first one on: soon enough to be seen, late enough to be told together."""
TOLD_EVERY_S: Final = 60.0
LOOKED_EVERY_S: Final = 1.0
ROWS_MAX: Final = 50
"""Rows of one event; what is counted beyond them is told as a number."""
TRAILS_MAX: Final = 1_000
"""Trails counted for at once; beyond them the platform's is taken."""
NO_RIGHT, NOT_HELD, RULE, NOTHING_THERE = "no-right", "not-held", "rule", "nothing-there"
REFUSED, USED = "refused", "used"
_Key = tuple[Holder | None, str | None, str | None, str]


@dataclass(slots=True)
class _Count:
    key: _Key
    count: int = 0
    decision_id: str = ""


@dataclass(slots=True)
class _Trail:
    due_s: float
    first_at: datetime
    last_at: datetime
    rows: dict[_Key, _Count] = field(default_factory=dict)
    others: int = 0

    def count(self, key: _Key, decision_id: str, at: datetime) -> None:
        self.last_at = at
        if (row := self.rows.get(key)) is None:
            if len(self.rows) >= ROWS_MAX:
                self.others += 1
                return
            row = self.rows[key] = _Count(key)
        row.count += 1
        row.decision_id = decision_id


class Accesses:
    """What one process has to tell about who was refused, and who came from above.

    Args:
        monotonic: seconds that never go back.
    """

    def __init__(self, service: str, commands: Commands, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._commands = commands
        self._monotonic = monotonic
        self._said = _contracts(service)
        self._trails: dict[tuple[str, str], _Trail] = {}
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    def account_for(
        self, error: GpuaasError, asked: tuple[Principal, Decision] | None, position: int, credential: bool
    ) -> None:
        """Give a refusal the id of its decision, and count it.

        Args:
            asked: who was believed, and what was decided on their permission.
            credential: the request showed one.
        """
        match error:
            case Unauthenticated():
                cause = str(error.facts.get("cause") or ("not-valid" if credential else "no-credential"))
                decision_id = str(NotBelieved(cause, position, datetime.now(UTC)))
                self.not_believed(cause, decision_id)
                error.facts = {"cause": cause, "decision_id": decision_id, **error.facts}
            case Forbidden() | NotFound() if asked and error.facts.get("decision_id") is not None:
                self.refused(asked[1], asked[0].tenant_id)
            case Forbidden() if asked:
                missing = error.facts.get("missing_permissions")
                beyond = replace(asked[1].asked, beyond=tuple(missing) if isinstance(missing, list) else ())
                self.refused_beyond(beyond, asked[0].tenant_id)
                error.facts = {"decision_id": str(beyond), **error.facts}

    # -- counted -----------------------------------------------------------------------------------------------

    def not_believed(self, cause: str, decision_id: str) -> None:
        """Somebody showed no credential, or one that is not good."""
        self._count(REFUSED, PLATFORM, (None, None, None, cause), decision_id)

    def refused(self, decision: Decision, home: str) -> None:
        """A principal at `home` (their tenant, or `platform`) may not what they asked for."""
        asked = decision.asked
        why = NOTHING_THERE if decision.hidden else NO_RIGHT
        self._refused(asked, why, home if decision.hidden else asked.scope.tenant_id or home)

    def refused_beyond(self, asked: Asked, home: str) -> None:
        """A principal may ask for it, and what they asked for is more than they hold, or against a rule."""
        self._refused(asked, NOT_HELD if asked.beyond else RULE, asked.scope.tenant_id or home)

    def _refused(self, asked: Asked, why: str, trail: str) -> None:
        project_id = None if why == NOTHING_THERE else asked.scope.project_id
        self._count(REFUSED, trail, (asked.holder, asked.permission, project_id, why), str(asked))

    def used_from_above(self, asked: Asked) -> None:
        """A right held on the platform was used on what is a tenant's."""
        key = (asked.holder, asked.permission, asked.scope.project_id, USED)
        self._count(USED, asked.scope.tenant_id or PLATFORM, key, "")

    def _count(self, kind: str, tenant_id: str, key: _Key, decision_id: str) -> None:
        if self._said is None:
            return
        named, at = (kind, tenant_id), datetime.now(UTC)
        if named not in self._trails and len(self._trails) >= TRAILS_MAX:
            named = (kind, PLATFORM)
        if (trail := self._trails.get(named)) is None:
            soon = self._monotonic() + FIRST_TOLD_S
            due_s = max(soon, self._told.get(named, -TOLD_EVERY_S) + TOLD_EVERY_S)
            trail = self._trails[named] = _Trail(due_s, at, at)
        trail.count(key, decision_id, at)

    # -- told --------------------------------------------------------------------------------------------------

    async def keep_telling(self) -> None:
        """Say what is due, for ever."""
        while True:
            await asyncio.sleep(LOOKED_EVERY_S)
            await self.tell(self._monotonic())

    async def tell(self, until_s: float = float("inf")) -> None:
        """Say what is due by then. What cannot be said now is kept and said later."""
        for named in [each for each, trail in self._trails.items() if trail.due_s <= until_s]:
            trail = self._trails.pop(named)
            try:
                await self._say(*named, trail)
            except GpuaasError:
                self._keep(named, trail)
                raise
            self._told[named] = self._monotonic()
            self._told.move_to_end(named)
            if len(self._told) > TRAILS_MAX:
                self._told.popitem(last=False)

    def _keep(self, named: tuple[str, str], trail: _Trail) -> None:
        """Nothing was said; what was counted meanwhile comes on top."""
        trail.due_s = self._monotonic() + FIRST_TOLD_S
        if (newer := self._trails.get(named)) is not None:
            trail.last_at = newer.last_at
            trail.others += newer.others
            for key, row in newer.rows.items():
                trail.count(key, row.decision_id, newer.last_at)
                if key in trail.rows:
                    trail.rows[key].count += row.count - 1
                else:
                    trail.others += row.count - 1
        self._trails[named] = trail

    async def _say(self, kind: str, tenant_id: str, trail: _Trail) -> None:
        said = self._said
        assert said is not None
        times = {"tenant_id": tenant_id, "first_at": trail.first_at, "last_at": trail.last_at, "others": trail.others}
        event: Event
        if kind == USED:
            event = said.OperatorAccessUsed(uses=tuple(said.AccessUse(**row) for row in _rows(trail)), **times)
        else:
            refusals = tuple(
                said.Refusal(why=row.key[3], decision_id=row.decision_id, **shown)
                for row, shown in zip(trail.rows.values(), _rows(trail), strict=True)
            )
            event = said.AccessesRefused(refusals=refusals, **times)
        # Not when the log is nearly full: its last room is for what ends work.
        cause = Cause(id=new_id(), actor=self._service, actor_kind="service", relief=False)
        day = f"{trail.last_at:%Y-%m-%d}"
        await self._commands.execute(_entity(self._service, said), tenant_id, day, event, cause)


def _rows(trail: _Trail) -> Iterator[dict[str, Any]]:
    for row in trail.rows.values():
        holder, permission, project_id, _ = row.key
        kind, name = holder or (None, None)
        named = {"principal_kind": kind, "principal_id": name, "permission": permission, "project_id": project_id}
        yield {"count": row.count} | {name: value for name, value in named.items() if value is not None}


def _contracts(service: str) -> Any:
    """The service's own contracts; None where they have no words for this."""
    name = f"gpuaas.contracts.{service}"
    own = importlib.import_module(name) if importlib.util.find_spec(name) else None
    return own if own is not None and hasattr(own, "AccessesRefused") and hasattr(own, "OperatorAccessUsed") else None


def _entity(service: str, said: Any) -> Entity[int, Event]:
    """One history per trail and day."""
    decider: Decider[int, Event] = Decider(0, lambda event, _: [event], lambda told, _: told + 1)
    return Entity(service, "access", decider, Vocabulary(said.AccessesRefused, said.OperatorAccessUsed))
