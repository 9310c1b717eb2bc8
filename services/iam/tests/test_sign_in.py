"""People sign in, renew and sign out. One law: a failure tells nothing, and what has ended is refused everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.adapters import kept_tables
from iam_door import Iam, is_problem, started
from people import PASSWORD, grant, person, renewed, said, sign_in, signed_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
_TEN_MINUTES = timedelta(minutes=10)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        yield running_iam


async def test_a_person_signs_in_with_the_password_they_chose(iam: Iam) -> None:
    who = await person(iam)
    session = await signed_in(iam, who)
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["sid"], "key" in claims) == (who.id, session["session_id"], False)
    assert claims["exp"] - claims["iat"] == 300
    me = await iam.done("GET", "/v1/me", session["access_token"])
    assert me["principal"] == {"kind": "user", "id": who.id, "tenant_id": "platform"}
    assert me["session_id"] == session["session_id"]
    [listed] = (await iam.done("GET", "/v1/me/sessions", session["access_token"]))["items"]
    assert (listed["method"], listed["client"], listed["ended_at"]) == ("password", "a test", None)


async def test_case_and_form_of_the_address_do_not_matter(iam: Iam) -> None:
    await person(iam, "Zoë@Example.com")
    assert (await sign_in(iam, "ZOE\u0308@example.COM")).status_code == 200


async def test_neither_passwords_nor_tokens_nor_codes_are_in_the_log_or_the_tables(iam: Iam) -> None:
    who = await person(iam, password=None)
    code = (await iam.done("POST", f"/v1/users/{who.id}/password-codes"))["code"]
    await iam.client.post("/v1/passwords", json={"code": code, "password": PASSWORD})
    session = await signed_in(iam, who)
    rows = ""
    for table in kept_tables.KEPT.sorted_tables:
        rows += str(await iam.service.database.fetch(table.select()))
    log = b"".join(each.payload for each in await said(iam)).decode()
    for secret in (PASSWORD, code, session["refresh_token"], session["access_token"]):
        assert secret not in log
        assert secret not in rows
    assert "argon2id" in rows
    assert "argon2id" not in log


async def test_a_wrong_password_and_a_person_who_is_not_there_get_one_answer(iam: Iam) -> None:
    mira, kim, lou = await person(iam), await person(iam, password=None), await person(iam)
    await iam.done("POST", f"/v1/users/{lou.id}/suspend", json={"reason": "left"})
    answers = [
        await sign_in(iam, mira.email, "not my password"),
        await sign_in(iam, "nobody@example.com"),
        await sign_in(iam, kim.email),
        await sign_in(iam, lou.email),
    ]
    told = {str(is_problem(answer, 401) | {"decision_id": "each its own"}) for answer in answers}
    assert len({answer.headers.get("retry-after") for answer in answers}) == 1
    assert len(told) == 1


async def test_a_refresh_token_brings_the_next_one(iam: Iam) -> None:
    session = await signed_in(iam)
    again = await renewed(iam, session["refresh_token"])
    assert again.status_code == 200, again.text
    assert again.json()["session_id"] == session["session_id"]
    assert again.json()["refresh_token"] != session["refresh_token"]
    assert (await iam.ask("GET", "/v1/me", again.json()["access_token"])).status_code == 200


async def test_a_refresh_token_used_twice_ends_the_whole_session(iam: Iam) -> None:
    who = await person(iam)
    stolen, other = await signed_in(iam, who), await signed_in(iam, who)
    thief = (await renewed(iam, stolen["refresh_token"])).json()
    assert is_problem(await renewed(iam, stolen["refresh_token"]), 400)["error"] == "invalid_grant"
    for token in (stolen["access_token"], thief["access_token"]):
        is_problem(await iam.ask("GET", "/v1/me", token), 401)
    is_problem(await renewed(iam, thief["refresh_token"]), 400)
    assert (await iam.ask("GET", "/v1/me", other["access_token"])).status_code == 200


async def test_of_two_renewals_at_once_one_wins_and_the_session_ends(iam: Iam) -> None:
    session = await signed_in(iam)
    answers = await asyncio.gather(*(renewed(iam, session["refresh_token"]) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) in ([200, 400, 400, 400, 400], [400] * 5)
    is_problem(await iam.ask("GET", "/v1/me", session["access_token"]), 401)


async def test_a_made_up_refresh_token_ends_nobodys_session(iam: Iam) -> None:
    session = await signed_in(iam)
    for guess in ("gpr_" + "0" * 64, "gpr_", "", session["session_id"], session["access_token"][:90]):
        is_problem(await renewed(iam, guess), 400)
    assert (await iam.ask("GET", "/v1/me", session["access_token"])).status_code == 200


async def test_signing_out_ends_the_session_and_only_ones_own(iam: Iam) -> None:
    mine, theirs = await signed_in(iam), await signed_in(iam)
    path = f"/v1/me/sessions/{theirs['session_id']}/end"
    is_problem(await iam.ask("POST", path, mine["access_token"]), 404)
    is_problem(await iam.ask("POST", "/v1/me/sessions/never-was/end", mine["access_token"]), 404)
    await iam.done("POST", f"/v1/me/sessions/{mine['session_id']}/end", mine["access_token"])
    is_problem(await iam.ask("GET", "/v1/me", mine["access_token"]), 401)
    is_problem(await renewed(iam, mine["refresh_token"]), 400)
    assert (await iam.ask("GET", "/v1/me", theirs["access_token"])).status_code == 200


async def test_an_operator_ends_a_persons_session(iam: Iam) -> None:
    who = await person(iam)
    session = await signed_in(iam, who)
    path = f"/v1/users/{who.id}/sessions"
    assert [each["session_id"] for each in (await iam.done("GET", path))["items"]] == [session["session_id"]]
    await iam.done("POST", f"{path}/{session['session_id']}/revoke", json={"reason": "laptop stolen"})
    is_problem(await iam.ask("GET", "/v1/me", session["access_token"]), 401)
    [row] = (await iam.done("GET", path))["items"]
    assert (row["end_cause"], row["end_reason"]) == ("revoked", "laptop stolen")


async def test_a_password_code_works_once_and_a_new_password_ends_the_sessions(iam: Iam) -> None:
    who = await person(iam)
    session = await signed_in(iam, who)
    first = (await iam.done("POST", f"/v1/users/{who.id}/password-codes"))["code"]
    second = (await iam.done("POST", f"/v1/users/{who.id}/password-codes"))["code"]
    new = {"password": "another password of mine"}
    is_problem(await iam.client.post("/v1/passwords", json={"code": first} | new), 401)
    short = await iam.client.post("/v1/passwords", json={"code": second, "password": "aaaaaaaaaaaaaaa"})
    is_problem(short, 422)
    assert (await iam.client.post("/v1/passwords", json={"code": second} | new)).status_code == 200
    is_problem(await iam.client.post("/v1/passwords", json={"code": second} | new), 401)
    is_problem(await iam.ask("GET", "/v1/me", session["access_token"]), 401)
    is_problem(await sign_in(iam, who.email), 401)
    assert (await sign_in(iam, who.email, new["password"])).status_code == 200


async def test_nobody_hands_out_a_code_for_somebody_who_may_do_more(iam: Iam) -> None:
    who = await person(iam)
    body = {"principal_kind": "user", "principal_id": who.id, "role": "operator", "reason": "runs it"}
    await iam.done("POST", "/v1/bindings", json=body)
    helpdesk = {"role": "helpdesk", "description": "lets people in", "permissions": ["iam.password-code.issue"]}
    await iam.done("PUT", "/v1/roles/helpdesk", json={name: helpdesk[name] for name in ("description", "permissions")})
    _, token = await iam.somebody("/v1", "helpdesk")
    is_problem(await iam.ask("POST", f"/v1/users/{who.id}/password-codes", token), 403)
    plain = await person(iam, password=None)
    assert (await iam.ask("POST", f"/v1/users/{plain.id}/password-codes", token)).status_code == 201


async def test_an_address_signs_one_person_in(iam: Iam) -> None:
    who = await person(iam)
    twin = await person(iam, who.email.upper(), password=None)
    code = (await iam.done("POST", f"/v1/users/{twin.id}/password-codes"))["code"]
    is_problem(await iam.client.post("/v1/passwords", json={"code": code, "password": PASSWORD}), 409)


async def test_a_program_signs_in_by_a_persons_approval(iam: Iam) -> None:
    who = await person(iam)
    session = await signed_in(iam, who)
    asked = (await iam.client.post("/v1/oauth/device", data={"client_id": "gpuaas on atlas"})).json()
    wanted = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": asked["device_code"]}
    assert is_problem(await grant(iam, **wanted), 400)["error"] == "authorization_pending"
    assert is_problem(await grant(iam, **wanted), 400)["error"] == "slow_down"
    typed = asked["user_code"].replace("-", "").lower()
    approved = await iam.done("POST", "/v1/device-approvals", session["access_token"], json={"user_code": typed})
    assert approved == {"client": "gpuaas on atlas", "approved": True}
    again = await iam.ask("POST", "/v1/device-approvals", session["access_token"], json={"user_code": typed})
    is_problem(again, 404)
    device = await _past_the_interval(iam, wanted)
    assert device["user_id"] == who.id
    sessions = (await iam.done("GET", "/v1/me/sessions", device["access_token"]))["items"]
    methods = {each["session_id"]: (each["method"], each["approved_in"]) for each in sessions}
    assert methods[device["session_id"]] == ("device", session["session_id"])
    assert is_problem(await grant(iam, **wanted), 400)["error"] == "expired_token"


async def _past_the_interval(iam: Iam, wanted: dict[str, str]) -> dict[str, Any]:
    """The answer to a program that waited as long as it was told: its next moment is moved to now."""
    devices = kept_tables._DEVICES
    await iam.service.database.execute(devices.update().values(next_poll_at=devices.c.expires_at - _TEN_MINUTES))
    answer = await grant(iam, **wanted)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_a_refused_program_gets_nothing(iam: Iam) -> None:
    session = await signed_in(iam)
    asked = (await iam.client.post("/v1/oauth/device", data={"client_id": "phishing"})).json()
    body = {"user_code": asked["user_code"], "approve": False}
    await iam.done("POST", "/v1/device-approvals", session["access_token"], json=body)
    wanted = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": asked["device_code"]}
    assert is_problem(await grant(iam, **wanted), 400)["error"] == "access_denied"


async def test_a_program_cannot_approve_a_program(iam: Iam) -> None:
    asked = (await iam.client.post("/v1/oauth/device", data={})).json()
    answer = await iam.ask("POST", "/v1/device-approvals", json={"user_code": asked["user_code"]})
    is_problem(answer, 409)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"grant_type=password&username=mira&password=x",
        b"grant_type=refresh_token&refresh_token=a&refresh_token=b",
        b"grant_type=refresh_token&refresh_token=%00",
        b"\xff\xfe",
        b"&".join(b"f%d=1" % number for number in range(200)),
    ],
)
async def test_an_odd_form_is_refused(iam: Iam, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await iam.client.post("/v1/oauth/token", content=body, headers=headers)
    assert is_problem(answer, 400)["error"] in ("invalid_request", "invalid_grant", "unsupported_grant_type")
