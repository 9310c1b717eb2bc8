"""iam as seen from outside: a short way to ask its door in a test. One law: nothing goes past the door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from gpuaas.common.apikeys import ApiKey, new_api_key
from gpuaas.common.service import Service
from gpuaas.common.testing.running import fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.app import build
from gpuaas.iam.settings import IamSettings

ASKED_MAX = 60
OLD_RIGHTS = "changes are refused until this service knows"
"""Said before anything is decided: the same request may be made again."""


@dataclass
class Iam:
    """The service, a client of its door, and a short way to say things as somebody."""

    service: Service
    client: httpx.AsyncClient
    first_key: ApiKey
    tokens: dict[str, str] = field(default_factory=dict)

    async def sign_in(self, api_key: str) -> str:
        """A token for an API key."""
        answer = await self.client.post("/v1/tokens", headers={"Authorization": f"Bearer {api_key}"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def operator(self) -> str:
        """The first operator's token."""
        if "operator" not in self.tokens:
            self.tokens["operator"] = await self.sign_in(self.first_key.text)
        return self.tokens["operator"]

    async def ask(self, method: str, path: str, token: str | None = None, **rest: Any) -> httpx.Response:
        """One request; as the first operator where no token is given. Where the machine is too slow to say that rights
        are the newest, it is asked again, as a client would."""
        headers = {"Authorization": f"Bearer {token or await self.operator()}"} | rest.pop("headers", {})
        for _ in range(ASKED_MAX):
            answer = await self.client.request(method, path, headers=headers, **rest)
            if answer.status_code != 503 or OLD_RIGHTS not in answer.text:
                break
            await asyncio.sleep(1)
        return answer

    async def done(self, method: str, path: str, token: str | None = None, **rest: Any) -> dict[str, Any]:
        """One request that must succeed; a question waits for everything said so far."""
        if method == "GET":
            rest["headers"] = {"GPUaaS-At-Least": str(await self.service.log.last_position())}
        answer = await self.ask(method, path, token, **rest)
        assert answer.status_code < 300, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def tenant(self, tenant_id: str, *projects: str) -> None:
        body = {"tenant_id": tenant_id, "display_name": tenant_id, "billing_currency": "EUR"}
        await self.done("POST", "/v1/tenants", json=body)
        for project_id in projects:
            body = {"project_id": project_id, "display_name": project_id}
            await self.done("POST", f"/v1/tenants/{tenant_id}/projects", json=body)

    async def account(self, home: str, token: str | None = None) -> str:
        """A new service account at home at a path prefix (`/v1`, `/v1/tenants/acme`)."""
        made = await self.done("POST", f"{home}/service-accounts", token, json={"display_name": "a robot"})
        return str(made["id"])

    async def bind(self, at: str, account: str, role: str, token: str | None = None, **more: Any) -> httpx.Response:
        body = {"principal_kind": "service-account", "principal_id": account, "role": role, "reason": "a test"}
        return await self.ask("POST", f"{at}/bindings", token, json=body | more)

    async def key(self, home: str, account: str, token: str | None = None) -> dict[str, Any]:
        """A new API key of an account at home at a path prefix."""
        body = {"label": "a test", "expires_at": in_days(30)}
        return await self.done("POST", f"{home}/service-accounts/{account}/keys", token, json=body)

    async def somebody(self, home: str, role: str, at: str | None = None) -> tuple[str, str]:
        """Id and token of a new account that holds a role at a path prefix (default: where it is at home)."""
        account = await self.account(home)
        bound = await self.bind(at or home, account, role)
        assert bound.status_code == 201, bound.text
        return account, await self.sign_in((await self.key(home, account))["api_key"])


@asynccontextmanager
async def started(stack: TestStack, directory: Path, **given: Any) -> AsyncIterator[Iam]:
    """A new installation that runs, with its first operator. `given`: settings beyond addresses."""
    key = new_api_key("dev", "first")
    first = {"iam_bootstrap_key_sha256": key.sha256, "iam_bootstrap_key_id": key.key_id}
    async with fresh_settings(stack, IamSettings, directory, **first, **given) as settings:
        service = build(settings)
        async with running(service) as client:
            yield Iam(service, client, key)


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer that must be one with that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["detail"]
    return told
