"""Workloads act as service accounts by their issuers' word. One law: each thing that is wrong is refused for itself."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from gpuaas.common.ids import new_id
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted
from iam_door import Iam, is_problem, started
from odd_provider import OddProvider, odd_provider
from people import person, signed_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME = "/v1/tenants/acme"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
SUBJECT = "repo:acme/train:ref:refs/heads/main"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam"), requests_per_s=10_000) as running_iam:
        await running_iam.tenant("acme", "vision", "speech")
        await running_iam.tenant("rival", "vision")
        yield running_iam


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def issuer() -> AsyncIterator[OddProvider]:
    async with odd_provider() as provider:
        yield provider


def signed(issuer: OddProvider, **changed: Any) -> str:
    """A token of the issuer's about a workload; a claim that is None is left out."""
    now = int(time.time())
    right = {"iss": issuer.issuer, "aud": "gpuaas-acme", "sub": SUBJECT, "iat": now, "exp": now + 300, "jti": new_id()}
    [(kid, private)] = issuer.keys.items()
    claims = {name: value for name, value in (right | changed).items() if value is not None}
    return jwt.encode(claims, private, algorithm="EdDSA", headers={"kid": kid})


async def trusted(iam: Iam, issuer: str, role: str = "tenant-admin", **more: Any) -> tuple[str, str]:
    """A trust, and the account that workloads act as by it."""
    account = await iam.account(ACME)
    assert (await iam.bind(ACME, account, role)).status_code == 201
    body = {"service_account_id": account, "issuer": issuer, "audience": "gpuaas-acme", "reason": "a test"}
    body |= {"subject_pattern": "repo:acme/train:ref:refs/heads/*"} | more
    return str((await iam.done("POST", f"{ACME}/workload-trusts", json=body))["id"]), account


async def exchanged(iam: Iam, trust: str, token: str, **more: str) -> httpx.Response:
    fields = {"grant_type": EXCHANGE, "client_id": trust, "subject_token": token, "subject_token_type": JWT}
    return await iam.client.post("/v1/oauth/exchange", data=fields | more)


