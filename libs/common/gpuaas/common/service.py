"""A service put together: broker, log, database, door, readers, health, drain. One law: it stops what it started.

FastStream carries the process and the broker's connection; the log path runs on that same connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

import uvicorn
import uvloop
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from faststream import FastStream
from faststream.nats import NatsBroker
from faststream.nats.security import NatsSecurity, NatsUserPassword
from gpuaas.common.access import Access
from gpuaas.common.accesses import Accesses
from gpuaas.common.clock import Pace, PacedClock
from gpuaas.common.commands import Commands
from gpuaas.common.door import Door
from gpuaas.common.durability import demand_durable, log_fill
from gpuaas.common.enforcing import AccessReader
from gpuaas.common.errors import GpuaasError, Misconfigured, NotFound, Unavailable
from gpuaas.common.http import (
    AT_LEAST_HEADER,
    POSITION_HEADER,
    Page,
    describe,
    guard_first,
    on_error,
    permissions,
    permit,
    public,
)
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.projections import Projection, Projector
from gpuaas.common.reactions import Reaction, Reactor
from gpuaas.common.readers import Reader
from gpuaas.common.sealing import Seals
from gpuaas.common.settings import BrokerLogin, Settings, login_of
from gpuaas.common.snapshots import DatabaseSnapshots
from gpuaas.common.source import sources_of
from gpuaas.common.tables import Database
from gpuaas.common.telemetry import LOG_FILL, LOG_POSITION, LOG_REACHABLE, READER_LAG, READY, start_telemetry
from gpuaas.common.vaults.jetstream import JetStreamVault
from nats.aio.msg import Msg
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

PACE_SUBJECT: Final = "clock.demo"
START_RETRY_S: Final = 0.5
ROOM_S: Final = 2.0
"""How often a service looks how full the log is."""
LAST_WORDS_S: Final = 2.0
"""How long a service that stops takes to tell what it has not told yet."""
FORGIVEN_S: Final = 10.0
"""A part of the service that failed counts as well again after it has run this long."""
_log = logging.getLogger(__name__)
Given = TypeVar("Given", bound=Settings)
Background = Callable[[], Awaitable[None]]


class Service:
    """One process of the suite. `build()` in a service's `app.py` says what it is made of.

    Args:
        name: the service's token in subjects, sources and database names.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.sources = sources_of(name)
        self.clock = settings.clock()
        login = login_of(settings.nats_url)
        self.broker = NatsBroker(
            login.servers,
            name=f"gpuaas-{name}",
            inbox_prefix=f"_INBOX_{name}",
            error_cb=self._on_broker_error,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=5,
            max_outstanding_pings=2,
            logger=None,
            graceful_timeout=settings.drain_s,
            security=_security(login, settings),
        )
        self.log = JetStreamLog(lambda: self.broker.connection)
        self.database = Database(settings.postgres_dsn, settings.postgres_pool_max, settings.database_tls())
        self._snapshots = DatabaseSnapshots(self.database, self.log)
        kept = self._snapshots if settings.postgres_dsn else None
        self.commands = Commands(self.log, self.clock, name, settings.profile, kept)
        self.access = Access(settings.profile)
        self.access_reader = AccessReader(self.access, self.log)
        self.accesses = Accesses(name, self.commands)
        self.app = FastAPI(
            title=f"GPUaaS {name}",
            version="1",
            docs_url=None,
            redoc_url=None,
            openapi_url="/openapi.json",
            redirect_slashes=False,
        )
        self.app.state.service = self
        self.app.openapi = lambda: describe(self.app)  # type: ignore[method-assign]
        for kind in (GpuaasError, RequestValidationError, HTTPException, Exception):
            self.app.add_exception_handler(kind, on_error)
        self._readers: list[Reader] = [self.access_reader]
        self._projectors: dict[str, Projector] = {}
        self._background: list[tuple[str, Background]] = []
        self._prepared: list[Background] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._streamed: list[str] = []
        self._complete = False
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._failures: dict[str, str] = {}
        self._lasting: set[str] = set()
        self._started = False
        self._been_ready = False

    # -- what it is made of ------------------------------------------------------------------------------------

    def project(self, *projections: Projection) -> None:
        """Keep these read models."""
        for projection in projections:
            projector = Projector(projection, self.log, self.database)
            self._projectors[projection.name] = projector
            self._readers.append(projector)

    def react(self, *reactions: Reaction) -> None:
        """Answer events with these."""
        self._readers += [Reactor(reaction, self.log, self.database) for reaction in reactions]

    def follow(self, reader: Reader) -> None:
        """Run a reader of the service's own kind."""
        self._readers.append(reader)

    def serve(self, router: APIRouter, streamed: Sequence[str] = ()) -> None:
        """Open these routes; bodies below the `streamed` path prefixes are bounded by their routes."""
        guard_first(router)
        self.app.include_router(router)
        self._streamed += streamed

    def prepare(self, work: Background) -> None:
        """Run once, when log and database are there and before readers begin (bootstrap, keys)."""
        self._prepared.append(work)

    def background(self, name: str, work: Background) -> None:
        """Run beside the readers for as long as the service does; restarted when it fails."""
        self._background.append((name, work))

    def seal_personal_data(self) -> Seals:
        """Seal the personal data in this service's events; its vault must have been provisioned."""
        self.commands.seals = seals = Seals(self.name, JetStreamVault(self.log.wire, self.name))
        return seals

    def reader(self, projection: Projection) -> Reader:
        """The reader that keeps `projection`."""
        return self._projectors[projection.name]

    def document(self) -> dict[str, Any]:
        """The OpenAPI document of its whole door, which need not be open.

        Raises:
            ValueError: a route is neither permitted nor public; names it.
        """
        self._add_own_routes()
        return describe(self.app)

    # -- its life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everything but the broker's own start. Raises Misconfigured where waiting would not help."""
        await self._until_there(self._connect)
        # Before any reader starts: a reaction may put a question to a read model that has not begun yet.
        for projector in self._projectors.values():
            await self._until_there(projector.make_tables)
        for work in self._prepared:
            await self._until_there(work)
        for reader in self._readers:
            self._spawn(reader.name, reader.run)
        for name, work in [*self._own_background(), *self._background]:
            self._spawn(name, work)
        self._started = True

    def _own_background(self) -> list[tuple[str, Background]]:
        own = {"log room": self._watch_room, "accesses": self.accesses.keep_telling}
        return list((own | {"freshness of rights": self.access_reader.keep_confirmed}).items())

    async def _watch_room(self) -> None:
        """Keep commands told whether the log is nearly full."""
        while True:
            fill = await log_fill(self.log, self.settings.nats_monitor_url)
            LOG_FILL.set(fill)
            nearly_full = fill > 1 - self.settings.log_headroom
            if nearly_full != self.commands.nearly_full:
                _log.warning("the log is %.1f %% full", 100 * fill)
            self.commands.nearly_full = nearly_full
            await asyncio.sleep(ROOM_S)

    async def _connect(self) -> None:
        await self.log.incarnation()
        await self.log.prove_guards(self.name)
        await demand_durable(self.log, self.settings)
        if self.settings.postgres_dsn or self._projectors:
            await self.database.open()
            await self._snapshots.make_tables()
        if isinstance(self.clock, PacedClock):
            await self.broker.connection.subscribe(PACE_SUBJECT, cb=self._on_pace)

    async def _until_there(self, step: Background) -> None:
        while True:
            try:
                return await step()
            except Unavailable as away:
                _log.warning("%s waits to start: %s", self.name, away.detail)
                await asyncio.sleep(START_RETRY_S)

    def _spawn(self, name: str, work: Callable[[], Awaitable[object]], *, forever: bool = True) -> None:
        if forever:
            self._lasting.add(name)

        async def again() -> None:
            while True:
                forgive = asyncio.get_running_loop().call_later(FORGIVEN_S, self._failures.pop, name, None)
                try:
                    await work()
                    self._failures.pop(name, None)
                    return
                except Unavailable as away:
                    if not forever:
                        _log.error("%s of %s failed: %s", name, self.name, away.detail)
                        self._failures[name] = away.detail
                        return
                    # What it needs is away and comes back; the part waits, it is not broken.
                    _log.warning("%s of %s waits: %s", name, self.name, away.detail)
                    await asyncio.sleep(START_RETRY_S)
                except Exception as failure:  # noqa: BLE001 - one part failing must not end the others
                    _log.exception("%s of %s failed", name, self.name)
                    self._failures[name] = f"{type(failure).__name__}: {failure}"
                    if not forever:
                        return
                    await asyncio.sleep(START_RETRY_S)
                finally:
                    forgive.cancel()

        task = asyncio.create_task(again(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def open_door(self) -> None:
        """Begin to answer HTTP: health at once, the rest as it becomes ready."""
        self._add_own_routes()
        permissions(self.app)
        if self.settings.web_origins:
            self.app.add_middleware(
                CORSMiddleware,
                allow_origins=self.settings.web_origins,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", AT_LEAST_HEADER, "traceparent"],
                expose_headers=[POSITION_HEADER, "Retry-After"],
            )
        self.app.add_middleware(
            Door,
            requests_per_s=self.settings.requests_per_s,
            body_bytes_max=self.settings.body_bytes_max,
            streamed=self._streamed,
        )
        config = uvicorn.Config(
            self.app,
            host=self.settings.http_host,
            port=self.settings.http_port,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=int(self.settings.drain_s),
            ssl_certfile=self.settings.http_cert_file,
            ssl_keyfile=self.settings.http_key_file,
        )
        self._socket = _bound(self.settings.http_host, self.settings.http_port)
        self._server = uvicorn.Server(config)
        self._server.config.load()
        self._spawn("door", self._serve_http)

    async def _serve_http(self) -> None:
        assert self._server is not None
        # uvicorn would take over the signals that FastStream already answers.
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        await self._server.serve(sockets=[self._socket] if self._socket else None)

    async def stop(self) -> None:
        """Drain: no new requests, requests under way finish, readers end between batches, connections close."""
        if self._server is not None:
            self._server.should_exit = True
            for task in [task for task in self._tasks if task.get_name() == "door"]:
                with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
                    await asyncio.wait_for(asyncio.shield(task), self.settings.drain_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._started:
            with contextlib.suppress(GpuaasError, TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self.accesses.tell()
        await self.commands.settle()
        await self.database.close()

    async def _on_broker_error(self, error: Exception) -> None:
        self.log.wire.refused(str(error))
        _log.warning("broker: %s", error)

    async def _on_pace(self, message: Msg) -> None:
        if isinstance(self.clock, PacedClock):
            self.clock.change(Pace.decode(message.data.decode()))

    # -- what every service answers -------------------------------------------------------------------------------

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether it can do its work, and where each of its readers stands."""
        readers = [asdict(reader.status()) for reader in self._readers]
        head = None
        if self._started:
            with contextlib.suppress(Unavailable):
                head = await self.log.last_position()
        stopped = [reader["name"] for reader in readers if reader["stopped"]] + sorted(
            self._failures.keys() & self._lasting
        )
        self._been_ready = self._been_ready or (self._started and all(reader["caught_up"] for reader in readers))
        ready = self._been_ready and head is not None and not stopped
        return ready, {
            "service": self.name,
            "profile": self.settings.profile,
            "sources": self.sources,
            "ready": ready,
            "log_position": head,
            "log_nearly_full": self.commands.nearly_full,
            "stopped": stopped,
            "failures": dict(self._failures),
            "readers": readers,
            "rights": asdict(self.access_reader.enforced()),
        }

    async def _measure(self) -> None:
        """Bring what changes without an event up to now: how far each reader is behind, whether the log answers."""
        ready, told = await self.readiness()
        head = told["log_position"]
        READY.set(ready)
        LOG_REACHABLE.set(head is not None)
        if head is None:
            return
        LOG_POSITION.set(head)
        for reader in told["readers"]:
            READER_LAG.labels(reader["name"]).set(0 if reader["caught_up"] else max(0, head - reader["position"]))

    def _add_own_routes(self) -> None:
        if self._complete:
            return
        self._complete = True
        router = APIRouter()
        kept = self._projectors

        @router.get("/healthz", include_in_schema=False)
        @public
        async def alive() -> dict[str, str]:
            return {"status": "alive"}

        @router.get("/readyz", include_in_schema=False)
        @public
        async def readiness(response: Response) -> dict[str, Any]:
            ready, told = await self.readiness()
            response.status_code = 200 if ready else 503
            return _without_reasons(told)

        @router.get("/metrics", include_in_schema=False)
        @public
        async def metrics() -> Response:
            await self._measure()
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        read = Depends(permit(f"{self.name}.projection.read"))

        @router.get("/v1/projections", summary="Where this service's readers stand.", dependencies=[read])
        async def projections() -> Page:
            return Page(items=[asdict(reader.status()) for reader in self._readers])

        @router.get("/v1/readiness", summary="What `/readyz` tells, with the reasons.", dependencies=[read])
        async def reasons() -> dict[str, Any]:
            return (await self.readiness())[1]

        may_rebuild = Depends(permit(f"{self.name}.projection.rebuild"))
        summary = "Fold a read model again beside the live one, then switch."

        @router.post("/v1/projections/{name}/rebuild", status_code=202, summary=summary, dependencies=[may_rebuild])
        async def rebuild(name: str) -> dict[str, str]:
            if (projector := kept.get(name)) is None:
                raise NotFound(f"{self.name} keeps no projection {name}; it keeps {', '.join(sorted(kept))}")
            if projector.rebuilding is None:
                projector.rebuilding = 0.0
                self._spawn(f"rebuild {name}", projector.rebuild, forever=False)
            return {"projection": name, "status": "rebuilding"}

        self.app.include_router(router)


def _without_reasons(told: dict[str, Any]) -> dict[str, Any]:
    """Readiness for everybody: names and positions. A reason can name subjects, and so tenants and what they have."""
    elsewhere = "GET /v1/readiness says why"
    readers = [reader | {"stopped": reader["stopped"] and elsewhere} for reader in told["readers"]]
    rights = told["rights"] | {"frozen": told["rights"]["frozen"] and elsewhere}
    return told | {"failures": dict.fromkeys(told["failures"], elsewhere), "readers": readers, "rights": rights}


def _security(login: BrokerLogin, settings: Settings) -> NatsSecurity:
    """Who signs in, and whether through TLS."""
    tls = settings.broker_tls()
    if login.user is None or login.password is None:
        return NatsSecurity(ssl_context=tls, use_ssl=tls is not None)
    return NatsUserPassword(login.user, login.password, ssl_context=tls, use_ssl=tls is not None)


def _bound(host: str, port: int) -> socket.socket:
    """A socket on the door's address, taken before anything else starts.

    Raises:
        Misconfigured: somebody else listens there, or this machine has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, because asyncio sends small answers at once (TCP_NODELAY) only on sockets that say so.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except OSError as refused:
        taken.close()
        raise Misconfigured(
            f"cannot listen on {host}:{port} ({refused.strerror}); set GPUAAS_HTTP_PORT to a free port"
        ) from refused
    return taken


def run(build: Callable[[Given], Service], settings_type: type[Given]) -> None:
    """Run a service until SIGTERM or SIGINT; exit status 2 with one sentence when it is set up wrongly."""
    try:
        settings = settings_type.from_environment()
        service = build(settings)
        start_telemetry(service.name, settings.log_level)
        process = FastStream(
            service.broker,
            logger=None,
            on_startup=[service.open_door],
            after_startup=[service.start],
            on_shutdown=[service.stop],
        )
        uvloop.run(process.run())
    except Misconfigured as wrong:
        sys.stderr.write(f"{wrong.detail}\n")
        sys.exit(2)
