"""The door of nodes: enrol machines, see where they stand, hold and retire them. One law: a hold is its owner's."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from gpuaas.common.commands import Cause, Commands, Order, Outcome
from gpuaas.common.envelope import PLATFORM, Recorded
from gpuaas.common.errors import Conflict, GpuaasError, Invalid, NotFound, Rejected
from gpuaas.common.http import POSITION_HEADER, Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Database, Record
from gpuaas.common.wire import Moment
from gpuaas.contracts.nodes import Label, Topology
from gpuaas.nodes.domain.admission import REASON_MAX
from gpuaas.nodes.domain.axes import Expected, Hold, Isolation, Lifecycle
from gpuaas.nodes.domain.hardware import DEVICES_MAX
from gpuaas.nodes.domain.orders import LiftHold, NodeCommand, PlaceHold, RegisterNode, RetireNode
from gpuaas.nodes.projections.nodes import FILTERS, Nodes
from gpuaas.nodes.reactions import NODE_ENTITY, Onlooker
from pydantic import BaseModel, Field, model_validator

BATCH_MAX: Final = 200
HISTORY_MAX: Final = 200
"""Newest events of a node that its own page shows."""
SINGLY_AT_ONCE: Final = 16

Reason = Annotated[str, Field(min_length=1, max_length=REASON_MAX)]
NodeId = Annotated[str, Path(description="The node.", max_length=63)]
Id = Annotated[str, Path(max_length=63)]
Text = Annotated[str | None, Query(max_length=63)]


class NewNode(Body):
    """A machine that is to be enrolled."""

    node_id: Label
    topology: Topology
    expected_gpu_model: Annotated[Label, Field(description="Catalogue name of its GPUs.")]
    expected_gpu_count: Annotated[int, Field(strict=True, ge=1, le=DEVICES_MAX)]
    pool_id: Annotated[Label, Field(description="The pool whose capacity it becomes.")]
    isolation: Annotated[
        Isolation, Field(description="`machine`: wiped and validated between tenants; `device`: shared.")
    ] = Isolation.DEVICE

    def order(self) -> RegisterNode:
        return RegisterNode(
            node_id=self.node_id,
            expected=Expected(
                topology=self.topology,
                gpu_model=self.expected_gpu_model,
                gpu_count=self.expected_gpu_count,
                pool_id=self.pool_id,
                isolation=self.isolation,
            ),
        )


class NewNodes(Body):
    """Up to 200 machines at once."""

    nodes: Annotated[tuple[NewNode, ...], Field(min_length=1, max_length=BATCH_MAX)]

    @model_validator(mode="after")
    def _distinct(self) -> "NewNodes":
        ids = [node.node_id for node in self.nodes]
        if twice := sorted({node_id for node_id in ids if ids.count(node_id) > 1}):
            raise ValueError(f"{twice[0]} is named twice; name every node once")
        return self


class BatchItem(BaseModel):
    """What became of one machine of a batch.

    Attributes:
        position: of its last event; 0 where it was refused.
        problem: why it was refused: a stable code and a sentence.
    """

    id: str
    status: Literal["accepted", "refused"]
    position: int = 0
    repeated: bool = False
    problem: dict[str, str] | None = None


class BatchAnswer(BaseModel):
    """Every machine of the batch, in the order given, and the newest position among them."""

    items: list[BatchItem]
    position: int


class NewHold(Body):
    """A reason not to place anything on the node; the caller is its owner."""

    hold_id: Label
    cause: Reason
    expires_at: Annotated[Moment | None, Field(description="World time; absent: until the owner lifts it.")] = None


class Said(Body):
    reason: Reason


def router(nodes: Nodes, database: Database, log: EventLog, commands: Commands, onlooker: Onlooker) -> APIRouter:
    """All routes of this service."""
    door = APIRouter(prefix="/v1", tags=["nodes"])
    _enrolment(door, commands, onlooker)
    _questions(door, nodes, database, log)
    _orders(door, commands)
    return door


def _enrolment(door: APIRouter, commands: Commands, onlooker: Onlooker) -> None:
    @door.post("/nodes", status_code=202, summary="Register a machine; it is then adopted, looked at and judged.")
    async def register_node(
        body: NewNode, caller: Annotated[Caller, Depends(permit("nodes.node.register"))]
    ) -> Accepted:
        outcome = await _give(commands, body.node_id, body.order(), caller.cause())
        return caller.accepted(outcome, body.node_id)

    @door.post("/nodes/batch", status_code=202, summary="Register up to 200 machines; each has its own answer.")
    async def register_nodes(
        body: NewNodes, response: Response, caller: Annotated[Caller, Depends(permit("nodes.node.register"))]
    ) -> BatchAnswer:
        answer = await _register_all(commands, body.nodes, caller.cause())
        response.headers[POSITION_HEADER] = str(answer.position)
        return answer

    @door.post("/nodes/{node_id}/observations", status_code=202, summary="Look at the machine now and judge it.")
    async def observe_node(
        node_id: NodeId, caller: Annotated[Caller, Depends(permit("nodes.node.observe"))]
    ) -> Accepted:
        await _existing(commands, node_id)
        position = await onlooker.record(node_id, await onlooker.look(node_id), caller.cause())
        caller.response.headers[POSITION_HEADER] = str(position)
        return Accepted(id=node_id, position=position)


def _questions(door: APIRouter, nodes: Nodes, database: Database, log: EventLog) -> None:
    seen = Depends(fresh(nodes))

    @door.get("/nodes", dependencies=[seen], summary="Nodes by where they stand, in order of id.")
    async def list_nodes(
        caller: Annotated[Caller, Depends(permit("nodes.node.read"))],
        asked: Annotated[Paging, Depends(paging)],
        lifecycle: Annotated[Lifecycle | None, Query()] = None,
        pool_id: Text = None,
        region: Text = None,
        site: Text = None,
        pod: Text = None,
        rack: Text = None,
        expected_gpu_model: Text = None,
        health_agent: Text = None,
        placeable: Annotated[bool | None, Query()] = None,
    ) -> Page:
        given = (lifecycle, pool_id, region, site, pod, rack, expected_gpu_model, health_agent)
        wanted = {name: value for name, value in zip(FILTERS, given, strict=True) if value is not None}
        after = asked.key(str)
        rows = await nodes.matching(database, wanted, placeable, after, asked.limit + 1)
        return asked.page([_shown(row) for row in rows], ["node_id"])

    @door.get("/nodes/{node_id}", dependencies=[seen], summary="One node: its axes, holds, hardware and history.")
    async def get_node(
        node_id: NodeId, caller: Annotated[Caller, Depends(permit("nodes.node.read"))]
    ) -> dict[str, Any]:
        row = await nodes.node(database, node_id)
        if row is None:
            raise NotFound(f"there is no node {node_id}; see GET /v1/nodes", node_id=node_id)
        history = await log.history(NODE_ENTITY.subject(PLATFORM, node_id))
        return {
            **_shown(row),
            "hardware": row["hardware"] or None,
            "history": [_told(recorded) for recorded in history[-HISTORY_MAX:]],
        }

    @door.get("/fleet", dependencies=[seen], summary="How many nodes and GPUs stand where.")
    async def count_fleet(caller: Annotated[Caller, Depends(permit("nodes.node.read"))]) -> Page:
        return Page(items=[dict(row) for row in await nodes.counts(database)])


def _orders(door: APIRouter, commands: Commands) -> None:
    @door.post("/nodes/{node_id}/holds", status_code=201, summary="Close the node for new work.")
    async def place_hold(
        node_id: NodeId, body: NewHold, caller: Annotated[Caller, Depends(permit("nodes.hold.place", relief=True))]
    ) -> Accepted:
        hold = Hold(body.hold_id, caller.principal.id, body.cause, body.expires_at)
        outcome = await _give(commands, node_id, PlaceHold(hold), caller.cause())
        return caller.accepted(outcome, body.hold_id)

    @door.post("/nodes/{node_id}/holds/{hold_id}/lift", summary="Lift a hold of one's own.")
    async def lift_hold(
        node_id: NodeId,
        hold_id: Annotated[str, Path(max_length=63)],
        body: Said,
        caller: Annotated[Caller, Depends(permit("nodes.hold.lift"))],
    ) -> Accepted:
        command = LiftHold(hold_id=hold_id, by=caller.principal.id, reason=body.reason)
        return caller.accepted(await _give(commands, node_id, command, caller.cause()), hold_id)

    @door.post("/nodes/{node_id}/retire", summary="Take the node out of the fleet for good.")
    async def retire_node(
        node_id: NodeId, body: Said, caller: Annotated[Caller, Depends(permit("nodes.node.retire", relief=True))]
    ) -> Accepted:
        outcome = await _give(commands, node_id, RetireNode(body.reason), caller.cause())
        return caller.accepted(outcome, node_id)


async def _give(commands: Commands, node_id: str, command: NodeCommand, cause: Cause) -> Outcome[Any]:
    return await commands.execute(NODE_ENTITY, PLATFORM, node_id, command, cause)


async def _existing(commands: Commands, node_id: str) -> None:
    _, version = await commands.state(NODE_ENTITY, PLATFORM, node_id)
    if version == 0:
        raise NotFound(f"there is no node {node_id}; register it first", node_id=node_id)


async def _register_all(commands: Commands, nodes: Sequence[NewNode], cause: Cause) -> BatchAnswer:
    """All in one append where all are well; where one is not, each for itself, so that the others still pass."""
    orders = [Order(NODE_ENTITY, PLATFORM, node.node_id, node.order()) for node in nodes]
    try:
        outcomes = await commands.execute_together(orders, cause.at("batch"), fresh=True)
    except (Rejected, Invalid, Conflict):
        items = await _register_singly(commands, nodes, cause.at("single"))
    else:
        items = [_well(node.node_id, outcome) for node, outcome in zip(nodes, outcomes, strict=True)]
    return BatchAnswer(items=items, position=max(item.position for item in items))


async def _register_singly(commands: Commands, nodes: Sequence[NewNode], cause: Cause) -> list[BatchItem]:
    free = asyncio.Semaphore(SINGLY_AT_ONCE)

    async def one(node: NewNode) -> BatchItem:
        async with free:
            try:
                return _well(node.node_id, await _give(commands, node.node_id, node.order(), cause))
            except GpuaasError as refused:
                told = {"code": refused.code, "detail": refused.detail}
                return BatchItem(id=node.node_id, status="refused", problem=told)

    return list(await asyncio.gather(*(one(node) for node in nodes)))


def _well(node_id: str, outcome: Outcome[Any]) -> BatchItem:
    quiet = outcome.repeated or not outcome.events
    return BatchItem(id=node_id, status="accepted", position=outcome.position, repeated=quiet)


def _shown(row: Record) -> dict[str, Any]:
    """A row as the world sees it: the four axes side by side."""
    holds = [{"hold_id": name, **hold} for name, hold in sorted(row["holds"].items())]
    return {
        "node_id": row["node_id"],
        "placeable": row["placeable"],
        "lifecycle": row["lifecycle"],
        "health": {"hardware": row["health_hardware"], "agent": row["health_agent"]},
        "custody": "tenant" if row["occupants"] else row["custody"],
        "isolation": row["isolation"],
        "occupants": [{"allocation_id": name, **told} for name, told in sorted(row["occupants"].items())],
        "unclean": row["unclean"],
        "maintenance_window": row["window_id"],
        "firmware": row["firmware"],
        "burn_in": _burn_in(row),
        "remedy": row["remedy"] or None,
        "remedies": row["remedied"],
        "lifecycle_since": row["lifecycle_since"],
        "overdue": {"steps_taken": row["overdue"], "newest": row["overdue_step"]} if row["overdue"] else None,
        "admission": {"open": not holds, "holds": holds},
        "topology": {name: row[name] for name in ("region", "site", "pod", "rack")},
        "pool_id": row["pool_id"],
        "expected": {"gpu_model": row["expected_gpu_model"], "gpu_count": row["expected_gpu_count"]},
        "mismatches": row["mismatches"].get("items", []),
        "drain": row["drain"] or None,
        "agent_seen_at": row["agent_seen_at"],
        "registered_at": row["registered_at"],
        "changed_at": row["changed_at"],
        "version": row["version"],
        "position": row["position"],
    }


def _burn_in(row: Record) -> dict[str, Any] | None:
    """The newest burn-in: its plan and how far it came; None: there was none since the machine changed."""
    if not (told := dict(row["burn_in"])):
        return None
    return {**told, "steps_ended": told.pop("ended")}


def _told(recorded: Recorded) -> dict[str, Any]:
    envelope = recorded.envelope()
    return {
        "position": recorded.position,
        "type": envelope.type,
        "time": envelope.time,
        "actor": envelope.actor,
        "actor_kind": envelope.actorkind,
        "data": NODE_ENTITY.vocabulary.read(envelope.type, bytes(envelope.data)).model_dump(mode="json"),
    }
