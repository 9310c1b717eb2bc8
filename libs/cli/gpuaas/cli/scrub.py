"""Every copy of the log against audit's, message by message. One law: a healthy broker proves nothing about its bytes.

A copy with a flipped bit is not repaired and not reported, and a third of the readers of a log on three servers are
placed on it and skip the event without a word. A sweep reads the whole log and asks the broker at which server it was
placed; sweeps go on until every server has been read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from gpuaas.cli.audit_copy import AuditCopy
from gpuaas.common.errors import Unavailable
from gpuaas.common.logs.jetstream import JetStreamLog

SWEEPS_MAX: Final = 60
"""A copy is missed by all of them once in 10^10 scrubs."""
ALONE: Final = "the only one"


@dataclass(slots=True)
class Scrubbed:
    """What the sweeps have shown.

    Attributes:
        servers: those whose copies were read to the end.
        sick: server → positions that its copy cannot give, or gives with other bytes than audit saw.
    """

    sweeps: int = 0
    servers: set[str] = field(default_factory=set)
    sick: dict[str, list[int]] = field(default_factory=dict)


async def scrub(log: JetStreamLog, copy: AuditCopy) -> Scrubbed:
    """Read every server's copy of the log and compare it with what audit has seen.

    Raises:
        Unavailable: a server never answers.
    """
    wanted = await copy.digests()
    told = Scrubbed()
    members = await _members(log)
    while told.servers < members:
        if told.sweeps == SWEEPS_MAX:
            raise Unavailable(f"no reader is placed on {', '.join(sorted(members - told.servers))}; is that server up?")
        server, found = await _sweep(log, max(wanted, default=0), members)
        told.sweeps += 1
        told.servers.add(server)
        if wrong := [position for position, digest in wanted.items() if found.get(position) != digest]:
            told.sick[server] = wrong
    return told


async def _members(log: JetStreamLog) -> set[str]:
    info: dict[str, Any] = await log.wire.ask("$JS.API.STREAM.INFO.EVENTS")
    cluster = info.get("cluster") or {}
    return {cluster.get("leader") or ALONE, *(each["name"] for each in cluster.get("replicas") or ())}


async def _sweep(log: JetStreamLog, last: int, members: set[str]) -> tuple[str, dict[int, bytes]]:
    """One reading of everything: at which server, and each position's digest."""
    found: dict[int, bytes] = {}
    server = next(iter(members))
    follower = log.follow(["events.>"], 0)
    try:
        async for batch in follower.batches():
            if len(members) > 1 and not found:
                told = await log.wire.ask(f"$JS.API.CONSUMER.INFO.EVENTS.{follower.consumer}")
                server = told["cluster"]["leader"]
            found |= {recorded.position: sha256(recorded.payload).digest() for recorded in batch.events}
            if batch.seen >= last:
                return server, found
    finally:
        await follower.close()
    return server, found
