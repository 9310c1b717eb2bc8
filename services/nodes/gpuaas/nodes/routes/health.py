"""The door of health: faults, components, what the platform does by itself, and the rules. One law: rules that would
judge differently are shown before they judge."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Commands
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Invalid, NotFound, Rejected
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.projections import Database, Record
from gpuaas.nodes.api import Id, Reason, Said, Text
from gpuaas.nodes.domain.automation import CloseBreaker
from gpuaas.nodes.domain.axes import Lifecycle, Node
from gpuaas.nodes.domain.component import RecordRecovery, ReportFault
from gpuaas.nodes.domain.faults import Difference, FaultClass, FaultRules, provenance, replayed, sources
from gpuaas.nodes.domain.rulebook import CURRENT, SwitchOnRules
from gpuaas.nodes.projections.component_health import FILTERS as COMPONENT_FILTERS
from gpuaas.nodes.projections.component_health import ComponentHealth
from gpuaas.nodes.reactions import AUTOMATION_ENTITY, COMPONENT_ENTITY, NODE_ENTITY, RULES_ENTITY, RulesInForce
from pydantic import Field, model_validator

SHOWN_MAX: Final = 500


class NewFault(Body):
    """A fault of the GPU in a slot: an NVIDIA driver code, or a class of ours."""

    slot: Annotated[int, Field(strict=True, ge=0, le=63)]
    xid: Annotated[int | None, Field(strict=True, ge=1, le=100_000)] = None
    fault_class: FaultClass | None = None
    detail: Reason

    @model_validator(mode="after")
    def _one_of_both(self) -> "NewFault":
        if (self.xid is None) is (self.fault_class is None):
            raise ValueError("give either xid or fault_class")
        return self


class Candidate(Body):
    """Rules that are not switched on yet, in the form of `fault_rules.v1.json`."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    classes: dict[str, dict[str, str]]
    attempts: dict[str, int]
    xid: dict[str, list[int]]

    def rules(self) -> FaultRules:
        """Raises Invalid: a class is missing or unknown, or a code is in two classes."""
        try:
            return FaultRules.read(self.model_dump_json())
        except (ValueError, KeyError, TypeError) as wrong:
            raise Invalid(f"these are no rules: {wrong}") from None


class SwitchOn(Candidate):
    """Rules, and the number of verdicts that a replay of them was seen to change."""

    differences_seen: Annotated[int, Field(strict=True, ge=0)]
    reason: Reason

    def rules(self) -> FaultRules:
        """Raises Invalid: a class is missing or unknown, or a code is in two classes."""
        return Candidate(version=self.version, classes=self.classes, attempts=self.attempts, xid=self.xid).rules()


def health_router(
    health: ComponentHealth, database: Database, commands: Commands, clock: Clock, rules: RulesInForce
) -> APIRouter:
    """The routes about faults, components, automation and rules."""
    door = APIRouter(prefix="/v1", tags=["health"])
    _reports(door, commands, clock, rules)
    _automation(door, commands, health, database)
    _health_questions(door, health, database)
    _rules(door, health, database, commands, clock, rules)
    return door


def _reports(door: APIRouter, commands: Commands, clock: Clock, rules: RulesInForce) -> None:
    @door.post("/nodes/{node_id}/faults", status_code=202, summary="Report a fault of a GPU; it is judged at once.")
    async def report_fault(
        node_id: Id,
        body: NewFault,
        caller: Annotated[Caller, Depends(permit("nodes.fault.report"))],
    ) -> Accepted:
        node, _ = await commands.state(NODE_ENTITY, PLATFORM, node_id)
        component_id, serial = _device(node, node_id, body.slot)
        judging = await rules.now()
        fault = body.fault_class or judging.class_of_xid(body.xid or 0)
        code = None if body.xid is None else f"XID {body.xid}"
        report = ReportFault(component_id, node_id, serial, fault, code, "operator", body.detail, clock.now(), judging)
        outcome = await commands.execute(COMPONENT_ENTITY, PLATFORM, component_id, report, caller.cause())
        return caller.accepted(outcome, component_id)

    @door.post("/components/{component_id}/recoveries", summary="Say that what was ordered was done and proved.")
    async def record_recovery(
        component_id: Id,
        body: Said,
        caller: Annotated[Caller, Depends(permit("nodes.component.recover"))],
    ) -> Accepted:
        proof = RecordRecovery(body.reason, clock.now(), (await rules.now()).version)
        outcome = await commands.execute(COMPONENT_ENTITY, PLATFORM, component_id, proof, caller.cause())
        return caller.accepted(outcome, component_id)


