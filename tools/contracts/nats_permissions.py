"""Who may say and hear what on NATS. One law: a service speaks only in its own name and can change no stream.

The services come from the catalogue. What the catalogue cannot know stands in the tables below, with its reason.
An empty list in the result allows nothing; a wildcard is always a whole token.

Known limit: the server does not check the target of a *push* reader against the rights of whoever makes it. A service
could have the log's own messages delivered to a subject that somebody listens to (`clock.demo`, an inbox whose random
name it knew); it cannot reach a stream or the JetStream API that way, and a test tries it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from tools.contracts.shapes import Catalogue

EVENTS: Final = "EVENTS"
TELEMETRY: Final = "TELEMETRY"

READING: Final = (
    ("$JS.API.STREAM.INFO.{stream}", "see the log's incarnation, configuration and last position"),
    ("$JS.API.CONSUMER.CREATE.{stream}.>", "create a reader of its own (its position is in the service, not in NATS)"),
    ("$JS.API.CONSUMER.INFO.{stream}.>", "see whether that reader still is there"),
    ("$JS.API.CONSUMER.MSG.NEXT.{stream}.>", "pull the next messages"),
    ("$JS.API.DIRECT.GET.{stream}", "read by position, or one entity's history in one request, from any replica"),
    ("$JS.API.DIRECT.GET.{stream}.>", "read the last message of a subject from any replica"),
    ("$JS.API.STREAM.MSG.GET.{stream}", "read from the leader after a conflict"),
)
"""What reading a stream takes. Absent on purpose: STREAM.CREATE, UPDATE, DELETE, PURGE, MSG.DELETE, CONSUMER.DELETE."""

KEYS: Final = (
    ("keys.{service}.>", "keep a person's key, once, and mark a destroyed one"),
    ("$JS.API.DIRECT.GET.{stream}", "read the keys of many people in one request"),
    ("$JS.API.STREAM.MSG.GET.{stream}", "read one key from the leader"),
    ("$JS.API.STREAM.MSG.DELETE.{stream}", "destroy a key: the broker overwrites it"),
)
"""What a service whose events hold personal data may do with the keys to it, and no other service."""

TELEMETRY_READERS: Final = {
    "allocations": "finds allocations that use none of their GPUs",
    "nodes": "turns heartbeats and utilisation samples into facts about machines",
}
"""Services that read the TELEMETRY stream, and why."""

CLOCK: Final = "clock.demo"
"""Core subject (not in any stream) on which the demo profile's pace of time is announced."""


@dataclass(frozen=True, slots=True)
class User:
    """What one NATS user may do, and why it exists."""

    name: str
    why: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def users_of(catalogue: Catalogue) -> tuple[User, ...]:
    """Every user: one per service of the catalogue, then those who are no service."""
    keepers = keepers_in(catalogue)
    return (*(_service(name, name in keepers) for name in catalogue.services), *_OTHERS)


def keepers_in(catalogue: Catalogue) -> set[str]:
    """The services that own personal data."""
    return {event.service for event in catalogue.events if any(field.personal for field in event.body.fields)}


def permissions_json(catalogue: Catalogue) -> str:
    """The users as JSON: name → why, and `permissions` as a NATS server configuration spells them."""
    document: dict[str, Any] = {
        "generated": "from schemas/events by `python -m tools.contracts generate`; do not edit",
        "users": {user.name: _written(user) for user in users_of(catalogue)},
        "templates": {AGENT_OF_ONE.name: _written(AGENT_OF_ONE)},
    }
    return json.dumps(document, indent=2) + "\n"


def _written(user: User) -> dict[str, Any]:
    allowed = {"publish": {"allow": list(user.publish)}, "subscribe": {"allow": list(user.subscribe)}}
    return {"why": user.why, "permissions": allowed}


def _reading(stream: str) -> tuple[str, ...]:
    return tuple(subject.format(stream=stream) for subject, _ in READING)


def _inbox(name: str) -> str:
    """Answers come here; a prefix of its own, because `_INBOX.>` would let everybody read everybody's answers."""
    return f"_INBOX_{name}.>"


def _service(name: str, keeps_keys: bool) -> User:
    keys = tuple(subject.format(service=name, stream=f"KEYS_{name.upper()}") for subject, _ in KEYS)
    telemetry = _reading(TELEMETRY) if name in TELEMETRY_READERS else ()
    return User(
        name=name,
        why=f"the service {name}: appends its own events, reads all",
        publish=(
            f"events.{name}.>",
            f"telemetry.{name}.>",
            *_reading(EVENTS),
            *telemetry,
            *(keys if keeps_keys else ()),
        ),
        subscribe=(_inbox(name), CLOCK),
    )


_OTHERS: Final = (
    User(
        name="provisioner",
        why="makes the streams, guards their configuration and re-seeds a restored log; used by people and at start",
        publish=(">",),
        subscribe=(">",),
    ),
    User(
        name="agent",
        why="one agent for many simulated machines: it reports and is told nothing; a real one has its own user",
        publish=("telemetry.nodes.>",),
        subscribe=(_inbox("agent"),),
    ),
    User(
        name="operator",
        why="the command line: reads the log, sets the demo's pace of time, appends nothing",
        publish=(*_reading(EVENTS), CLOCK),
        subscribe=(_inbox("operator"), CLOCK),
    ),
)

AGENT_OF_ONE: Final = User(
    name="agent-{node_id}",
    why="the agent on one machine: it reports on this machine alone and is told nothing",
    publish=("telemetry.nodes.{node_id}.>",),
    subscribe=(_inbox("agent-{node_id}"),),
)
"""A user per machine, made where machines are enrolled. A node id is one token and no wildcard: it names no other."""
