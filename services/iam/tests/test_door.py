"""iam through its door, on a real broker and database."""

from __future__ import annotations

import asyncio
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gpuaas.common.apikeys import ApiKey, new_api_key
from gpuaas.common.embedded.process import free_port
from gpuaas.common.envelope import Recorded
from gpuaas.common.errors import Misconfigured
from gpuaas.common.http import permissions
from gpuaas.common.projections import Projector, digest
from gpuaas.common.testing.running import running
from gpuaas.contracts import iam as facts
from gpuaas.iam.app import build
from gpuaas.iam.bootstrap import Bootstrap
from gpuaas.iam.domain.built_in_roles import BUILT_IN
from gpuaas.iam.parts import PROJECTIONS
from gpuaas.iam.settings import IamSettings
from iam_door import Iam, in_days, is_problem
from jwt.algorithms import OKPAlgorithm

ACME = "/v1/tenants/acme"
VISION = ACME + "/projects/vision"


async def everything_said(iam: Iam) -> list[Recorded]:
    """Every event of the log."""
    last = await iam.service.log.last_position()
    events = [await iam.service.log.at(position) for position in range(1, last + 1)]
    return [event for event in events if event is not None]


async def test_the_first_operator_signs_in_and_holds_everything(iam: Iam) -> None:
    me = await iam.done("GET", "/v1/me")
    assert me["principal"] == {"kind": "service-account", "id": "operator", "tenant_id": "platform"}
    assert {binding["role"] for binding in me["bindings"]} == {"operator", "security-admin"}