async def given(iam: Iam, trust: str, token: str, **more: str) -> str:
    answer = await exchanged(iam, trust, token, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def refusal(answer: httpx.Response, error: str = "invalid_request") -> str:
    told = is_problem(answer, 400)
    assert told["error"] == error
    return str(told["detail"])


async def test_an_outside_workload_acts_as_the_account_no_further_than_the_trust(iam: Iam, issuer: OddProvider) -> None:
    may = ["iam.binding.*", "iam.project.read"]
    trust, account = await trusted(iam, issuer.issuer, permissions=may, project_id="vision")
    answer = await exchanged(iam, trust, signed(issuer))
    told = answer.json()
    assert (told["issued_token_type"], told["token_type"], told["expires_in"]) == (ACCESS, "Bearer", 300)
    me = await iam.done("GET", "/v1/me", told["access_token"])
    assert me["principal"]["id"] == account
    assert me["acting"] == [{"kind": "workload", "id": told["acting"]}]
    token = told["access_token"]
    assert (await iam.ask("GET", f"{ACME}/projects/vision/bindings", token)).status_code == 200
    is_problem(await iam.ask("GET", f"{ACME}/projects/speech/bindings", token), 403)
    refused = is_problem(await iam.ask("GET", f"{ACME}/projects/vision/service-accounts", token), 403)
    assert trust in refused["detail"]
    why = await iam.done("GET", f"/v1/decisions/{refused['decision_id']}")
    assert (why["acting"], why["narrowed_by"][0]["by"]) == (me["acting"], f"trust {trust}")
    is_problem(await iam.ask("GET", "/v1/tenants/rival/bindings", token), 404)


async def test_who_acted_for_whom_stands_in_the_events(iam: Iam, issuer: OddProvider) -> None:
    trust, account = await trusted(iam, issuer.issuer)
    answer = (await exchanged(iam, trust, signed(issuer))).json()
    made = await iam.done("POST", f"{ACME}/service-accounts", answer["access_token"], json={"display_name": "made"})
    [said] = await iam.service.log.history(f"events.iam.service-account.acme.{made['id']}")
    envelope = said.envelope()
    assert (envelope.actorkind, envelope.actor, envelope.onbehalfof) == ("workload", answer["acting"], account)
    rows = (await iam.done("GET", f"{ACME}/workloads?limit=500"))["items"]
    [row] = [row for row in rows if row["workload_id"] == answer["acting"]]
    assert (row["issuer_subject"], row["trust_id"], row["ended_at"]) == (SUBJECT, trust, None)


async def test_a_workload_asks_for_less_than_it_could_have_and_never_for_more(iam: Iam, issuer: OddProvider) -> None:
    trust, _ = await trusted(iam, issuer.issuer, permissions=["iam.binding.*"])
    more = {"scope": "iam.binding.read", "resource": "urn:gpuaas:tenant:acme:project:vision"}
    token = await given(iam, trust, signed(issuer), **more)
    assert (await iam.ask("GET", f"{ACME}/projects/vision/bindings", token)).status_code == 200
    is_problem(await iam.ask("GET", f"{ACME}/projects/speech/bindings", token), 403)
    other = await iam.account(ACME)
    is_problem(await iam.bind(f"{ACME}/projects/vision", other, "viewer", token), 403)
    assert "narrower" in refusal(await exchanged(iam, trust, signed(issuer), scope="iam.*.read"), "invalid_scope")
    rival = {"resource": "urn:gpuaas:tenant:rival"}
    assert "narrower" in refusal(await exchanged(iam, trust, signed(issuer), **rival), "invalid_scope")


def altered(token: str, part: int, text: str) -> str:
    parts = token.split(".")
    parts[part] = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return ".".join(parts)


def of_none(issuer: OddProvider) -> str:
    return altered(signed(issuer), 0, '{"alg":"none","kid":"k-1"}')


def shared(issuer: OddProvider) -> str:
    """Signed with the issuer's public key as if it were a secret that is shared."""
    [(kid, private)] = issuer.keys.items()
    secret = private.public_key().public_bytes_raw()
    claims = jwt.decode(signed(issuer), options={"verify_signature": False})
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": kid})


def twice(issuer: OddProvider) -> str:
    """Two subjects, properly signed."""
    [(kid, private)] = issuer.keys.items()
    now = int(time.time())
    said = {"iss": issuer.issuer, "aud": "gpuaas-acme", "iat": now, "exp": now + 60, "jti": new_id(), "sub": SUBJECT}
    text = json.dumps(said)[:-1] + ', "sub": "repo:evil/train"}'
    return jwt.api_jws.encode(text.encode(), private, algorithm="EdDSA", headers={"kid": kid})


NOW = int(time.time())
DEEP: Any = "x"
for _ in range(12):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"aud": "somebody-else"}, "another audience"),
        ({"aud": ["gpuaas-acme", "somebody-else"]}, "further ones"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"exp": NOW - 600}, "expired"),
        ({"iat": NOW + 3_600, "exp": NOW + 7_200}, "of the future"),
        ({"nbf": NOW + 3_600}, "of the future"),
        ({"exp": NOW + 40 * 86_400}, "longer than a day"),
        ({"exp": None}, "from when until when"),
        ({"iat": "yesterday"}, "from when until when"),
        ({"jti": None}, "no jti"),
        ({"sub": "repo:acme/other:ref:refs/heads/main"}, "not about that subject"),
        ({"sub": "repo:acme/train:ref:refs/heads/a/b"}, "not about that subject"),
        ({"sub": "repo:аcme/train:ref:refs/heads/main"}, "ASCII"),
        ({"more": "x" * 20_000}, "at most 16,384"),
        ({"more": DEEP}, "nested"),
    ],
)
async def test_a_subject_token_that_is_wrong_is_refused_for_what_is_wrong(
    iam: Iam, issuer: OddProvider, changed: dict[str, Any], why: str
) -> None:
    trust, _ = await trusted(iam, issuer.issuer)
    assert why in refusal(await exchanged(iam, trust, signed(issuer, **changed)))


@pytest.mark.parametrize(
    ("forged", "why"), [(of_none, "'none'"), (shared, "'HS256'"), (twice, "twice"), (lambda _: "a.b", "three parts")]
)
async def test_a_token_that_plays_tricks_is_refused(iam: Iam, issuer: OddProvider, forged: Any, why: str) -> None:
    trust, _ = await trusted(iam, issuer.issuer)
    assert why in refusal(await exchanged(iam, trust, forged(issuer)))


async def test_a_subject_token_is_good_once_unless_the_trust_says_otherwise(iam: Iam, issuer: OddProvider) -> None:
    once, _ = await trusted(iam, issuer.issuer)
    token = signed(issuer)
    await given(iam, once, token)
    assert "exchanged before" in refusal(await exchanged(iam, once, token))
    often, _ = await trusted(iam, issuer.issuer, single_use=False)
    token = signed(issuer, jti=None)
    await given(iam, often, token)
    await given(iam, often, token)


