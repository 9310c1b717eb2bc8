"""Directories speak SCIM 2.0, asked by a client that nobody here wrote. One law: a tenant's is the tenant's alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import TestStack
from httpx2 import Client
from iam_door import Iam, is_problem, started
from people import said
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


@dataclass
class Tenant:
    """A tenant with a directory: its base address and the directory's API key."""

    iam: Iam
    name: str
    key: str

    @property
    def base(self) -> str:
        return f"{str(self.iam.client.base_url).rstrip('/')}/v1/tenants/{self.name}/scim/v2"

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/scim+json"}
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.iam.client.request(method, self.base + path, json=body, headers=given | names)

    async def done(self, method: str, path: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        answer = await self.ask(method, path, body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/scim+json"
        told: dict[str, Any] = answer.json()
        return told

    async def user(self, user_name: str, **more: Any) -> dict[str, Any]:
        return await self.done("POST", "/Users", {"schemas": [USER], "userName": user_name} | more, 201)

    async def patch(self, path: str, *operations: dict[str, Any], status: int = 200) -> dict[str, Any]:
        body = {"schemas": [PATCH], "Operations": list(operations)}
        return await self.done("PATCH", path, body, status)

    async def refused(self, method: str, path: str, status: int, body: Any = None, **headers: str) -> dict[str, Any]:
        answer = await self.ask(method, path, body, **headers)
        assert answer.status_code == status, answer.text
        told: dict[str, Any] = answer.json()
        assert (told["schemas"], told["status"]) == ([ERROR], str(status))
        return told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam"), requests_per_s=10_000) as running_iam:
        role = {"description": "a directory", "permissions": ["iam.directory.read", "iam.directory.provision"]}
        await running_iam.done("PUT", "/v1/roles/directory", json=role)
        yield running_iam


async def tenant_of(iam: Iam, name: str) -> Tenant:
    await iam.tenant(name, "vision")
    home = f"/v1/tenants/{name}"
    account = await iam.account(home)
    bound = await iam.bind(home, account, "directory")
    assert bound.status_code == 201, bound.text
    return Tenant(iam, name, str((await iam.key(home, account))["api_key"]))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(iam: Iam) -> Tenant:
    return await tenant_of(iam, "acme")


async def test_a_client_that_nobody_here_wrote_finds_nothing_wrong(iam: Iam) -> None:
    tenant = await tenant_of(iam, "conforming")

    def check() -> list[Any]:
        with Client(base_url=tenant.base, headers={"Authorization": f"Bearer {tenant.key}"}, timeout=60) as http:
            return list(check_server(SyncSCIMClient(http)))

    results = await asyncio.to_thread(check)
    wrong = [f"{each.status.name} {each.title} {each.resource_type}: {each.reason}" for each in results]
    bad = [text for text, each in zip(wrong, results, strict=True) if each.status not in _FINE]
    assert bad == [], "\n".join(bad)
    assert sum(each.status is Status.SUCCESS for each in results) > 60


_FINE = (Status.SUCCESS, Status.SKIPPED)


async def test_a_person_is_provisioned_changed_and_removed(acme: Tenant) -> None:
    mira = await acme.user(
        "Mira@acme-research.example",
        externalId="00u1",
        name={"givenName": "Mira", "familyName": "Lindqvist"},
        title="x",
    )
    assert (mira["active"], "title" in mira, mira["meta"]["resourceType"]) == (True, False, "User")
    people = {each["principal_id"]: each for each in (await acme.iam.done("GET", "/v1/users?limit=500"))["items"]}
    assert (people[mira["id"]]["display_name"], people[mira["id"]]["email"]) == (
        "Mira Lindqvist",
        "Mira@acme-research.example",
    )
    path = f"/Users/{mira['id']}"
    changed = await acme.patch(path, {"op": "replace", "path": "displayName", "value": "Mira L."})
    assert (changed["displayName"], changed["meta"]["version"] != mira["meta"]["version"]) == ("Mira L.", True)
    assert (await acme.ask("DELETE", path)).status_code == 204
    await acme.refused("GET", path, 404)
    await acme.user("mira@acme-research.example")


async def test_deactivated_is_suspended_and_signed_out_and_lets_in_again(acme: Tenant) -> None:
    kim = await acme.user("kim@acme-research.example")
    iam, path = acme.iam, f"/Users/{kim['id']}"
    code = (await iam.done("POST", f"/v1/users/{kim['id']}/password-codes"))["code"]
    chosen = {"code": code, "password": "correct horse battery staple"}
    assert (await iam.client.post("/v1/passwords", json=chosen)).status_code == 200
    proof = {"email": "kim@acme-research.example", "password": "correct horse battery staple"}
    session = (await iam.client.post("/v1/sessions", json=proof)).json()
    await acme.patch(path, {"op": "replace", "value": {"active": False}})
    is_problem(await iam.ask("GET", "/v1/me", session["access_token"]), 401)
    is_problem(await iam.client.post("/v1/sessions", json=proof), 401)
    [ended] = (await iam.done("GET", f"/v1/users/{kim['id']}/sessions"))["items"]
    assert (ended["end_cause"], ended["end_reason"]) == ("revoked", "deactivated by their directory")
    assert (await acme.done("GET", path))["active"] is False
    await acme.patch(path, {"op": "replace", "path": "active", "value": True})
    assert (await iam.client.post("/v1/sessions", json=proof)).status_code == 200


async def test_whoever_holds_something_beyond_the_tenant_is_not_the_directorys_to_let_in(acme: Tenant) -> None:
    ada = await acme.user("ada@acme-research.example", active=False)
    body = {"principal_kind": "user", "principal_id": ada["id"], "role": "operator", "reason": "runs it"}
    await acme.iam.done("POST", "/v1/bindings", json=body)
    body = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "active", "value": True}]}
    await acme.refused("PATCH", f"/Users/{ada['id']}", 403, body)
    assert (await acme.done("GET", f"/Users/{ada['id']}"))["active"] is False