async def test_the_main_path_from_tenant_to_token(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    robot = await iam.account(VISION)
    assert (await iam.bind(VISION, robot, "member")).status_code == 201
    key = await iam.key(VISION, robot)
    token = await iam.sign_in(key["api_key"])
    me = await iam.done("GET", "/v1/me", token)
    assert me["principal"] == {"kind": "service-account", "id": robot, "tenant_id": "acme"}
    assert [binding["scope"] for binding in me["bindings"]] == [{"tenant_id": "acme", "project_id": "vision"}]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == "gpuaas:dev"
    assert claims["exp"] - claims["iat"] == 300
    assert claims["floor"] >= key["position"]


async def test_published_keys_check_the_tokens(iam: Iam) -> None:
    token = await iam.operator()
    [published] = (await iam.client.get("/v1/keys.json")).json()["keys"]
    public = OKPAlgorithm.from_jwk(json.dumps(published))
    assert isinstance(public, Ed25519PublicKey)
    assert jwt.get_unverified_header(token)["kid"] == published["kid"]
    assert jwt.decode(token, public, algorithms=["EdDSA"], audience="gpuaas:dev")["sub"] == "operator"
    assert "d" not in published


async def test_a_wrong_key_and_an_unknown_key_get_one_answer(iam: Iam) -> None:
    answers = []
    for key in (
        new_api_key("dev", iam.first_key.key_id),
        new_api_key("dev", "never-was"),
        new_api_key("production", iam.first_key.key_id),
    ):
        answer = await iam.client.post("/v1/tokens", json={"api_key": key.text})
        answers.append(is_problem(answer, 401)["detail"])
    assert len(set(answers)) == 1
    mistyped = iam.first_key.text[:-1] + ("0" if iam.first_key.text[-1] != "0" else "1")
    answer = await iam.client.post("/v1/tokens", json={"api_key": mistyped})
    assert "checksum" in str(is_problem(answer, 401)["detail"])


async def test_failures_are_limited_and_a_right_key_is_never_locked_out(iam: Iam) -> None:
    answers = [
        await iam.client.post("/v1/tokens", json={"api_key": new_api_key("dev", "guess").text}) for _ in range(40)
    ]
    late = [answer for answer in answers if answer.status_code == 429]
    assert late
    assert late[0].headers["retry-after"]
    assert await iam.sign_in(iam.first_key.text)


async def test_a_revoked_key_ends_its_tokens_and_gives_no_new_ones(iam: Iam) -> None:
    await iam.tenant("acme")
    robot = await iam.account(ACME)
    await iam.bind(ACME, robot, "viewer")
    key = await iam.key(ACME, robot)
    token = await iam.sign_in(key["api_key"])
    assert (await iam.ask("GET", ACME, token)).status_code == 200
    await iam.done("POST", f"{ACME}/service-accounts/{robot}/keys/{key['id']}/revoke", json={"reason": "leaked"})
    is_problem(await iam.ask("GET", ACME, token), 401)
    is_problem(await iam.client.post("/v1/tokens", json={"api_key": key["api_key"]}), 401)


async def test_an_ended_binding_ends_the_right_at_once(iam: Iam) -> None:
    await iam.tenant("acme")
    robot = await iam.account(ACME)
    binding = (await iam.bind(ACME, robot, "viewer")).json()["id"]
    token = await iam.sign_in((await iam.key(ACME, robot))["api_key"])
    assert (await iam.ask("GET", ACME, token)).status_code == 200
    await iam.done("POST", f"{ACME}/bindings/{binding}/end", json={"reason": "left"})
    is_problem(await iam.ask("GET", ACME, token), 404)


async def test_a_secret_is_shown_once_and_kept_nowhere(iam: Iam) -> None:
    await iam.tenant("acme")
    robot = await iam.account(ACME)
    path = f"{ACME}/service-accounts/{robot}/keys"
    body = {"label": "once", "expires_at": in_days(366)}
    first = await iam.ask("POST", path, json=body, headers={"Idempotency-Key": "k"})
    again = await iam.ask("POST", path, json=body, headers={"Idempotency-Key": "k"})
    assert first.headers["cache-control"] == "no-store"
    assert again.json() == first.json() | {"api_key": None, "repeated": True}
    listed = await iam.done("GET", path)
    assert [item["key_id"] for item in listed["items"]] == [first.json()["id"]]
    secret = first.json()["api_key"].split("_")[3]
    assert secret not in json.dumps(listed)
    assert "secret_sha256" not in json.dumps(listed)
    assert all(secret.encode() not in recorded.payload for recorded in await everything_said(iam))


async def test_a_key_always_ends(iam: Iam) -> None:
    await iam.tenant("acme")
    robot = await iam.account(ACME)
    keys = f"{ACME}/service-accounts/{robot}/keys"
    for days in (-1, 0, 367):
        is_problem(await iam.ask("POST", keys, json={"label": "x", "expires_at": in_days(days)}), 422)
    is_problem(await iam.ask("POST", keys, json={"label": "x", "expires_at": "2099-01-01T00:00:00"}), 422)
    is_problem(await iam.ask("POST", keys, json={"label": "x"}), 422)


async def test_nobody_grants_more_than_they_hold(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    _, admin = await iam.somebody(ACME, "tenant-admin")
    robot = await iam.account(ACME, admin)
    assert (await iam.bind(ACME, robot, "project-admin", admin)).status_code == 201
    assert (await iam.bind(VISION, robot, "tenant-admin", admin)).status_code == 201
    told = is_problem(await iam.bind(ACME, robot, "operator", admin), 403)
    assert "nodes.*.*" in told["missing_permissions"]
    is_problem(await iam.bind(ACME, robot, "auditor", admin), 403)
    is_problem(await iam.bind("/v1", robot, "viewer", admin), 403)
    _, project_admin = await iam.somebody(VISION, "project-admin")
    is_problem(await iam.bind(VISION, robot, "tenant-admin", project_admin), 403)
    is_problem(await iam.bind(ACME, robot, "viewer", project_admin), 403)


async def test_nobody_lends_a_key_to_more_than_they_hold(iam: Iam) -> None:
    _, security = await iam.somebody("/v1", "security-admin")
    strong = await iam.account("/v1")
    assert (await iam.bind("/v1", strong, "operator")).status_code == 201
    told = is_problem(
        await iam.ask(
            "POST",
            f"/v1/service-accounts/{strong}/keys",
            security,
            json={"label": "x", "expires_at": in_days(1)},
        ),
        403,
    )
    assert "nodes.*.*" in told["missing_permissions"]


async def test_nobody_defines_a_role_beyond_their_own(iam: Iam) -> None:
    _, security = await iam.somebody("/v1", "security-admin")
    wide = {"description": "too much", "permissions": ["nodes.*.*"]}
    is_problem(await iam.ask("PUT", "/v1/roles/wide", security, json=wide), 403)
    narrow = {"description": "reads keys", "permissions": ["iam.key.read"]}
    first = await iam.done("PUT", "/v1/roles/key-reader", security, json=narrow)
    same = await iam.done("PUT", "/v1/roles/key-reader", security, json=narrow)
    assert same["position"] == first["position"]
    is_problem(await iam.ask("PUT", "/v1/roles/operator", json=narrow), 409)
    roles = await iam.done("GET", "/v1/roles?limit=500")
    assert {role["role"] for role in roles["items"]} == {*BUILT_IN, "key-reader"}


async def test_an_account_holds_no_role_in_another_tenant(iam: Iam) -> None:
    await iam.tenant("acme")
    await iam.tenant("rival")
    robot = await iam.account(ACME)
    is_problem(await iam.bind("/v1/tenants/rival", robot, "viewer"), 404)
    is_problem(await iam.bind("/v1", robot, "viewer"), 404)


async def test_people_are_known_on_the_platform_and_bound_where_they_work(iam: Iam) -> None:
    await iam.tenant("acme")
    mira = (
        await iam.done("POST", "/v1/users", json={"email": "mira@example.com", "display_name": " Mira Lindqvist "})
    )["id"]
    bound = await iam.bind(ACME, mira, "tenant-admin", principal_kind="user")
    assert bound.status_code == 201
    key = await iam.done("POST", f"/v1/users/{mira}/keys", json={"label": "laptop", "expires_at": in_days(7)})
    token = await iam.sign_in(key["api_key"])
    assert [t["tenant_id"] for t in (await iam.done("GET", "/v1/tenants", token))["items"]] == ["acme"]
    listed = await iam.done("GET", "/v1/users")
    assert [(item["email"], item["display_name"]) for item in listed["items"]] == [
        ("mira@example.com", "Mira Lindqvist")
    ]
    is_problem(await iam.ask("GET", "/v1/users", token), 403)


async def test_lists_show_exactly_what_their_caller_may_read(iam: Iam) -> None:
    await iam.tenant("acme", "vision", "speech")
    await iam.tenant("rival", "secret")
    _, viewer = await iam.somebody(VISION, "viewer")
    assert (await iam.done("GET", "/v1/tenants", viewer))["items"] == []
    assert [p["project_id"] for p in (await iam.done("GET", ACME + "/projects", viewer))["items"]] == ["vision"]
    is_problem(await iam.ask("GET", "/v1/tenants/rival/projects", viewer), 404)
    is_problem(await iam.ask("GET", "/v1/tenants/nobody/projects", viewer), 404)
    everything = await iam.done("GET", "/v1/tenants?limit=1")
    rest = await iam.done("GET", f"/v1/tenants?limit=1&cursor={everything['next_cursor']}")
    assert [page["items"][0]["tenant_id"] for page in (everything, rest)] == ["acme", "rival"]
    assert rest["next_cursor"] is None


async def test_a_decision_is_explained_to_whom_it_concerns(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    await iam.tenant("rival")
    robot, token = await iam.somebody(ACME, "viewer")
    question = {"permission": "allocations.allocation.request", "tenant_id": "acme", "project_id": "vision"}
    own = await iam.done("POST", "/v1/check", token, json=question)
    assert not own["allowed"]
    assert "member" in own["sufficient_roles"]
    foreign = await iam.done("POST", "/v1/check", token, json=question | {"tenant_id": "rival", "project_id": None})
    unknown = await iam.done("POST", "/v1/check", token, json=question | {"tenant_id": "nobody", "project_id": None})
    assert foreign["reason"] == unknown["reason"]
    assert foreign["sufficient_roles"] == unknown["sufficient_roles"] == []
    about = question | {"principal_kind": "service-account", "principal_id": robot}
    assert (await iam.done("POST", "/v1/check", json=about))["principal"]["id"] == robot
    _, other = await iam.somebody(ACME, "viewer")
    is_problem(await iam.ask("POST", "/v1/check", other, json=about), 403)
    is_problem(await iam.ask("POST", "/v1/check", token, json={"permission": "read"}), 422)
    orphan = {"permission": "a.b.read", "project_id": "vision"}
    is_problem(await iam.ask("POST", "/v1/check", token, json=orphan), 422)


async def test_a_tenant_with_a_bad_name_is_refused_and_nothing_is_said(iam: Iam) -> None:
    await iam.operator()
    before = await iam.service.log.last_position()
    good = {"tenant_id": "acme", "display_name": "Acme", "billing_currency": "EUR"}
    look_alike = "acm\u0435"  # ends in a Cyrillic letter
    for wrong in (
        *({"tenant_id": name} for name in ("platform", "Acme", look_alike, "a.b", "*", ">", "", "-a", "a" * 64)),
        *({"display_name": name} for name in ("", " ", "x\u202ey", "x\u0000y", "x" * 201)),
        *({"billing_currency": code} for code in ("XXX", "eur", "")),
        {"owner": "nobody"},
    ):
        is_problem(await iam.ask("POST", "/v1/tenants", json=good | wrong), 422)
    assert await iam.service.log.last_position() == before


async def test_a_tenants_id_is_taken_once(iam: Iam) -> None:
    await iam.tenant("acme")
    body = {"tenant_id": "acme", "display_name": "Another", "billing_currency": "USD"}
    is_problem(await iam.ask("POST", "/v1/tenants", json=body), 409)


async def test_a_second_start_says_nothing_new(iam: Iam, settings: tuple[IamSettings, ApiKey]) -> None:
    before = await iam.service.log.last_position()
    service = build(settings[0].model_copy(update={"http_port": 0}))
    await service.broker.start()
    work = service._prepared[0]
    await work()
    assert await iam.service.log.last_position() == before
    other = settings[0].model_copy(update={"iam_bootstrap_key_sha256": "1" * 64})
    bootstrap: Bootstrap = work.__self__  # type: ignore[attr-defined]
    with pytest.raises(Misconfigured, match="GPUAAS_IAM_BOOTSTRAP_KEY_ID"):
        await Bootstrap(bootstrap.commands, bootstrap.signer, bootstrap.clock, other).run()
    await service.broker.stop()


async def test_a_revoked_first_key_stays_revoked_over_a_restart(iam: Iam, settings: tuple[IamSettings, ApiKey]) -> None:
    path = f"/v1/service-accounts/operator/keys/{iam.first_key.key_id}/revoke"
    await iam.done("POST", path, json={"reason": "handed over"})
    again = build(settings[0].model_copy(update={"http_port": free_port()}))
    async with running(again) as client:
        is_problem(await client.post("/v1/tokens", json={"api_key": iam.first_key.text}), 401)


async def test_every_view_rebuilds_to_the_same_bytes(iam: Iam) -> None:
    await iam.tenant("acme", "vision")
    robot, _ = await iam.somebody(ACME, "viewer")
    binding = (await iam.bind(VISION, robot, "member")).json()["id"]
    await iam.done("POST", f"{ACME}/bindings/{binding}/end", json={"reason": "over"})
    key = await iam.key(ACME, robot)
    await iam.done("POST", f"{ACME}/service-accounts/{robot}/keys/{key['id']}/revoke", json={"reason": "over"})
    await iam.done("POST", "/v1/users", json={"email": "mira@example.com", "display_name": "Mira"})
    last = await iam.service.log.last_position()
    for projection in PROJECTIONS:
        reader = iam.service.reader(projection)
        assert isinstance(reader, Projector)
        await reader.reached(last, 5)
        before = await digest(iam.service.database, projection)
        async with asyncio.timeout(60):
            await reader.rebuild()
        assert await digest(iam.service.database, projection) == before, projection.name


async def test_every_route_says_who_may(iam: Iam) -> None:
    routes = permissions(iam.service.app)
    assert {path for path, permission in routes.items() if permission is None} == {
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        "GET /v1/keys.json",
        "POST /v1/tokens",
        "POST /v1/sessions",
        "POST /v1/passwords",
        "GET /v1/oauth/authorize",
        "GET /v1/oauth/callback/{provider_id}",
        "GET /v1/sign-in-options",
        "POST /v1/oauth/device",
        "POST /v1/oauth/token",
        "POST /v1/oauth/exchange",
        "GET /v1/device",
        "POST /v1/device/sign-in",
        "POST /v1/device/answer",
        "GET /v1/device/providers/{provider_id}",
    }
    document = (await iam.client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["x-permission"], f"{method} {path}"
            named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}, f"{method} {path}"


async def test_the_log_holds_only_iams_own_words(iam: Iam) -> None:
    await iam.tenant("acme")
    known = {event.TYPE for event in facts.EVENTS}
    for recorded in await everything_said(iam):
        assert recorded.type in known
        assert recorded.subject.startswith("events.iam.")
