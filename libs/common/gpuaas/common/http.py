"""The door's vocabulary: who calls, may they, which position, which page. One law: closed unless a route says who may.

Problems are RFC 9457; `Idempotency-Key` makes a repeat safe; `GPUaaS-Position` says where a command's events stand
and `GPUaaS-At-Least` asks a view to have seen that position.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, Protocol, Self, TypeVar

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from gpuaas.common.access import Access, Decision, NotReadYet, Principal, Scope
from gpuaas.common.accesses import Accesses
from gpuaas.common.commands import Cause, Outcome
from gpuaas.common.decisions import Reach
from gpuaas.common.door import PROBLEM
from gpuaas.common.enforcing import CHANGE_AGE_MAX_S, AccessReader
from gpuaas.common.errors import (
    GpuaasError,
    Invalid,
    NoSuchMethod,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from gpuaas.common.ids import derived_id, new_id
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Projection, Record
from gpuaas.common.readers import Reader
from gpuaas.common.settings import Settings
from gpuaas.common.telemetry import current_traceparent
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

POSITION_HEADER: Final = "GPUaaS-Position"
AT_LEAST_HEADER: Final = "GPUaaS-At-Least"
RIGHTS_AGE_HEADER: Final = "GPUaaS-Rights-Age"
"""Seconds, or `unknown`: only where a question was answered on rights that may no longer be the newest."""
YEARS: Final = range(1900, 3000)
"""Years a moment in a request may lie in."""
LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
_KEY_MAX: Final = 255
_KEYS_MAX: Final = 8
_NO_CURSOR: Final = "this cursor is not one that was given out here; begin again without it"
_FRAMEWORKS_REFUSAL: Final = "422"
"""FastAPI describes its own answer to a wrong request, which `on_error` replaces."""


class Behind(Protocol):
    """What the door needs of the service behind it."""

    @property
    def access(self) -> Access: ...

    @property
    def accesses(self) -> Accesses: ...

    @property
    def access_reader(self) -> AccessReader: ...

    @property
    def log(self) -> EventLog: ...

    @property
    def settings(self) -> Settings: ...

    def reader(self, projection: Projection) -> Reader:
        """The reader that keeps `projection`."""
        ...


Key = TypeVar("Key", str, int)


class Body(BaseModel):
    """What a request carries: closed, so that a misspelt field is an error and not a silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _in_these_times(self) -> Self:
        # At the ends of what Python and PostgreSQL can write, moments turn into infinity or cannot change their zone.
        for name in type(self).model_fields:
            moment = getattr(self, name)
            if isinstance(moment, datetime) and moment.year not in YEARS:
                raise ValueError(f"{name} must lie in the years {YEARS.start} to {YEARS.stop - 1}")
        return self


class Accepted(BaseModel):
    """The answer to a command.

    Attributes:
        id: of the thing it was about.
        position: log position of its last event; hand it to a question as `GPUaaS-At-Least`.
        repeated: this request was made before; nothing was done again.
    """

    id: str
    position: int
    repeated: bool = False