async def test_the_end_of_the_trust_of_the_account_or_of_the_workload_ends_its_tokens(
    iam: Iam, issuer: OddProvider
) -> None:
    trust, account = await trusted(iam, issuer.issuer)
    token = await given(iam, trust, signed(issuer))
    await iam.done("POST", f"{ACME}/workload-trusts/{trust}/end", json={"reason": "over"})
    is_problem(await iam.ask("GET", "/v1/me", token), 401)
    refusal(await exchanged(iam, trust, signed(issuer)), "invalid_client")
    trust, account = await trusted(iam, issuer.issuer)
    token = await given(iam, trust, signed(issuer))
    await iam.done("POST", f"{ACME}/service-accounts/{account}/suspend", json={"reason": "odd"})
    is_problem(await iam.ask("GET", "/v1/me", token), 401)
    assert "suspended" in refusal(await exchanged(iam, trust, signed(issuer)))
    trust, _ = await trusted(iam, issuer.issuer, subject_pattern="repo:acme/ended:*")
    answer = (await exchanged(iam, trust, signed(issuer, sub="repo:acme/ended:1"))).json()
    await iam.done("GET", f"{ACME}/workloads")
    await iam.done("POST", f"{ACME}/workloads/{answer['acting']}/end", json={"reason": "stolen"})
    is_problem(await iam.ask("GET", "/v1/me", answer["access_token"]), 401)
    assert "was ended" in refusal(await exchanged(iam, trust, signed(issuer, sub="repo:acme/ended:1")))


async def test_nobody_lets_workloads_act_as_who_may_do_more_than_they_do(iam: Iam, issuer: OddProvider) -> None:
    strong, _ = await iam.somebody(ACME, "tenant-admin")
    may = {"description": "trusts", "permissions": ["iam.workload-trust.set", "iam.binding.read"]}
    await iam.done("PUT", "/v1/roles/truster", json=may)
    _, token = await iam.somebody(ACME, "truster")
    body = {"service_account_id": strong, "issuer": issuer.issuer, "audience": "a", "reason": "a test"}
    body |= {"subject_pattern": "repo:acme/*"}
    is_problem(await iam.ask("POST", f"{ACME}/workload-trusts", token, json=body), 403)
    narrow = body | {"permissions": ["iam.binding.read"]}
    assert (await iam.ask("POST", f"{ACME}/workload-trusts", token, json=narrow)).status_code == 201


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"subject_pattern": "*"}, 422),
        ({"subject_pattern": "repo:**"}, 422),
        ({"issuer": "http://evil.example"}, 422),
        ({"issuer": "https://user@evil.example"}, 422),
        ({"audience": ""}, 422),
        ({"permissions": ["everything"]}, 422),
        ({"project_id": "nowhere"}, 404),
        ({"service_account_id": "nobody"}, 404),
    ],
)
async def test_a_trust_that_lets_anybody_in_is_refused(
    iam: Iam, issuer: OddProvider, changed: dict[str, Any], status: int
) -> None:
    account = await iam.account(ACME)
    body = {"service_account_id": account, "issuer": issuer.issuer, "audience": "a", "reason": "a test"}
    body |= {"subject_pattern": "repo:acme/*"}
    is_problem(await iam.ask("POST", f"{ACME}/workload-trusts", json=body | changed), status)


# -- allocations that run here ---------------------------------------------------------------------------------------


async def running(iam: Iam, project: str = "vision") -> str:
    allocation_id, now = f"a-{new_id()}", datetime.now(UTC)
    event = AllocationStarted(
        allocation_id=allocation_id,
        tenant_id="acme",
        project_id=project,
        pool_id="pool",
        gpu_model="sim-a100",
        gpu_count=1,
        started_at=now,
        members=({"member": 0, "node_id": "node-1", "device_ids": ("gpu-0",)},),
    )
    await tell(iam.service.log, event, tenant_id="acme", entity_id=allocation_id)
    return allocation_id


async def released(iam: Iam, allocation_id: str) -> None:
    event = AllocationReleased(
        allocation_id=allocation_id,
        tenant_id="acme",
        project_id="vision",
        pool_id="pool",
        gpu_model="sim-a100",
        gpu_count=1,
        ended_at=datetime.now(UTC),
        end_reason="completed",
    )
    await tell(iam.service.log, event, tenant_id="acme", entity_id=allocation_id)


