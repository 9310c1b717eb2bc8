"""How a directory comes in and what it is told when it may not. One law: its errors are SCIM's, its rights are ours.

A directory sends one long-lived bearer token with every request (RFC 7644 §2): an API key of a service account of the
tenant, with its end, its rotation and its revocation. A five-minute token of the same account does as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import Header, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.apikeys import PREFIX, read_api_key
from gpuaas.common.errors import GpuaasError, Invalid, Unauthenticated, Unavailable
from gpuaas.common.http import Behind, Caller, account_for
from gpuaas.common.ids import new_id
from gpuaas.common.narrowing import Credential
from gpuaas.common.tokens import kind_of
from gpuaas.iam.parts import Parts
from gpuaas.iam.routes.asking import bearer
from gpuaas.iam.routes.tokens import Tokens
from pydantic import ValidationError
from scim2_models import Error, SCIMException
from starlette.exceptions import HTTPException

MEDIA_TYPE: Final = "application/scim+json"


class ScimJson(JSONResponse):
    """An answer to a directory."""

    media_type = MEDIA_TYPE


class ScimRoute(APIRoute):
    """A route whose refusals are errors of RFC 7644 §3.12."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await inner(request)
            except (GpuaasError, SCIMException, ValidationError, RequestValidationError, HTTPException) as refused:
                if isinstance(refused, GpuaasError):
                    account_for(request, refused)
                return _refusal(refused)

        return handled


def _refusal(refused: Exception) -> Response:
    headers: dict[str, str] = {}
    match refused:
        case Invalid() as odd:
            error = Error(status=400, scim_type="invalidValue", detail=odd.detail)
        case GpuaasError() as ours:
            kind = "uniqueness" if ours.code == "uniqueness" else None
            error = Error(status=ours.status, scim_type=kind, detail=ours.detail)
        case SCIMException() as theirs:
            error = theirs.to_error()
        case ValidationError() as wrong:
            error = Error.from_validation_errors(wrong)[0]
        case HTTPException() as other:
            error = Error(status=other.status_code, detail=str(other.detail))
        case _:
            error = Error(status=400, scim_type="invalidValue", detail="the request is not one of SCIM's")
    if isinstance(refused, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="gpuaas"'
    if isinstance(refused, Unavailable):
        headers["Retry-After"] = str(refused.retry_after_s)
    facts = refused.facts if isinstance(refused, GpuaasError) else {}
    decided = {name: facts[name] for name in ("decision_id",) if name in facts}
    return ScimJson(error.model_dump() | decided, status_code=error.status or 400, headers=headers)


def directory_permit(parts: Parts, tokens: Tokens, permission: str) -> Callable[..., Awaitable[Caller]]:
    """Dependency: let a directory pass if its account holds `permission` in the path's tenant, else refuse."""

    async def permitted(
        request: Request,
        response: Response,
        tenant_id: Annotated[str, Path(description="The tenant's id.", max_length=63)],
        authorization: Annotated[str | None, Header(description="`Bearer gpk_…`, or a token for it.")] = None,
    ) -> Caller:
        access, now = parts.access, parts.clock.now()
        shown = bearer(authorization)
        if shown.startswith(PREFIX):
            principal = await _of_key(access, tokens, request, shown)
        else:
            principal = access.authenticate(shown, now, request.client.host if request.client else None)
        scope = Scope(tenant_id)
        decision = access.check(principal, permission, scope, now)
        request.state.asked = principal, decision
        decision.enforce()
        if decision.from_above:
            service: Behind = request.app.state.service
            service.accesses.used_from_above(decision.asked)
        caller = Caller(principal, decision, scope, new_id(), None, False, response, access)
        request.state.caller = caller
        return caller

    permitted.permission = permission  # type: ignore[attr-defined]
    return permitted


async def _of_key(access: Access, tokens: Tokens, request: Request, shown: str) -> Principal:
    try:
        key = read_api_key(shown)
        row = await tokens.right(key)
    except Unauthenticated:
        tokens.count_failure(request)
        raise
    narrowing = access.credentials.narrowing_of_key(key.key_id)
    return Principal(
        id=row["principal_id"],
        kind=kind_of(row["principal_kind"]),
        tenant_id=row["tenant_id"],
        key_id=key.key_id,
        session_id="",
        token_id="",
        expires_at=row["expires_at"],
        narrowings=() if narrowing is None else (narrowing,),
        credential=None if narrowing is None else Credential(key_id=key.key_id),
    )