class Page(BaseModel):
    """One page of a list.

    Attributes:
        next_cursor: give it back as `cursor` for the following page; null at the end.
    """

    items: list[dict[str, Any]]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is asked for: at most `limit` items after `after` (the keys of the last item seen)."""

    limit: int
    after: tuple[Any, ...] | None

    def key(self, kind: type[Key]) -> Key | None:
        """The one key that the page begins after; None at the beginning.

        Raises:
            Invalid: the cursor holds something else, so it came from another list.
        """
        match self.after:
            case None:
                return None
            case (found,) if isinstance(found, kind):
                return found
            case _:
                raise Invalid(_NO_CURSOR)

    def page(self, rows: Sequence[Mapping[str, Any] | Record], keys: Sequence[str]) -> Page:
        """The page out of up to `limit + 1` rows in order of `keys`: the extra row tells that there is more."""
        items = [dict(row) for row in rows[: self.limit]]
        more = len(rows) > self.limit
        cursor = encode_cursor([items[-1][key] for key in keys]) if more and items else None
        return Page(items=items, next_cursor=cursor)


def encode_cursor(keys: Iterable[Any]) -> str:
    """Keys of the last item as an opaque token."""
    plain = [key.astimezone(UTC).isoformat() if isinstance(key, datetime) else key for key in keys]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def paging(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items on this page at most.")] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=1_024, description="`next_cursor` of the page before.")] = None,
) -> Paging:
    """Dependency: the page asked for. Raises Invalid for a cursor that is none of ours."""
    if cursor is None:
        return Paging(limit, None)
    try:
        keys = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(keys, list) or not 0 < len(keys) <= _KEYS_MAX or not all(map(_is_key, keys)):
            raise ValueError("not a list of keys")
    except (ValueError, RecursionError) as broken:
        raise Invalid(_NO_CURSOR) from broken
    return Paging(limit, tuple(keys))


def _is_key(key: object) -> bool:
    return (type(key) is str and "\x00" not in key) or (type(key) is int and key.bit_length() < 64)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, what they were allowed, and what their request says about itself.

    Attributes:
        wish: the digest of what a request that may be repeated asks.
        relief: this request ends work, so it is taken even when the log is nearly full.
    """

    principal: Principal
    decision: Decision
    scope: Scope
    request_id: str
    wish: str | None
    relief: bool
    response: Response
    access: Access

    def cause(self, step: str = "") -> Cause:
        """The cause of what this request orders; the same for a repeat with the same Idempotency-Key."""
        return Cause(
            id=self.request_id,
            **self.principal.names,
            project_id=self.scope.project_id,
            traceparent=current_traceparent(),
            step=step,
            digest=self.wish,
            relief=self.relief,
        )

    @property
    def reach(self) -> Reach:
        """Where, inside the path's level, the caller holds the route's permission: what a list of it may show."""
        everywhere = self.access.reach(self.principal, self.decision.permission, self.decision.asked.at)
        tenant_id, project_id = self.scope.tenant_id, self.scope.project_id
        if tenant_id is None:
            return everywhere
        if project_id is not None:  # the check was about just that project
            return Reach(False, frozenset(), frozenset({(tenant_id, project_id)}))
        return everywhere.within(tenant_id)

    def accepted(self, outcome: Outcome[Any], thing_id: str) -> Accepted:
        """The answer to a command, with its position in body and header."""
        self.response.headers[POSITION_HEADER] = str(outcome.position)
        return Accepted(id=thing_id, position=outcome.position, repeated=outcome.repeated)

    def derived_id(self, *steps: str) -> str:
        """An id for a new thing: the same when the request is repeated."""
        return derived_id(self.request_id, *steps)


def permit(
    permission: str, *, relief: bool = False, in_part: bool = False, told: bool = False
) -> Callable[..., Awaitable[Caller]]:
    """Dependency: let the caller pass if they hold `permission` in the path's tenant and project, else refuse.

    The path's `tenant_id` and `project_id` are the scope; without them it is the platform. What the caller may not
    know of answers 404.

    Args:
        in_part: the route is a list that shows `caller.reach` and no more: who holds the permission in some project
            below passes too.
        relief: the route ends work or takes rights away; when the log is nearly full only such routes give commands.
        told: the route itself has the log say that a right from above was used, so it is not counted besides.
    """

    async def permitted(
        request: Request,
        response: Response,
        authorization: Annotated[str | None, Header(description="`Bearer <token>` from `POST /v1/tokens`.")] = None,
        idempotency_key: Annotated[str | None, Header(max_length=_KEY_MAX)] = None,
        at_least: Annotated[int | None, Header(alias=AT_LEAST_HEADER, ge=0)] = None,
    ) -> Caller:
        service: Behind = request.app.state.service
        scope = Scope(request.path_params.get("tenant_id"), request.path_params.get("project_id"))
        decide = partial(_decide, in_part=in_part, address=request.client.host if request.client else None)
        try:
            principal, decision = decide(service.access, authorization, permission, scope)
        except (Unauthenticated, Unavailable) as early:
            # The token is signed, so its floor is a position that there is.
            floor = early.floor if isinstance(early, NotReadYet) else 0
            if not await _newer_rights(service, max(at_least or 0, floor)):
                raise
            principal, decision = decide(service.access, authorization, permission, scope)
        if not decision.allowed and await _newer_rights(service, at_least):
            principal, decision = decide(service.access, authorization, permission, scope)
        request.state.asked = principal, decision
        decision.enforce()
        if await service.access_reader.demand_fresh(permission):
            principal, decision = decide(service.access, authorization, permission, scope)
            request.state.asked = principal, decision
            decision.enforce()
        _tell_age(service, response)
        if decision.from_above and not told:
            service.accesses.used_from_above(decision.asked)
        request_id, wish = new_id(), None
        if idempotency_key:
            request_id = derived_id(idempotency_key, principal.kind, principal.id, request.method, request.url.path)
            wish = await _wish(request)
        return Caller(principal, decision, scope, request_id, wish, relief, response, service.access)

    permitted.permission = permission  # type: ignore[attr-defined]
    permitted.in_part = in_part  # type: ignore[attr-defined]
    return permitted