async def test_a_directory_does_not_lift_what_an_operator_ordered(acme: Tenant) -> None:
    tess = await acme.user("tess@acme-research.example")
    await acme.iam.done("POST", f"/v1/users/{tess['id']}/suspend", json={"reason": "abuse"})
    for active in (False, True):
        await acme.patch(f"/Users/{tess['id']}", {"op": "replace", "path": "active", "value": active})
    told = await acme.iam.ask("POST", f"/v1/users/{tess['id']}/suspend", json={"reason": "abuse"})
    assert is_problem(told, 409)["detail"] == "that account is suspended already"


async def test_members_of_a_directorys_group_hold_what_the_group_holds(acme: Tenant) -> None:
    noor, lou = await acme.user("noor@acme-research.example"), await acme.user("lou@acme-research.example")
    members = [{"value": noor["id"]}]
    body = {"schemas": [GROUP], "displayName": "Vision", "externalId": "g-7", "members": members}
    group = await acme.done("POST", "/Groups", body, 201)
    bound = {"group_id": group["id"], "role": "viewer", "reason": "looks"}
    answer = await acme.iam.ask("POST", "/v1/tenants/acme/bindings", json=bound)
    if answer.status_code != 201:
        bound = {"principal_kind": "group", "principal_id": group["id"], "role": "viewer", "reason": "looks"}
        answer = await acme.iam.ask("POST", "/v1/tenants/acme/bindings", json=bound)
    assert answer.status_code == 201, answer.text

    async def may(user_id: str) -> bool:
        path = "/v1/tenants/acme/explain/who-can?permission=allocations.allocation.read&limit=500"
        return user_id in {each["principal_id"] for each in (await acme.iam.done("GET", path))["items"]}

    assert (await may(noor["id"]), await may(lou["id"])) == (True, False)
    path = f"/Groups/{group['id']}"
    await acme.patch(path, {"op": "add", "path": "members", "value": [{"value": lou["id"]}]})
    await acme.patch(path, {"op": "remove", "path": f'members[value eq "{noor["id"]}"]'})
    assert (await may(noor["id"]), await may(lou["id"])) == (False, True)
    assert [each["value"] for each in (await acme.done("GET", f"/Users/{lou['id']}"))["groups"]] == [group["id"]]
    assert "members" not in await acme.done("GET", f"{path}?excludedAttributes=members")
    stranger = {"op": "add", "path": "members", "value": [{"value": "somebody-else"}]}
    await acme.patch(path, stranger, status=400)
    assert (await acme.ask("DELETE", path)).status_code == 204
    assert await may(lou["id"]) is False


async def test_a_change_of_something_that_was_changed_meanwhile_is_refused(acme: Tenant) -> None:
    ines = await acme.user("ines@acme-research.example")
    path, version = f"/Users/{ines['id']}", ines["meta"]["version"]
    body = {"schemas": [USER], "userName": "ines@acme-research.example", "displayName": "Ines"}
    answer = await acme.ask("PUT", path, body, If_Match=version)
    assert (answer.status_code, answer.headers["etag"]) == (200, answer.json()["meta"]["version"])
    await acme.refused("PUT", path, 412, body | {"displayName": "Other"}, If_Match=version)
    await acme.refused("DELETE", path, 412, If_Match=version)
    same = [acme.ask("PUT", path, body | {"displayName": f"Ines {number}"}) for number in range(5)]
    assert {answer.status_code for answer in await asyncio.gather(*same)} <= {200, 412}


