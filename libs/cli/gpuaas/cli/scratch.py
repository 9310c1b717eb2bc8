"""A read model folded again into scratch tables, to look at. One law: nothing live is touched, and nothing is said.

A projection has no way to publish, so a replay into one repeats no side effect. The scratch tables stand in a place of
their own in the service's database and are dropped at the end.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from gpuaas.cli.here import service_names
from gpuaas.cli.log_reading import Wanted, matches
from gpuaas.cli.state import default_state_dir, running_endpoints
from gpuaas.common.errors import Invalid
from gpuaas.common.ids import new_id
from gpuaas.common.logs.chain import Delivered
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.projections import Database, Projection, digest
from gpuaas.common.tables import LIVE

DSN: Final = "GPUAAS_SCRATCH_DSN"


@dataclass(frozen=True, slots=True)
class Folded:
    """What a dry run made.

    Attributes:
        rows: by table.
        digest: over every row; equal rows, equal digest.
        live_digest: of the live tables, where these stand at the same position and nothing was filtered; else None.
    """

    projection: str
    position: int
    events: int
    took_s: float
    rows: dict[str, int]
    digest: str
    live_digest: str | None

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"agrees": None if self.live_digest is None else self.digest == self.live_digest}


async def fold_into_scratch(log: JetStreamLog, name: str, last: int, wanted: Wanted) -> Folded:
    """Fold the log up to `last` as `<service>.<read model>` does.

    Raises:
        Invalid: no such read model; names those there are. Whatever its fold raises, as it would live.
    """
    service, projection = _projection(name)
    database = Database(_dsn_of(service), pool_max=2)
    await database.open()
    place = f"scratch_{new_id().replace('-', '')[-12:]}"
    began = time.monotonic()
    try:
        await database.open_checkpoint(projection.name, projection.tables, await log.incarnation(), place)
        count = await _fold(log, database, projection, place, last, wanted)
        async with database.reading() as rows:
            sizes = {
                table.name: await rows.fetchval(f'SELECT count(*) FROM "{place}"."{table.name}"')  # noqa: S608
                for table in projection.tables
            }
            query = f'SELECT position FROM "{LIVE}".checkpoints WHERE reader = $1'  # noqa: S608
            stands = await rows.fetchval(query, projection.name)
        same = stands == last and not any(wanted.values())
        return Folded(
            projection=f"{service}.{projection.name}",
            position=last,
            events=count,
            took_s=round(time.monotonic() - began, 3),
            rows=sizes,
            digest=await digest(database, projection, place),
            live_digest=await digest(database, projection) if same else None,
        )
    finally:
        await database.drop_place(place)
        await database.close()


async def _fold(
    log: JetStreamLog, database: Database, projection: Projection, place: str, last: int, wanted: Wanted
) -> int:
    follower = log.follow(projection.subjects(), 0)
    count = 0
    delivered = Delivered(0)
    try:
        async for batch in follower.batches():
            if not projection.notes_holes:
                delivered.take(batch.events)
            events = [each for each in batch.events if each.position <= last and matches(each, wanted)]
            if events:
                async with database.writing(place) as rows:
                    await projection.fold_recorded(rows, events)
                count += len(events)
            if batch.seen >= last or batch.caught_up:
                break
    finally:
        await follower.close()
    return count


def _projection(name: str) -> tuple[str, Projection]:
    service, _, wanted = name.partition(".")
    known: dict[str, Projection] = {}
    if service in service_names():
        package = importlib.import_module(f"gpuaas.{service}.projections")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
        known = {kind.answer: kind() for kind in _below(Projection) if kind.__module__.startswith(package.__name__)}
    for answer, projection in known.items():
        if wanted in (answer, projection.name):
            return service, projection
    there = ", ".join(f"{service}.{answer}" for answer in sorted(known)) or ", ".join(service_names())
    raise Invalid(f"{name} is no read model; write <service>.<read model>, such as one of: {there}")


def _below(kind: type[Projection]) -> list[type[Projection]]:
    found = [each for sub in kind.__subclasses__() for each in (sub, *_below(sub))]
    return [each for each in found if hasattr(each, "answer") and hasattr(each, "tables")]


def _dsn_of(service: str) -> str:
    if given := os.environ.get(DSN):
        return given
    endpoints = running_endpoints(default_state_dir())
    password = Path(endpoints.postgres_password_file).read_text("utf-8").strip()
    at = urlsplit(endpoints.postgres_url)
    return urlunsplit(at._replace(netloc=f"postgres:{password}@{at.netloc}", path=f"/gpuaas_{service}"))