def _tell_age(service: Behind, response: Response) -> None:
    """An answer on rights that may no longer be the newest says how old they are."""
    age_s = service.access_reader.enforced().age_s
    if age_s is None or age_s > CHANGE_AGE_MAX_S:
        response.headers[RIGHTS_AGE_HEADER] = "unknown" if age_s is None else f"{age_s:.0f}"


async def _wish(request: Request) -> str:
    """The digest of what is asked beside the path, 32 hex digits."""
    body = b""
    # A body without a model is read piece by piece by its route; such a path names the digest of what it takes.
    if request.scope["route"].body_field is not None:
        body = await request.body()
        with contextlib.suppress(msgspec.DecodeError):
            body = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    return hashlib.blake2b(body + b"?" + request.url.query.encode(), digest_size=16).hexdigest()


def _decide(
    access: Access, authorization: str | None, permission: str, scope: Scope, *, in_part: bool, address: str | None
) -> tuple[Principal, Decision]:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("send `Authorization: Bearer <token>`; a token comes from iam's POST /v1/tokens")
    now = datetime.now(UTC)
    principal = access.authenticate(token.strip(), now, address)
    check = access.check_in_part if in_part else access.check
    return principal, check(principal, permission, scope, now)


async def _newer_rights(service: Behind, at_least: int | None) -> bool:
    """After a refusal: wait for rights up to the position the caller has seen; whether there were newer ones.

    Nobody has seen what the log does not hold yet, and who asks is not known here: that is not waited for.
    """
    before = service.access.position
    if not at_least or before >= at_least or at_least > await service.log.last_position():
        return False
    await service.access_reader.reached(at_least, service.settings.ready_timeout_s)
    return service.access.position > before


