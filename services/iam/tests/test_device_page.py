"""The page on which a person lets a program in. One law: no other site, no guess, nobody unseen approves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.routes.devices import PER_PERSON
from iam_door import Iam, started
from people import PASSWORD, grant, person

pytestmark = pytest.mark.asyncio(loop_scope="module")
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam"), requests_per_s=10_000) as running_iam:
        yield running_iam


@pytest_asyncio.fixture(loop_scope="module")
async def browser(iam: Iam) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=iam.client.base_url, follow_redirects=True, timeout=60) as client:
        yield client


async def program(iam: Iam, client: str = "gpuaas on <atlas>") -> dict[str, str]:
    told: dict[str, str] = (await iam.client.post("/v1/oauth/device", data={"client_id": client})).json()
    return told


def csrf(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found, page.text
    return found[1]


async def at_the_question(iam: Iam, browser: httpx.AsyncClient, asked: dict[str, str]) -> httpx.Response:
    mira = await person(iam)
    at = httpx.URL(asked["verification_uri_complete"])
    page = await browser.get(at.raw_path.decode())
    form = {"csrf": csrf(page), "user_code": asked["user_code"], "email": mira.email, "password": PASSWORD}
    return await browser.post("/v1/device/sign-in", data=form)


async def test_a_person_signs_in_sees_what_asks_and_lets_it_in(iam: Iam, browser: httpx.AsyncClient) -> None:
    asked = await program(iam)
    page = await at_the_question(iam, browser, asked)
    assert page.status_code == 200
    for seen in ("gpuaas on &lt;atlas&gt;", asked["user_code"], "127.0.0.1", "UTC"):
        assert seen in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert all(part in policy for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"))
    form = {"csrf": csrf(page), "user_code": asked["user_code"], "answer": "approve"}
    done = await browser.post("/v1/device/answer", data=form)
    assert "was let in" in done.text
    got = await grant(iam, grant_type=DEVICE_GRANT, device_code=asked["device_code"])
    assert got.status_code == 200, got.text
    rows = (await iam.done("GET", "/v1/me/sessions", got.json()["access_token"]))["items"]
    assert sorted((row["method"], row["end_cause"]) for row in rows) == [("device", None), ("password", "signed-out")]


async def test_what_was_refused_is_not_let_in(iam: Iam, browser: httpx.AsyncClient) -> None:
    asked = await program(iam)
    page = await at_the_question(iam, browser, asked)
    form = {"csrf": csrf(page), "user_code": asked["user_code"], "answer": "refuse"}
    assert "was not let in" in (await browser.post("/v1/device/answer", data=form)).text
    got = await grant(iam, grant_type=DEVICE_GRANT, device_code=asked["device_code"])
    assert got.json()["error"] == "access_denied"


@pytest.mark.parametrize("shown", [None, "", "0" * 64])
async def test_a_form_that_another_site_posts_does_nothing(
    iam: Iam, browser: httpx.AsyncClient, shown: str | None
) -> None:
    asked = await program(iam)
    await at_the_question(iam, browser, asked)
    form = {"user_code": asked["user_code"], "answer": "approve"} | ({} if shown is None else {"csrf": shown})
    assert (await browser.post("/v1/device/answer", data=form)).status_code == 400
    got = await grant(iam, grant_type=DEVICE_GRANT, device_code=asked["device_code"])
    assert got.json()["error"] == "authorization_pending"


async def test_another_browsers_form_is_nobodys_here(iam: Iam, browser: httpx.AsyncClient) -> None:
    asked = await program(iam)
    page = await at_the_question(iam, browser, asked)
    form = {"csrf": csrf(page), "user_code": asked["user_code"], "answer": "approve"}
    async with httpx.AsyncClient(base_url=iam.client.base_url) as other:
        await other.get("/v1/device")
        assert (await other.post("/v1/device/answer", data=form)).status_code == 400


async def test_a_wrong_password_is_told_on_the_page_and_nothing_else_is(iam: Iam, browser: httpx.AsyncClient) -> None:
    page = await browser.get("/v1/device?user_code=%22%3E%3Cb%3Ex")
    assert '"><b>x' not in page.text
    form = {"csrf": csrf(page), "user_code": "", "email": "nobody@example.com", "password": "wrong"}
    refused = await browser.post("/v1/device/sign-in", data=form)
    assert (refused.status_code, refused.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'role="alert"' in refused.text


async def test_codes_are_not_guessed_on_the_page(iam: Iam, browser: httpx.AsyncClient) -> None:
    await at_the_question(iam, browser, await program(iam))
    answers = [
        (await browser.get("/v1/device", params={"user_code": "BCDF-GHJK"})).status_code
        for _ in range(PER_PERSON[0] + 3)
    ]
    assert answers[0] == 404
    assert answers[-1] == 429


async def test_a_provider_that_is_none_is_told_on_the_page(iam: Iam, browser: httpx.AsyncClient) -> None:
    refused = await browser.get("/v1/device/providers/nobody?user_code=BCDF-GHJK")
    assert refused.headers["content-type"] == "text/html; charset=utf-8"
    assert "no such sign-in provider" in refused.text
