"""Signing in through a provider that is odd, or is not asked at all. One law: nothing of it lets anybody in."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.clock import WallClock
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.adapters.openid import KEYS_AGAIN_S, OpenId, ProviderRefused, Question
from gpuaas.iam.domain.identity_provider import Provider
from gpuaas.iam.routes.provider_sign_in import challenge_of
from iam_door import Iam, is_problem, started
from odd_provider import OddProvider, odd_provider
from people import grant, person

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROGRAM = "http://127.0.0.1:49152/back"
VERIFIER = secrets.token_urlsafe(48)
RIGHT = {
    "provider": "odd",
    "response_type": "code",
    "client_id": "a test",
    "redirect_uri": PROGRAM,
    "state": "a state",
    "code_challenge": challenge_of(VERIFIER),
    "code_challenge_method": "S256",
}
CONDITIONS: dict[str, Any] = {"email_domains": ["example.com"], "new_people": "register"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam"), requests_per_s=10_000) as running_iam:
        yield running_iam


@pytest_asyncio.fixture(loop_scope="module")
async def odd(iam: Iam) -> AsyncIterator[OddProvider]:
    async with odd_provider() as provider:
        await configure(iam, provider)
        yield provider


async def configure(iam: Iam, provider: OddProvider, provider_id: str = "odd", **more: Any) -> None:
    body = {"display_name": "Odd", "issuer": provider.issuer, "client_id": "gpuaas", "reason": "a test"}
    await iam.done("PUT", f"/v1/identity-providers/{provider_id}", json=body | CONDITIONS | more)


async def begun(iam: Iam, browser: httpx.AsyncClient, odd: OddProvider, **changed: str) -> dict[str, str]:
    """What the browser is sent to the provider with."""
    answer = await browser.get(f"{iam.client.base_url}/v1/oauth/authorize?{urlencode(RIGHT | changed)}")
    assert answer.status_code == 303, answer.text
    asked = query(answer.headers["location"])
    if answer.headers["location"].startswith(odd.issuer):
        odd.nonce, odd.challenge = asked["nonce"], asked["code_challenge"]
    return asked


async def back(iam: Iam, browser: httpx.AsyncClient, provider_id: str = "odd", **told: str) -> httpx.Response:
    return await browser.get(f"{iam.client.base_url}/v1/oauth/callback/{provider_id}?{urlencode(told)}")


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def came_back(iam: Iam, odd: OddProvider) -> dict[str, str]:
    """What the program is told after a whole sign-in."""
    async with httpx.AsyncClient() as browser:
        asked = await begun(iam, browser, odd)
        answer = await back(iam, browser, state=asked["state"], code="c")
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(PROGRAM)
        return query(answer.headers["location"])


async def redeemed(iam: Iam, told: dict[str, str], **changed: str) -> httpx.Response:
    form = {"code": told["code"], "code_verifier": VERIFIER, "redirect_uri": PROGRAM} | changed
    return await grant(iam, grant_type="authorization_code", **form)


async def test_a_right_answer_lets_somebody_in(iam: Iam, odd: OddProvider) -> None:
    told = await came_back(iam, odd)
    assert (await redeemed(iam, told)).status_code == 200


async def test_the_provider_is_asked_with_pkce_state_and_nonce_and_the_cookie_is_the_browsers_alone(
    iam: Iam, odd: OddProvider
) -> None:
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(f"{iam.client.base_url}/v1/oauth/authorize?{urlencode(RIGHT)}")
    asked = query(answer.headers["location"])
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    assert (asked["code_challenge_method"], asked["client_id"], asked["scope"]) == (
        "S256",
        "gpuaas",
        "openid email profile",
    )
    assert asked["state"] != RIGHT["state"]
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/v1/oauth", "max-age=600"))


async def test_an_answer_in_another_browser_is_nobodys(iam: Iam, odd: OddProvider) -> None:
    async with httpx.AsyncClient() as mine, httpx.AsyncClient() as theirs:
        asked = await begun(iam, mine, odd)
        is_problem(await back(iam, theirs, state=asked["state"], code="c"), 401)
        await begun(iam, theirs, odd)
        is_problem(await back(iam, theirs, state=asked["state"], code="c"), 401)


async def test_an_answer_comes_once(iam: Iam, odd: OddProvider) -> None:
    async with httpx.AsyncClient() as browser:
        asked = await begun(iam, browser, odd)
        kept = dict(browser.cookies)
        assert "code=gpa_" in (await back(iam, browser, state=asked["state"], code="c")).headers["location"]
        browser.cookies.update(kept)
        is_problem(await back(iam, browser, state=asked["state"], code="c"), 401)


async def test_one_providers_answer_is_not_anothers(iam: Iam, odd: OddProvider) -> None:
    async with odd_provider() as other, httpx.AsyncClient() as browser:
        await configure(iam, other, "other")
        asked = await begun(iam, browser, odd)
        is_problem(await back(iam, browser, "other", state=asked["state"], code="c"), 401)
        asked = await begun(iam, browser, odd)
        answer = await back(iam, browser, state=asked["state"], code="c", iss=other.issuer)
        assert query(answer.headers["location"])["error"] == "access_denied"
        assert other.asked["/token"] == odd.asked["/token"] == 0


async def test_a_provider_that_says_who_answers_must_always_do_so(iam: Iam, odd: OddProvider) -> None:
    odd.metadata = {"authorization_response_iss_parameter_supported": True}
    assert (await came_back(iam, odd))["error"] == "access_denied"
    async with httpx.AsyncClient() as browser:
        asked = await begun(iam, browser, odd)
        answer = await back(iam, browser, state=asked["state"], code="c", iss=odd.issuer)
    assert "code" in query(answer.headers["location"])


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "another"},
        {"iss": "https://login.example.com"},
        {"exp": 1},
        {"sub": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email": "mira@example.com.evil.example"},
        {"email": "mira@ex\u0430mple.com"},
        {"email": "mira@example.com@evil.example"},
        {"email": "no address"},
    ],
)
async def test_an_odd_id_token_lets_nobody_in(iam: Iam, odd: OddProvider, claims: dict[str, Any]) -> None:
    odd.claims, odd.subject = claims, "odd-person"
    told = await came_back(iam, odd)
    assert (told["error"], "code" in told) == ("access_denied", False)


async def test_another_directory_at_the_same_provider_is_not_let_in(iam: Iam, odd: OddProvider) -> None:
    await configure(iam, odd, required_claims={"tid": "ours"})
    for claims, lets_in in (
        ({}, False),
        ({"tid": "theirs"}, False),
        ({"tid": ["ours"]}, False),
        ({"tid": "ours"}, True),
    ):
        odd.claims = claims
        assert ("code" in await came_back(iam, odd)) is lets_in


async def test_a_provider_that_fails_is_told_apart_from_one_that_refuses(iam: Iam, odd: OddProvider) -> None:
    odd.status = 400
    assert (await came_back(iam, odd))["error"] == "access_denied"
    odd.status = 500
    assert (await came_back(iam, odd))["error"] == "temporarily_unavailable"
    await configure(iam, odd, issuer="http://127.0.0.1:9")
    async with httpx.AsyncClient() as browser:
        assert (await begun(iam, browser, odd))["error"] == "temporarily_unavailable"


async def test_another_issuers_discovery_document_is_not_followed(iam: Iam, odd: OddProvider) -> None:
    odd.metadata = {"issuer": "https://login.example.com"}
    async with httpx.AsyncClient() as browser:
        assert (await begun(iam, browser, odd))["error"] == "temporarily_unavailable"


async def test_new_keys_are_fetched_when_one_is_unknown_and_not_for_every_made_up_one(odd: OddProvider) -> None:
    seconds = [0.0]
    openid, question = OpenId(WallClock(), None, lambda: seconds[0]), Question("r", "s", "n", VERIFIER, "c")
    provider = Provider("odd", 1, "Odd", odd.issuer, "gpuaas")
    odd.nonce, odd.challenge = "n", challenge_of(VERIFIER)
    for _ in range(2):
        assert (await openid.vouched(provider, question, "c")).subject == "mira"
    assert (odd.asked["/keys"], odd.asked["/.well-known/openid-configuration"]) == (1, 1)
    odd.turn_keys("k-2")
    with pytest.raises(ProviderRefused, match="does not show"):
        await openid.vouched(provider, question, "c")
    assert odd.asked["/keys"] == 1, "they were fetched a moment ago"
    seconds[0] += KEYS_AGAIN_S
    assert (await openid.vouched(provider, question, "c")).subject == "mira"
    assert (odd.asked["/keys"], odd.asked["/.well-known/openid-configuration"]) == (2, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uri": "https://evil.example/back"},
        {"redirect_uri": "http://127.0.0.1.evil.example:80/"},
        {"redirect_uri": "http://localhost:4000/"},
        {"redirect_uri": "http://127.0.0.1:70000/"},
        {"redirect_uri": "http://127.0.0.1:4000/?next=x"},
        {"redirect_uri": "http://user@127.0.0.1:4000/"},
    ],
)
async def test_a_browser_is_sent_back_to_its_own_machine_only(iam: Iam, changed: dict[str, str]) -> None:
    is_problem(await iam.client.get("/v1/oauth/authorize", params=RIGHT | changed), 422)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"state": ""}, "invalid_request"),
        ({"provider": "never-was"}, "invalid_request"),
        ({"provider": "../x"}, "invalid_request"),
        ({"client_id": "a\u202eb"}, "invalid_request"),
    ],
)
async def test_a_wrong_question_is_told_to_the_program(iam: Iam, changed: dict[str, str], error: str) -> None:
    answer = await iam.client.get("/v1/oauth/authorize", params=RIGHT | changed)
    assert (answer.status_code, query(answer.headers["location"])["error"]) == (303, error)


async def test_a_code_is_for_the_program_that_asked(iam: Iam, odd: OddProvider) -> None:
    for changed in (
        {"redirect_uri": "http://127.0.0.1:4000/"},
        {"code_verifier": "a" * 43},
        {"code": "gpa_" + "0" * 64},
    ):
        told = await came_back(iam, odd)
        assert is_problem(await redeemed(iam, told, **changed), 400)["error"] == "invalid_grant"
        if "code" not in changed:
            is_problem(await redeemed(iam, told), 400)


async def test_somebody_suspended_gets_no_session_from_a_provider(iam: Iam, odd: OddProvider) -> None:
    odd.subject = "suspended-one"
    session = (await redeemed(iam, await came_back(iam, odd))).json()
    await iam.done("POST", f"/v1/users/{session['user_id']}/suspend", json={"reason": "left"})
    is_problem(await redeemed(iam, await came_back(iam, odd)), 400)


async def test_nobody_links_an_identity_to_somebody_who_may_do_more(iam: Iam, odd: OddProvider) -> None:
    boss = await person(iam, password=None)
    bound = {"principal_kind": "user", "principal_id": boss.id, "role": "operator", "reason": "runs it"}
    await iam.done("POST", "/v1/bindings", json=bound)
    role = {"description": "links people", "permissions": ["iam.identity.link"]}
    await iam.done("PUT", "/v1/roles/linker", json=role)
    _, token = await iam.somebody("/v1", "linker")
    body = {"provider_id": "odd", "subject": "the-linkers-own"}
    is_problem(await iam.ask("POST", f"/v1/users/{boss.id}/identities", token, json=body), 403)
    plain = await person(iam, password=None)
    assert (await iam.ask("POST", f"/v1/users/{plain.id}/identities", token, json=body)).status_code == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "http://login.example.com"},
        {"issuer": "https://login.example.com?x=1"},
        {"issuer": "https://user@login.example.com"},
        {"issuer": "https://"},
        {"issuer": "file:///etc/passwd"},
        {"new_people": "register", "email_domains": []},
        {"email_domains": ["EXAMPLE.com"]},
        {"email_domains": ["ex\u0430mple.com"]},
        {"scopes": ["a b"]},
    ],
)
async def test_a_provider_that_would_let_the_wrong_people_in_is_not_configured(
    iam: Iam, changed: dict[str, Any]
) -> None:
    body = {"display_name": "X", "issuer": "https://login.example.com", "client_id": "gpuaas", "reason": "a test"}
    is_problem(await iam.ask("PUT", "/v1/identity-providers/wrong", json=body | changed), 422)


async def test_what_people_may_sign_in_with_is_told_to_everybody(iam: Iam, odd: OddProvider) -> None:
    told = (await iam.client.get("/v1/sign-in-options")).json()
    assert told["passwords"] is True
    assert {"provider_id": "odd", "display_name": "Odd"} in told["providers"]
    listed = (await iam.done("GET", "/v1/identity-providers"))["items"]
    assert {each["provider_id"] for each in listed} >= {"odd"}


async def device_of(iam: Iam, token: str) -> str:
    """The token of a program that a session let in."""
    asked = (await iam.client.post("/v1/oauth/device", data={"client_id": "a program"})).json()
    await iam.done("POST", "/v1/device-approvals", token, json={"user_code": asked["user_code"]})
    wanted = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": asked["device_code"]}
    return str((await grant(iam, **wanted)).json()["access_token"])


async def test_with_a_provider_end_the_sessions_that_came_through_it_and_all_they_let_in(
    iam: Iam, odd: OddProvider
) -> None:
    odd.subject = "left-behind"
    session = (await redeemed(iam, await came_back(iam, odd))).json()
    program = await device_of(iam, session["access_token"])
    await iam.done("POST", "/v1/identity-providers/odd/remove", json={"reason": "no longer ours"})
    for token in (session["access_token"], program):
        assert "provider-removed" in is_problem(await iam.ask("GET", "/v1/me", token), 401)["detail"]
    renewed = await grant(iam, grant_type="refresh_token", refresh_token=session["refresh_token"])
    is_problem(renewed, 400)
    rows = (await iam.done("GET", f"/v1/users/{session['user_id']}/sessions"))["items"]
    assert [row["end_cause"] for row in rows] == ["provider-removed"] * 2
    await configure(iam, odd)
    again = (await redeemed(iam, await came_back(iam, odd))).json()
    assert (await iam.ask("GET", "/v1/me", again["access_token"])).status_code == 200
    is_problem(await iam.ask("GET", "/v1/me", session["access_token"]), 401)


async def test_a_provider_that_becomes_another_issuers_takes_its_sessions_with_it(iam: Iam, odd: OddProvider) -> None:
    odd.subject = "of-the-former-issuer"
    session = (await redeemed(iam, await came_back(iam, odd))).json()
    await configure(iam, odd, display_name="The same, called otherwise")
    assert (await iam.ask("GET", "/v1/me", session["access_token"])).status_code == 200
    async with odd_provider() as other:
        await configure(iam, other)
    is_problem(await iam.ask("GET", "/v1/me", session["access_token"]), 401)
