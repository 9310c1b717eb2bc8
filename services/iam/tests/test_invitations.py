"""Invitations, at the door. One law: the address and the token, once; and never more than who invited holds by then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from gpuaas.common.errors import Forbidden, Invalid, NotFound, Rejected
from gpuaas.common.ids import new_id
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.iam import InvitationSent
from gpuaas.iam.domain.invitation import (
    NOT_GOOD,
    AcceptInvitation,
    Answered,
    Invited,
    SendInvitation,
    Unknown,
    Waiting,
    address,
    decide,
    evolve,
)
from iam_door import Iam, is_problem, started
from people import Person, person, said, signed_in

ACME, RIVAL = "/v1/tenants/acme", "/v1/tenants/rival"
VISION = f"{ACME}/projects/vision"
module = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision", "speech")
        await running_iam.tenant("rival")
        yield running_iam


async def invited(iam: Iam, email: str, at: str = VISION, token: str | None = None, **more: Any) -> dict[str, Any]:
    body = {"email": email, "role": "member", "reason": "joins us"} | more
    return await iam.done("POST", f"{at}/invitations", token, json=body)


async def answer(iam: Iam, invitation: str, who: str, word: str = "accept") -> Any:
    headers = {"GPUaaS-At-Least": str(await iam.service.log.last_position())}
    return await iam.ask(
        "POST", "/v1/invitation-answers", who, json={"token": invitation, "answer": word}, headers=headers
    )


async def session(iam: Iam, who: Person) -> str:
    return str((await signed_in(iam, who))["access_token"])


@module
async def test_an_invitation_is_accepted_once_by_the_person_of_its_address(iam: Iam) -> None:
    _, admin = await iam.somebody(VISION, "project-admin")
    mira, other = await person(iam), await person(iam)
    sent = await invited(iam, mira.email.upper(), token=admin)
    refused = is_problem(await answer(iam, sent["token"], await session(iam, other)), 404)
    assert refused["detail"] == NOT_GOOD
    hers = await session(iam, mira)
    assert (await answer(iam, sent["token"], hers)).status_code == 200
    me = await iam.done("GET", "/v1/me", hers)
    [held] = me["bindings"]
    assert (held["role"], held["scope"]) == ("member", {"tenant_id": "acme", "project_id": "vision"})
    repeated = await answer(iam, sent["token"], hers)
    assert repeated.status_code == 404
    listed = (await iam.done("GET", f"{VISION}/invitations", admin))["items"]
    [shown] = [each for each in listed if each["invitation_id"] == sent["id"]]
    assert (shown["status"], shown["user_id"], shown["email"]) == ("accepted", mira.id, mira.email.lower())
    assert not {"token_sha256", "sealed"} & shown.keys()


@module
async def test_the_log_has_neither_the_token_nor_the_address(iam: Iam) -> None:
    mira = await person(iam, password=None)
    sent = await invited(iam, mira.email)
    secret = sent["token"].rpartition("_")[2]
    payloads = [bytes(each.payload) for each in await said(iam)]
    assert not any(secret.encode() in each or mira.email.encode() in each for each in payloads)


@module
async def test_it_is_declined_or_withdrawn_and_good_for_nothing_then(iam: Iam) -> None:
    mira = await person(iam)
    hers = await session(iam, mira)
    first, second, third = [await invited(iam, mira.email) for _ in range(3)]
    assert (await answer(iam, first["token"], hers, "decline")).status_code == 200
    withdraw = {"reason": "sent to the wrong person"}
    await iam.done("POST", f"{VISION}/invitations/{second['id']}/withdraw", json=withdraw)
    for each in (first, second):
        is_problem(await answer(iam, each["token"], hers), 404)
    is_problem(await iam.ask("POST", f"{VISION}/invitations/{second['id']}/withdraw", json=withdraw), 409)
    for path in (f"{RIVAL}/invitations", f"{ACME}/projects/speech/invitations"):
        is_problem(await iam.ask("POST", f"{path}/{third['id']}/withdraw", json=withdraw), 404)
    listed = (await iam.done("GET", f"{ACME}/invitations", params={"limit": 500}))["items"]
    status = {each["invitation_id"]: each["status"] for each in listed}
    assert [status[each["id"]] for each in (first, second, third)] == ["declined", "withdrawn", "waiting"]


@module
async def test_nobody_invites_to_more_than_they_hold_when_they_do_and_when_it_is_accepted(iam: Iam) -> None:
    admin_id, admin = await iam.somebody(VISION, "project-admin")
    mira = await person(iam)
    body = {"email": mira.email, "role": "tenant-admin", "reason": "more"}
    refused = is_problem(await iam.ask("POST", f"{VISION}/invitations", admin, json=body), 403)
    assert refused["missing_permissions"]
    is_problem(await iam.ask("POST", f"{ACME}/invitations", admin, json=body | {"role": "viewer"}), 403)
    sent = await invited(iam, mira.email, token=admin)
    await iam.done("POST", f"{VISION}/service-accounts/{admin_id}/suspend", json={"reason": "left us"})
    hers = await session(iam, mira)
    is_problem(await answer(iam, sent["token"], hers), 403)
    await iam.done("POST", f"{VISION}/service-accounts/{admin_id}/resume", json={"reason": "is back"})
    assert (await answer(iam, sent["token"], hers)).status_code == 200


@module
async def test_only_a_person_who_signed_in_answers_and_odd_tokens_are_no_invitations(iam: Iam) -> None:
    mira = await person(iam)
    sent = await invited(iam, mira.email)
    is_problem(await answer(iam, sent["token"], await iam.operator()), 409)
    hers, token = await session(iam, mira), sent["token"]
    prefix, home, name, secret = token.split("_")
    for odd in (
        "",
        "gpi",
        token[:-1],
        token + "0",
        f"{prefix}_rival_{name}_{secret}",
        f"{prefix}_{home}_{new_id()}_{secret}",
        f"{prefix}_{home}_{name}_{secret[::-1]}",
        f"{prefix}_*_>_{secret}",
    ):
        is_problem(await answer(iam, odd, hers), 404)


@module
@pytest.mark.parametrize(
    "odd",
    [
        "mіra@example.com",  # a Cyrillic i
        "mira@exаmple.com",  # a Cyrillic a
        "ｍira@example.com",  # a wide m
        "mira@example.com\u200b",
        "mira @example.com",
        "mira",
    ],
)
async def test_an_address_that_looks_like_another_is_refused(iam: Iam, odd: str) -> None:
    body = {"email": odd, "role": "viewer", "reason": "a trick"}
    is_problem(await iam.ask("POST", f"{VISION}/invitations", json=body), 422)


# -- the decider -------------------------------------------------------------------------------------------------

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
TOKEN = "gpi_acme_i-1_" + "0" * 64


def sending(**more: Any) -> SendInvitation:
    given: dict[str, Any] = {
        "invitation_id": "i-1",
        "email": "Mira@Example.com",
        "what": Invited("member", None, "acme", None, "joins us", None),
        "invited_by": ("user", "u-1"),
        "token": TOKEN,
        "expires_at": NOW + timedelta(days=7),
        "role_permissions": ("a.b.c",),
        "held": frozenset({"a.*.*"}),
        "withheld": frozenset(),
        "waiting": 0,
        "asked_at": NOW,
    }
    return SendInvitation(**(given | more))


def waiting() -> Waiting:
    [sent] = decide(sending(), Unknown())
    assert isinstance(sent, InvitationSent)
    known = evolve(Unknown(), sent)
    assert isinstance(known, Waiting)
    return known


def accepting(**more: Any) -> AcceptInvitation:
    given: dict[str, Any] = {"token": TOKEN, "spelt": "mira@example.com", "user_id": "u-2", "binding_id": "b-1"}
    return AcceptInvitation(**(given | {"missing": (), "asked_at": NOW} | more))


def test_an_invitation_is_over_at_its_end_and_with_another_token_or_address() -> None:
    [accepted] = decide(accepting(asked_at=NOW + timedelta(days=7) - timedelta(microseconds=1)), waiting())
    for wrong in (
        {"asked_at": NOW + timedelta(days=7)},
        {"token": TOKEN[:-1] + "1"},
        {"spelt": "mira@example.org"},
    ):
        with pytest.raises(NotFound):
            decide(accepting(**wrong), waiting())
    assert evolve(waiting(), accepted) == Answered(None)
    with pytest.raises(NotFound):
        decide(accepting(), Answered(None))
    with pytest.raises(Forbidden):
        decide(accepting(missing=("a.b.c",)), waiting())


def test_an_invitation_has_bounds() -> None:
    for wrong in (
        {"expires_at": NOW},
        {"expires_at": NOW + timedelta(days=31)},
        {"what": Invited("member", None, "acme", None, "joins us", NOW + timedelta(days=6))},
        {"what": Invited("member", None, "acme", None, " ", None)},
    ):
        with pytest.raises(Invalid):
            decide(sending(**wrong), Unknown())
    with pytest.raises(Rejected):
        decide(sending(waiting=500), Unknown())
    with pytest.raises(Forbidden):
        decide(sending(withheld=frozenset({"a.b.*"})), Unknown())


def test_an_address_has_one_spelling() -> None:
    assert address(" Mira.Doe@EXAMPLE.com ") == "mira.doe@example.com"
    assert address("mira@xn--exmple-cua.com") == "mira@xn--exmple-cua.com"