async def test_people_are_found_by_name_by_filter_and_page_by_page(iam: Iam) -> None:
    tenant = await tenant_of(iam, "paged")
    for number in range(7):
        await tenant.user(f"user-{number}@example.com", externalId=f"x-{number}")

    async def found(query: str) -> tuple[int, list[str]]:
        told = await tenant.done("GET", f"/Users?{query}")
        return told["totalResults"], [each["userName"] for each in told.get("Resources", [])]

    assert await found('filter=userName eq "USER-3@example.COM"') == (1, ["user-3@example.com"])
    assert await found('filter=userName eq "nobody"') == (0, [])
    assert await found('filter=externalId eq "x-4" or userName sw "user-5"') == (
        2,
        ["user-4@example.com", "user-5@example.com"],
    )
    pages = [await found(f"startIndex={begin}&count=3") for begin in (1, 4, 7)]
    assert [total for total, _ in pages] == [7, 7, 7]
    assert len({name for _, names in pages for name in names}) == 7
    assert await found("count=0") == (7, [])
    for odd in ('filter=userName eq "', "filter=password eq 1", "startIndex=x"):
        await tenant.refused("GET", f"/Users?{odd}", 400)


@pytest.mark.parametrize(
    "name", ["MIRA.T@example.com", "mira.t@EXAMPLE.com", "\uff4dira.t@example.com", "mira.t@e\u0301xample.com"]
)
async def test_a_user_name_is_one_persons_in_whatever_case_and_form(acme: Tenant, name: str) -> None:
    if name.startswith("MIRA"):
        await acme.user("mira.t@example.com")
        await acme.user("mira.t@\u00e9xample.com")
    told = await acme.refused("POST", "/Users", 409, {"schemas": [USER], "userName": name})
    assert told["scimType"] == "uniqueness"


async def test_one_tenants_directory_is_closed_to_anothers(acme: Tenant) -> None:
    other = await tenant_of(acme.iam, "umbrella")
    theirs = await other.user("mira@acme-research.example")
    group = await other.done("POST", "/Groups", {"schemas": [GROUP], "displayName": "Hive"}, 201)
    for path in (f"/Users/{theirs['id']}", f"/Groups/{group['id']}"):
        await acme.refused("GET", path, 404)
        await acme.refused("DELETE", path, 404)
    members = {"schemas": [GROUP], "displayName": "Thieves", "members": [{"value": theirs["id"]}]}
    await acme.refused("POST", "/Groups", 400, members)
    intruder = Tenant(acme.iam, "umbrella", acme.key)
    told = await intruder.refused("GET", "/Users", 404)
    never = await Tenant(acme.iam, "never-was", acme.key).refused("GET", "/Users", 404)
    assert (told["detail"], "decision_id" in told) == (never["detail"], True)


async def test_a_person_who_was_here_before_is_no_directorys(acme: Tenant) -> None:
    body = {"email": "old@acme-research.example", "display_name": "Old"}
    old = str((await acme.iam.done("POST", "/v1/users", json=body))["id"])
    new = await acme.user("old@acme-research.example")
    assert new["id"] != old
    await acme.refused("DELETE", f"/Users/{old}", 404)


async def test_a_directory_without_a_right_key_learns_nothing(acme: Tenant) -> None:
    for key in ("x", "gpk_", acme.key[:-1] + ("0" if acme.key[-1] != "0" else "1"), "a.b.c"):
        told = await Tenant(acme.iam, "acme", key).refused("GET", "/Users", 401)
        assert "acme" not in told["detail"]
    home = "/v1/tenants/acme"
    account = await acme.iam.account(home)
    weak = Tenant(acme.iam, "acme", str((await acme.iam.key(home, account))["api_key"]))
    await weak.refused("GET", "/Users", 404)
    bound = await acme.iam.bind(home, account, "viewer")
    assert bound.status_code == 201
    await weak.refused("POST", "/Users", 403, {"schemas": [USER], "userName": "x@example.com"})
    made = await acme.iam.key(home, account)
    await acme.iam.done(
        "POST", f"{home}/service-accounts/{account}/keys/{made['id']}/revoke", json={"reason": "leaked"}
    )
    await Tenant(acme.iam, "acme", made["api_key"]).refused("GET", "/Users", 401)


@pytest.mark.parametrize(
    "body",
    [
        b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a@example.com","userName":"root"}',
        b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"]}',
        b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":""}',
        b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":{"a":1}}',
        b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a\\u0000b"}',
        b'{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"a\\ud800"}',
        b'{"schemas":["urn:x"],"userName":"x"}',
        b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b"[]",
        b"",
        b"\xff",
    ],
)
async def test_an_odd_body_is_refused_in_scims_own_words(acme: Tenant, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {acme.key}", "Content-Type": "application/scim+json"}
    answer = await acme.iam.client.post(f"{acme.base}/Users", content=body, headers=headers)
    assert (answer.status_code, answer.json()["schemas"]) == (400, [ERROR])


async def test_what_a_directory_says_of_people_is_in_the_log_sealed_and_with_its_source(acme: Tenant) -> None:
    vera = await acme.user("vera-unseen@example.com", name={"formatted": "Vera Unseen"})
    events = [each for each in await said(acme.iam) if each.type.endswith("directory-user-described.v1")]
    mine = next(each for each in events if vera["id"].encode() in each.payload)
    assert (b"nseen" in b"".join(each.payload for each in events), b'"source_id"' in mine.payload) == (False, True)
