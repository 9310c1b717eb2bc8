"""Every read model of a running suite, and its digest. One law: which ones there are, the services themselves say."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from gpuaas.cli.demo.world import World
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.projections import Database, Projection, digest

from tests.drills.stage import open_log

PREFIX: Final = "projection "
QUIET_S: Final = 2.5
"""Longer than the pause between two looks at whether there is something to seal."""
QUIET_WITHIN_S: Final = 60.0
REBUILT_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class View:
    """One read model of one service."""

    service: str
    projection: Projection

    def __str__(self) -> str:
        return f"{self.service} {self.projection.name}"


async def views_of(world: World) -> list[View]:
    """Every read model that a service of the world says it keeps."""
    found: list[View] = []
    for entry in SERVICES:
        classes = _projections_in(entry.name)
        names = [name.removeprefix(PREFIX) for name in await _readers(world, entry.name) if name.startswith(PREFIX)]
        found += [View(entry.name, classes[name]()) for name in names]
    return found


def _projections_in(service: str) -> dict[str, type[Projection]]:
    """Name → class of all read models in a service's package."""
    package = importlib.import_module(f"gpuaas.{service}.projections")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    kinds = [kind for kind in _below(Projection) if kind.__module__.startswith(f"{package.__name__}.")]
    return {f"{kind.answer}_v{kind.version}": kind for kind in kinds if hasattr(kind, "answer")}


def _below(kind: type[Projection]) -> list[type[Projection]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *_below(sub))]


async def _readers(world: World, service: str) -> dict[str, dict[str, Any]]:
    page = await world.operator.get(service, "/v1/projections", at_least=0)
    return {item["name"]: item for item in page["items"]}


def dsn_of(world: World, service: str) -> str:
    """The superuser's address of a service's database."""
    return urlunsplit(urlsplit(world.stack.postgres_admin_dsn)._replace(path=f"/gpuaas_{service}"))


@asynccontextmanager
async def database_of(world: World, service: str) -> AsyncIterator[Database]:
    """A service's database, opened beside the service."""
    database = Database(dsn_of(world, service), pool_max=2)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def digests(world: World) -> dict[str, str]:
    """Read model → digest, of all of them, while nothing is being written."""
    found: dict[str, str] = {}
    for view in await views_of(world):
        async with database_of(world, view.service) as database:
            found[str(view)] = await digest(database, view.projection)
    return found


async def quiet(world: World) -> int:
    """Wait until nothing has been appended for a while and every reader is at the end; the last position.

    Raises:
        AssertionError: that does not happen; says who does not come to rest.
    """
    deadline = monotonic() + QUIET_WITHIN_S
    async with open_log(world) as log:
        last, since = 0, monotonic()
        while True:
            found = await log.last_position()
            behind = await _behind(world)
            if found != last or behind:
                last, since = found, monotonic()
            if monotonic() - since >= QUIET_S:
                return last
            assert monotonic() < deadline, f"not quiet at {found}: {behind or 'somebody still writes'}"
            await asyncio.sleep(0.25)


async def _behind(world: World) -> list[str]:
    behind: list[str] = []
    for entry in SERVICES:
        told = await world.operator.ready(entry.name)
        if told is None:
            behind.append(entry.name)
        else:
            behind += [f"{entry.name} {each['name']}" for each in told["readers"] if not each["caught_up"]]
    return behind


async def rebuilt(world: World) -> Mapping[str, float]:
    """Have every read model rebuilt and compare it with what it was; seconds each rebuild took.

    Raises:
        AssertionError: one differs, was not replaced, or does not get done.
    """
    took: dict[str, float] = {}
    differ: list[str] = []
    for view in await views_of(world):
        async with database_of(world, view.service) as database:
            before, tables = await digest(database, view.projection), await _oids(database, view.projection)
            began = monotonic()
            await _rebuild(world, view)
            took[str(view)] = monotonic() - began
            assert not tables & await _oids(database, view.projection), f"{view} was not replaced"
            if await digest(database, view.projection) != before:
                differ.append(str(view))
    assert differ == [], "a rebuild gives other rows"
    return took


async def _oids(database: Database, projection: Projection) -> set[int]:
    async with database.reading() as rows:
        return {await rows.fetchval("SELECT $1::regclass::oid", f"live.{table.name}") for table in projection.tables}


async def _rebuild(world: World, view: View) -> None:
    await world.operator.post(view.service, f"/v1/projections/{view.projection.name}/rebuild")
    async with asyncio.timeout(REBUILT_WITHIN_S):
        while (await _readers(world, view.service))[PREFIX + view.projection.name]["rebuilding"] is not None:
            await asyncio.sleep(0.05)


async def trail_is_complete(world: World, stored: Mapping[int, str]) -> None:
    """The audit trail has exactly one leaf for every position of the log, with the digest of its very bytes."""
    connection = await asyncpg.connect(dsn_of(world, "audit"))
    try:
        rows = await connection.fetch("SELECT position, payload_sha256 FROM live.audit_trail_v2")
        leaves = await connection.fetchval("SELECT sum(size) FROM live.audit_trees_v2")
        gaps = await connection.fetchval("SELECT count(*) FROM live.audit_gaps_v2")
    finally:
        await connection.close()
    trail = {row["position"]: row["payload_sha256"].hex() for row in rows}
    assert sorted(trail) == list(range(1, len(stored) + 1)), "the trail has not one row per position"
    assert trail == stored, "the trail has other bytes than the log"
    assert leaves == len(stored), "the trees have not one leaf per position"
    assert gaps == 0
