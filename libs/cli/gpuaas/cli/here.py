"""The running suite that commands talk to. One law: found, not configured, and a missing one is a sentence.

By default the stack of this folder's `.state` (or `GPUAAS_STATE_DIR`). Elsewhere: `GPUAAS_SERVICES` (a JSON object of
service → URL), `GPUAAS_API_KEY` (or `gpuaas login`), and `GPUAAS_NATS_URL` for what reads the log.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click
from gpuaas.cli.client import Suite
from gpuaas.cli.output import finish, print_json
from gpuaas.cli.service_table import SERVICES
from gpuaas.cli.session import SessionFile
from gpuaas.cli.state import Endpoints, default_state_dir, running_endpoints
from gpuaas.common.errors import Misconfigured
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.settings import login_of

if TYPE_CHECKING:
    from nats.aio.client import Client

Work = TypeVar("Work", bound=Callable[..., Any])


def service_names() -> list[str]:
    """The services of the suite, in order of the table."""
    return [entry.name for entry in SERVICES]


def in_project(work: Work) -> Work:
    """The options that say in which tenant and project a command works."""
    work = click.option("--project", envvar="GPUAAS_PROJECT", required=True, help="Project id [GPUAAS_PROJECT].")(work)
    return in_tenant(work)


def in_tenant(work: Work) -> Work:
    """The option that says in which tenant a command works."""
    return click.option("--tenant", envvar="GPUAAS_TENANT", required=True, help="Tenant id [GPUAAS_TENANT].")(work)


def tenant_path(tenant: str, *more: str) -> str:
    """`/v1/tenants/<tenant>/…`, each part quoted."""
    return "/".join(["/v1/tenants", *(quote(part, safe="") for part in (tenant, *more))])


def project_path(tenant: str, project: str, *more: str) -> str:
    """`/v1/tenants/<tenant>/projects/<project>/…`."""
    return tenant_path(tenant, "projects", project, *more)


def session_file() -> SessionFile:
    """Where the session of who signed in here is kept."""
    return SessionFile(default_state_dir())


def addresses() -> Mapping[str, str]:
    """Service → base URL of the suite that commands talk to.

    Raises:
        Misconfigured: none runs here, or `GPUAAS_SERVICES` is not usable.
    """
    if not (given := os.environ.get("GPUAAS_SERVICES")):
        return running_endpoints(default_state_dir()).services
    try:
        found = json.loads(given)
    except ValueError as broken:
        raise Misconfigured("GPUAAS_SERVICES must be a JSON object of service name to URL") from broken
    if not isinstance(found, dict):
        raise Misconfigured("GPUAAS_SERVICES must be a JSON object of service name to URL")
    return found


def open_suite() -> Suite:
    """A client of the running suite: as `GPUAAS_API_KEY`, as who signed in here, or as the first operator.

    Raises:
        Misconfigured: none runs here, or the variables are not usable.
    """
    found = addresses()
    if key := os.environ.get("GPUAAS_API_KEY"):
        return Suite(found, key)
    if session_file().path.exists():
        return Suite(found, session_file())
    if os.environ.get("GPUAAS_SERVICES"):
        raise Misconfigured("GPUAAS_SERVICES is set without GPUAAS_API_KEY; set both, or sign in with `gpuaas login`")
    return Suite(found, running_endpoints(default_state_dir()).operator_key())


@asynccontextmanager
async def open_log() -> AsyncIterator[JetStreamLog]:
    """The log itself, read as the operator, who may not write to it."""
    import nats

    url = os.environ.get("GPUAAS_NATS_URL") or running_endpoints(default_state_dir()).nats_url_of("operator")
    login = login_of(url)
    connection = await nats.connect(
        login.servers,
        user=login.user,
        password=login.password,
        inbox_prefix=b"_INBOX_operator",
        max_reconnect_attempts=3,
    )
    try:
        yield JetStreamLog(lambda: connection)
    finally:
        await connection.close()


@asynccontextmanager
async def provisioner(endpoints: Endpoints) -> AsyncIterator[Client]:
    """The broker as who may do everything there; for copies of what nobody else may read."""
    import nats

    login = login_of(endpoints.nats_url_of("provisioner"))
    connection = await nats.connect(login.servers, user=login.user, password=login.password, max_reconnect_attempts=3)
    try:
        yield connection
    finally:
        await connection.close()


def order(service: str, path: str, body: Mapping[str, Any], json_: bool) -> None:
    """Give a service a command, and say that it was accepted."""

    async def work() -> Any:
        async with open_suite() as suite:
            return await suite.post(service, path, body)

    accepted = finish(work)
    if json_:
        print_json(accepted)
    else:
        click.echo(f"accepted at position {accepted['position']}")