def _automation(door: APIRouter, commands: Commands, health: ComponentHealth, database: Database) -> None:
    @door.post("/pools/{pool_id}/automation/breaker/close", summary="Let automation go on after a look.")
    async def close_breaker(
        pool_id: Id,
        body: Said,
        caller: Annotated[Caller, Depends(permit("nodes.automation.resume"))],
    ) -> Accepted:
        order = CloseBreaker(pool_id, body.reason)
        outcome = await commands.execute(AUTOMATION_ENTITY, PLATFORM, pool_id, order, caller.cause())
        return caller.accepted(outcome, pool_id)

    @door.get("/pools/{pool_id}/automation", summary="What the platform closed by itself, and the breaker.")
    async def get_automation(
        pool_id: Id,
        caller: Annotated[Caller, Depends(permit("nodes.automation.read"))],
    ) -> dict[str, Any]:
        state, version = await commands.state(AUTOMATION_ENTITY, PLATFORM, pool_id)
        standing = await health.closing(database, sorted(state.withheld))
        withheld = [
            {"component_id": name, **{field: getattr(state.withheld[name], field) for field in _WITHHELD}}
            for name in standing
            if state.withheld[name].node_id not in state.withdrawn
        ]
        remedies = [
            {"component_id": component_id, "fault_number": number, "action": action, "guard": guard}
            for component_id, (number, action, guard) in sorted(state.remedies.items())
        ]
        return {
            "pool_id": pool_id,
            "withdrawn": sorted(state.withdrawn),
            "withheld": withheld[:SHOWN_MAX],
            "breaker_open": state.breaker_open,
            "remedies": remedies[:SHOWN_MAX],
            "version": version,
        }


_WITHHELD: Final = ("node_id", "fault_number", "guard", "leased", "attempt")