def public(route: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a handler as open to everyone. Without this mark or a `permit`, a service refuses to start."""
    route.is_public = True  # type: ignore[attr-defined]
    return route


def fresh(projection: Projection) -> Callable[..., Awaitable[None]]:
    """Dependency: wait until `projection` has seen the position in `GPUaaS-At-Least`, else 503; 503 at once beyond
    the log's end."""

    async def seen(
        request: Request, at_least: Annotated[int | None, Header(alias=AT_LEAST_HEADER, ge=0)] = None
    ) -> None:
        service: Behind = request.app.state.service
        reader = service.reader(projection)
        if at_least is None or reader.position >= at_least:
            return
        if at_least > (end := await service.log.last_position()):
            raise Unavailable(f"the log ends at {end}, {at_least} was asked for", reader=reader.name)
        await reader.reached(at_least, service.settings.ready_timeout_s)

    return seen


def guard_first(router: APIRouter) -> None:
    """Have every route ask for its permission before its other dependencies: who may not pass cannot make it work."""
    for route in _routes(router.routes):
        route.dependencies[:0] = [
            Depends(dependency.call)
            for dependency in route.dependant.dependencies
            if getattr(dependency.call, "permission", None) is not None
        ]


def permissions(app: FastAPI) -> dict[str, str | None]:
    """`METHOD path` → permission (None: public) of every route.

    Raises:
        ValueError: a route is neither permitted nor public; names it.
    """
    found: dict[str, str | None] = {}
    for route in _routes(app.routes):
        names = [
            permission
            for dependency in route.dependant.dependencies
            if (permission := getattr(dependency.call, "permission", None)) is not None
        ]
        open_to_all = getattr(route.endpoint, "is_public", False)
        if len(names) != (0 if open_to_all else 1):
            raise ValueError(f"{route.path}: a route needs exactly one permit(...), or the mark @public")
        for method in sorted(route.methods or ()):
            found[f"{method} {route.path_format}"] = None if open_to_all else names[0]
    return found


def lists_in_part(app: FastAPI) -> frozenset[str]:
    """`METHOD path` of the routes that let pass whoever holds their permission in a part, and show that part."""
    return frozenset(
        f"{method} {route.path_format}"
        for route in _routes(app.routes)
        for method in route.methods or ()
        if any(getattr(each.call, "in_part", False) for each in route.dependant.dependencies)
    )


def _routes(routes: Iterable[Any]) -> Iterable[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif isinstance(inner := getattr(route, "original_router", None), APIRouter):
            yield from _routes(inner.routes)


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: `x-permission` on every operation, who must sign in, every failure one problem document."""
    document: dict[str, Any] = FastAPI.openapi(app)
    for key, permission in permissions(app).items():
        method, path = key.split(" ", 1)
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            _say_who_may(operation, permission)
            operation["responses"].pop(_FRAMEWORKS_REFUSAL, None)
            operation["responses"].setdefault("default", {"$ref": "#/components/responses/Problem"})
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    components.setdefault("responses", {})["Problem"] = {
        "description": "RFC 9457 problem details.",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _say_who_may(operation: dict[str, Any], permission: str | None) -> None:
    operation["x-permission"] = permission or "public"
    # OpenAPI ignores a header parameter of this name; a security scheme is how it says the same.
    given = operation.pop("parameters", [])
    if others := [each for each in given if each["name"] != "authorization"]:
        operation["parameters"] = others
    if permission is not None:
        operation["security"] = [{"bearer": []}]
    elif len(others) < len(given):
        operation["security"] = [{}, {"bearer": []}]


class Problem(BaseModel):
    """RFC 9457 problem details; further members carry the facts of the case."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A stable URN: urn:gpuaas:<code>.")
    title: str
    status: int
    detail: str = Field(description="What was wrong and what to do next.")


def problem(error: GpuaasError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as a problem document."""
    body = {
        "type": f"urn:gpuaas:{error.code}",
        "title": error.code.replace("-", " "),
        "status": error.status,
        "detail": error.detail,
        **error.facts,
    }
    given = dict(headers or {})
    if isinstance(error, Unavailable):
        given["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        given["WWW-Authenticate"] = 'Bearer realm="gpuaas"'
    return JSONResponse(body, error.status, headers=given, media_type=PROBLEM)


def account_for(request: Request, error: GpuaasError) -> None:
    """Give a refusal the id of its decision, and have it told in the trail."""
    service: Behind = request.app.state.service
    asked = getattr(request.state, "asked", None)
    service.accesses.account_for(error, asked, service.access.position, "authorization" in request.headers)


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """Any error as a problem document; what is not ours tells nothing about the inside."""
    match error:
        case GpuaasError() as ours:
            account_for(request, ours)
            return problem(ours)
        case RequestValidationError() as refused:
            complaints = [
                {"where": ".".join(str(step) for step in each["loc"]), "what": each["msg"]}
                for each in refused.errors()[:20]
            ]
            first = complaints[0] if complaints else {"where": "the request", "what": "is not valid"}
            return problem(Invalid(f"{first['where']}: {first['what']}", errors=complaints))
        case HTTPException(status_code=404):
            return problem(NotFound("no such path here; see /openapi.json for the ones there are"))
        case HTTPException(status_code=405) as refused_method:
            error = NoSuchMethod("this path does not take that method; see /openapi.json")
            return problem(error, refused_method.headers)
        case HTTPException(status_code=413) as large:
            return problem(TooLarge(str(large.detail)))
        case HTTPException() as other:
            return problem(Invalid(str(other.detail)))
        case _:
            return problem(GpuaasError("something failed on our side; the log of this service has the details"))
