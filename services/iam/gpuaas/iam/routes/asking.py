"""How one asks iam: by name, and at which level. One law: the path names the level, nothing else does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Header, Path, Request
from gpuaas.common.access import Principal
from gpuaas.common.errors import Unauthenticated
from gpuaas.common.http import AT_LEAST_HEADER, Paging, paging

if TYPE_CHECKING:
    from gpuaas.common.service import Service

Paged = Annotated[Paging, Depends(paging)]
Level = Callable[..., Awaitable[None]]


async def _on_platform() -> None: ...


async def _in_tenant(tenant_id: Annotated[str, Path(description="The tenant's id.", max_length=63)]) -> None: ...


async def _in_project(
    tenant_id: Annotated[str, Path(description="The tenant's id.", max_length=63)],
    project_id: Annotated[str, Path(description="The project's id, unique in its tenant.", max_length=63)],
) -> None: ...


LEVELS: Final[tuple[tuple[str, Level], ...]] = (
    ("/v1", _on_platform),
    ("/v1/tenants/{tenant_id}", _in_tenant),
    ("/v1/tenants/{tenant_id}/projects/{project_id}", _in_project),
)
"""Path prefix → dependency that names its parameters; `permit` reads the scope from the same path."""


def bearer(authorization: str | None) -> str:
    """The credential in an `Authorization: Bearer …` header.

    Raises:
        Unauthenticated: there is none.
    """
    scheme, _, credential = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthenticated("send `Authorization: Bearer <token>`; a token comes from POST /v1/tokens")
    return credential.strip()


async def signed_in(
    request: Request,
    authorization: Annotated[str | None, Header(description="`Bearer <token>` from `POST /v1/tokens`.")] = None,
    at_least: Annotated[int | None, Header(alias=AT_LEAST_HEADER, ge=0)] = None,
) -> Principal:
    """Dependency: who asks, for questions about themselves; they need no permission, and get only their own answer."""
    service: Service = request.app.state.service
    address = request.client.host if request.client else None
    principal = service.access.authenticate(bearer(authorization), datetime.now(UTC), address)
    if at_least is not None and service.access.position < at_least:
        await service.access_reader.reached(at_least, service.settings.ready_timeout_s)
    return principal


signed_in.permission = "signed-in"  # type: ignore[attr-defined]  # what OpenAPI shows as x-permission

SignedIn = Annotated[Principal, Depends(signed_in)]


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """`record` without some of its fields."""
    return {name: value for name, value in record.items() if name not in names}