def _health_questions(door: APIRouter, health: ComponentHealth, database: Database) -> None:
    seen = Depends(fresh(health))

    @door.get("/components", dependencies=[seen], summary="Components that ever had a fault; repeat offenders.")
    async def list_components(
        caller: Annotated[Caller, Depends(permit("nodes.component.read"))],
        asked: Annotated[Paging, Depends(paging)],
        node_id: Text = None,
        condition: Text = None,
        action: Text = None,
        faults_min: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> Page:
        given = zip(COMPONENT_FILTERS, (node_id, condition, action), strict=True)
        wanted = {name: value for name, value in given if value is not None}
        after = asked.after[0] if asked.after else None
        if after is not None and not isinstance(after, str):
            raise Invalid("this cursor belongs to another list; begin again without it")
        rows = await health.matching(database, wanted, faults_min, after, asked.limit + 1)
        return asked.page([dict(row) for row in rows], ["component_id"])

    @door.get("/components/{component_id}", dependencies=[seen], summary="One component over its whole life.")
    async def get_component(
        component_id: Id,
        caller: Annotated[Caller, Depends(permit("nodes.component.read"))],
    ) -> dict[str, Any]:
        row = await health.component(database, component_id)
        if row is None:
            raise NotFound(f"component {component_id} never had a fault", component_id=component_id)
        return dict(row)


def _rules(
    door: APIRouter,
    health: ComponentHealth,
    database: Database,
    commands: Commands,
    clock: Clock,
    rules: RulesInForce,
) -> None:
    seen = Depends(fresh(health))

    async def compared(candidate: FaultRules) -> tuple[list[Record], list[Difference]]:
        turns = await health.turns(database)
        return turns, replayed([_turn(row) for row in turns], await rules.now(), candidate)

    @door.get("/fault-rules", summary="The rules in force: what each class and XID comes to, with sources.")
    async def get_rules(caller: Annotated[Caller, Depends(permit("nodes.rules.read"))]) -> dict[str, Any]:
        book = await rules.book()
        return {**_told(book.rules), "since": book.since, "versions": sorted(book.versions), "sources": sources()}

    @door.post(
        "/fault-rules/replays", dependencies=[seen], summary="What other rules would have said; changes nothing."
    )
    async def replay_rules(
        body: Candidate,
        caller: Annotated[Caller, Depends(permit("nodes.rules.read"))],
        asked: Annotated[Paging, Depends(paging)],
    ) -> dict[str, Any]:
        turns, found = await compared(body.rules())
        after = asked.key(int) or 0
        rows = [shown for each in found if (shown := _shown(each, turns))["position"] > after]
        page = asked.page(rows[: asked.limit + 1], ["position"])
        versions = {"before": (await rules.now()).version, "after": body.version}
        told = {"versions": versions, "turns": len(turns), "differences": len(found), "summary": _summary(found)}
        return {**told, **page.model_dump()}

    @door.post("/fault-rules", status_code=201, dependencies=[seen], summary="Let other rules judge from here on.")
    async def switch_on_rules(
        body: SwitchOn, caller: Annotated[Caller, Depends(permit("nodes.rules.switch"))]
    ) -> Accepted:
        candidate = body.rules()
        turns, found = await compared(candidate)
        order = SwitchOnRules(candidate, body.differences_seen, len(found), len(turns), body.reason, clock.now())
        outcome = await commands.execute(RULES_ENTITY, PLATFORM, CURRENT, order, caller.cause())
        return caller.accepted(outcome, CURRENT)


def _turn(row: Record) -> tuple[str, FaultClass | None, str | None]:
    return row["component_id"], FaultClass(row["fault_class"]) if row["fault_class"] else None, row["code"]


def _shown(each: Difference, turns: Sequence[Record]) -> dict[str, Any]:
    return {
        "position": turns[each.turn]["position"],
        "component_id": each.component_id,
        "fault_number": each.fault_number,
        "fault_class": each.fault,
        "before": {"condition": each.before.condition, "action": each.before.action},
        "after": {"condition": each.after.condition, "action": each.after.action},
    }


def _summary(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """How many verdicts would become which other one, by class, the most frequent first: few rows for any history."""
    counted = Counter((each.fault, each.before, each.after) for each in found)
    return [
        {
            "fault_class": fault,
            "before": {"condition": before.condition, "action": before.action},
            "after": {"condition": after.condition, "action": after.action},
            "verdicts": count,
        }
        for (fault, before, after), count in sorted(counted.items(), key=lambda item: (-item[1], str(item[0])))
    ]


def _told(rules: FaultRules) -> dict[str, Any]:
    """Rules in the form of `Candidate`, with each code's class, verdict and sources beside it."""
    classes = {kind: {"condition": m.condition, "action": m.action} for kind, m in rules.classes.items()}
    xid: dict[str, list[int]] = {}
    for code, kind in sorted(rules.xid.items()):
        xid.setdefault(kind, []).append(code)
    unread: dict[str, Any] = {"nvidia": None, "sources": [], "milder_because": None}
    codes = [
        {"xid": code, "fault_class": kind, **classes[kind], **provenance().get(code, unread)}
        for code, kind in sorted(rules.xid.items())
    ]
    return {"version": rules.version, "classes": classes, "attempts": rules.attempts, "xid": xid, "codes": codes}


def _device(node: object, node_id: str, slot: int) -> tuple[str, str]:
    """(component id, serial) of the GPU in this slot.

    Raises:
        NotFound: no such node, or no GPU was seen in that slot.
        Rejected: the node has retired.
    """
    if not isinstance(node, Node):
        raise NotFound(f"there is no node {node_id}; register it first", node_id=node_id)
    if node.lifecycle is Lifecycle.RETIRED:
        raise Rejected(f"node {node_id} is retired; nothing more is recorded about it")
    devices = node.hardware.devices if node.hardware else ()
    found = next((device for device in devices if device.slot == slot), None)
    if found is None:
        raise NotFound(f"no GPU was seen in slot {slot} of node {node_id}", node_id=node_id)
    return found.device_id, found.serial
