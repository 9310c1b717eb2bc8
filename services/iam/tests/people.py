"""People at iam's door in a test. One law: each is somebody new, so that tests can share one running iam."""

from __future__ import annotations

from typing import Any

import httpx
from gpuaas.common.envelope import Recorded
from gpuaas.common.ids import new_id
from gpuaas.common.testing.running import told_by_time
from iam_door import Iam

PASSWORD = "correct horse battery staple"


class Person:
    """Somebody registered: their id and e-mail address."""

    def __init__(self, user_id: str, email: str) -> None:
        self.id = user_id
        self.email = email


async def person(iam: Iam, email: str | None = None, password: str | None = PASSWORD) -> Person:
    """A registered person, with a password of their own unless None."""
    email = email or f"mira-{new_id()}@example.com"
    user = str((await iam.done("POST", "/v1/users", json={"email": email, "display_name": "Mira"}))["id"])
    if password is not None:
        code = (await iam.done("POST", f"/v1/users/{user}/password-codes"))["code"]
        answer = await iam.client.post("/v1/passwords", json={"code": code, "password": password})
        assert answer.status_code == 200, answer.text
    return Person(user, email)


async def sign_in(iam: Iam, email: str, password: str = PASSWORD) -> httpx.Response:
    return await iam.client.post("/v1/sessions", json={"email": email, "password": password, "client": "a test"})


async def signed_in(iam: Iam, who: Person | None = None) -> dict[str, Any]:
    """A session of that person, or of a new one."""
    answer = await sign_in(iam, (who or await person(iam)).email)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def grant(iam: Iam, **fields: str) -> httpx.Response:
    return await iam.client.post("/v1/oauth/token", data=fields)


async def renewed(iam: Iam, refresh_token: str) -> httpx.Response:
    return await grant(iam, grant_type="refresh_token", refresh_token=refresh_token)


async def said(iam: Iam) -> list[Recorded]:
    """Every event of the log but those that come when they are due."""
    last = await iam.service.log.last_position()
    found = [await iam.service.log.at(position) for position in range(1, last + 1)]
    return [each for each in found if each is not None and not told_by_time(each)]