async def test_an_allocation_acts_while_it_runs_and_no_longer(iam: Iam) -> None:
    pattern = "tenant:acme:project:vision:allocation:*"
    trust, _ = await trusted(iam, "gpuaas", subject_pattern=pattern, audience=None)
    allocation = await running(iam)
    at = f"{ACME}/projects/vision/workloads/{allocation}/subject-tokens"
    shown = await iam.done("POST", at)
    is_problem(await iam.ask("GET", "/v1/me", shown["subject_token"]), 401)
    token = await given(iam, trust, shown["subject_token"])
    assert (await iam.ask("GET", "/v1/me", token)).status_code == 200
    is_problem(await iam.ask("POST", at.replace("/vision/", "/speech/")), 404)
    again = await iam.done("POST", at)
    await released(iam, allocation)

    async def refused() -> bool:
        return (await iam.ask("GET", "/v1/me", token)).status_code == 401

    await eventually(refused, 60)
    assert "does not run" in refusal(await exchanged(iam, trust, again["subject_token"]))
    is_problem(await iam.ask("POST", at), 404)


async def test_another_projects_allocation_is_not_whom_the_trust_is_about(iam: Iam) -> None:
    more: dict[str, Any] = {
        "subject_pattern": "tenant:acme:project:*:allocation:*",
        "audience": None,
        "project_id": "vision",
    }
    trust, _ = await trusted(iam, "gpuaas", **more)
    allocation = await running(iam, "speech")
    shown = await iam.done("POST", f"{ACME}/projects/speech/workloads/{allocation}/subject-tokens")
    assert "not about that subject" in refusal(await exchanged(iam, trust, shown["subject_token"]))


# -- tokens of ours ----------------------------------------------------------------------------------------------------


async def narrowed(iam: Iam, token: str, **more: str) -> httpx.Response:
    """Asked again where too much was asked from here: all tests of this file come from one address."""
    fields = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS}
    while (answer := await iam.client.post("/v1/oauth/exchange", data=fields | more)).status_code == 429:
        await asyncio.sleep(float(answer.headers["Retry-After"]))
    return answer


async def test_a_program_acts_for_a_person_for_what_was_said_and_both_are_named(iam: Iam) -> None:
    mira = await person(iam)
    body = {"principal_kind": "user", "principal_id": mira.id, "role": "tenant-admin", "reason": "a test"}
    await iam.done("POST", f"{ACME}/bindings", json=body)
    hers = (await signed_in(iam, mira))["access_token"]
    robot, its = await iam.somebody(ACME, "viewer")
    actor = {"actor_token": its, "actor_token_type": ACCESS}
    assert "scope" in refusal(await narrowed(iam, hers, **actor), "invalid_scope")
    answer = await narrowed(iam, hers, scope="iam.service-account.* iam.binding.read", **actor)
    token = answer.json()["access_token"]
    made = await iam.done("POST", f"{ACME}/service-accounts", token, json={"display_name": "made"})
    [said] = await iam.service.log.history(f"events.iam.service-account.acme.{made['id']}")
    envelope = said.envelope()
    assert (envelope.actorkind, envelope.actor, envelope.onbehalfof) == ("service-account", robot, mira.id)
    is_problem(await iam.ask("GET", f"{ACME}/groups", token), 403)
    is_problem(await iam.ask("POST", "/v1/device-approvals", token, json={"user_code": "BCDF-GHJK"}), 409)
    [key] = (await iam.done("GET", f"{ACME}/service-accounts/{robot}/keys"))["items"]
    path = f"{ACME}/service-accounts/{robot}/keys/{key['key_id']}/revoke"
    await iam.done("POST", path, json={"reason": "leaked"})
    is_problem(await iam.ask("GET", "/v1/me", token), 401)
    assert (await iam.ask("GET", "/v1/me", hers)).status_code == 200


async def test_a_token_is_narrowed_and_never_widened_again(iam: Iam) -> None:
    _, token = await iam.somebody(ACME, "tenant-admin")
    assert "changes nothing" in refusal(await narrowed(iam, token))
    less = (await narrowed(iam, token, scope="iam.binding.read")).json()["access_token"]
    is_problem(await iam.ask("GET", f"{ACME}/groups", less), 403)
    assert "narrower" in refusal(await narrowed(iam, less, scope="iam.*.read"), "invalid_scope")
    still = await narrowed(iam, less, resource="urn:gpuaas:tenant:acme")
    is_problem(await iam.ask("GET", f"{ACME}/groups", still.json()["access_token"]), 403)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"audience": "https://elsewhere.example"}, "invalid_target"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"subject_token": "not-a-token"}, "invalid_request"),
        ({"subject_token_type": JWT, "client_id": "nobody"}, "invalid_client"),
    ],
)
async def test_an_exchange_that_cannot_be_is_refused_by_its_name(iam: Iam, fields: dict[str, str], error: str) -> None:
    _, token = await iam.somebody(ACME, "viewer")
    refusal(await narrowed(iam, token, **{"scope": "iam.binding.read"} | fields), error)
