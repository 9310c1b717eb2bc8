"""A decision explained by its id. One law: the answer is the one that was given, on the rights of then."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from gpuaas.common.decisions import Asked
from gpuaas.common.scopes import Scope
from gpuaas.common.testing.stack import TestStack
from iam_door import Iam, is_problem, started

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACME, RIVAL = "/v1/tenants/acme", "/v1/tenants/rival"
NOW = datetime(2026, 8, 3, 9, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def iam(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path_factory.mktemp("iam")) as running_iam:
        await running_iam.tenant("acme", "vision")
        await running_iam.tenant("rival")
        yield running_iam


async def why(iam: Iam, decision_id: str, token: str) -> dict[str, Any]:
    return await iam.done("GET", f"/v1/decisions/{decision_id}", token)


async def test_a_denial_says_afterwards_why_and_what_would_suffice(iam: Iam) -> None:
    robot, token = await iam.somebody(ACME, "viewer")
    body = {"project_id": "speech", "display_name": "Speech"}
    denied = is_problem(await iam.ask("POST", f"{ACME}/projects", token, json=body), 403)
    told = await why(iam, denied["decision_id"], token)
    assert (told["allowed"], told["reason"]) == (False, denied["detail"])
    assert told["sufficient_roles"] == denied["sufficient_roles"]
    assert told["principal"] == {"kind": "service-account", "id": robot}
    [reason] = told["reasons"]
    assert (reason["role"], reason["counts"]) == ("viewer", False)
    assert told["who_may_grant"] == [], "a viewer does not read who else is there"
    granters = (await why(iam, denied["decision_id"], await iam.operator()))["who_may_grant"]
    assert {"kind": "service-account", "id": "operator"} in granters


async def test_it_stays_what_it_was_when_rights_change(iam: Iam) -> None:
    robot, token = await iam.somebody(ACME, "viewer")
    body = {"project_id": "early", "display_name": "Early"}
    denied = is_problem(await iam.ask("POST", f"{ACME}/projects", token, json=body), 403)
    assert (await iam.bind(ACME, robot, "tenant-admin")).status_code == 201
    told = await why(iam, denied["decision_id"], token)
    assert (told["allowed"], told["allowed_now"]) == (False, True)
    assert told["position"] == denied["position"]
    assert [each["role"] for each in told["reasons"]] == ["viewer"]


async def test_nobody_learns_of_others_decisions_or_hidden_places(iam: Iam) -> None:
    _, token = await iam.somebody(ACME, "viewer")
    _, stranger = await iam.somebody(RIVAL, "tenant-admin")
    body = {"project_id": "speech", "display_name": "Speech"}
    denied = is_problem(await iam.ask("POST", f"{ACME}/projects", token, json=body), 403)
    is_problem(await iam.ask("GET", f"/v1/decisions/{denied['decision_id']}", stranger), 404)
    answers = []
    for tenant in ("acme", "never-was"):
        hidden = is_problem(await iam.ask("GET", f"/v1/tenants/{tenant}", stranger), 404)
        told = await why(iam, hidden["decision_id"], stranger)
        answers.append({name: told[name] for name in ("allowed", "reason", "reasons", "who_may_grant", "allowed_now")})
    assert answers[0] == answers[1]
    assert answers[0]["reasons"] == []


def _id(*said: Any) -> str:
    return "d1." + base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "odd",
    [
        "d1.",
        "d1.AAAA",
        "d2.AAAA",
        "some-thing",
        _id("user"),
        _id("group", "g", "iam.tenant.read", None, None, 1, 1),
        _id("user", "u", "nonsense", None, None, 1, 1),
        _id("user", "u", "iam.tenant.read", None, "vision", 1, 1),
        _id("user", "u", "iam.tenant.read", "acme", None, 10**15, 1),
        _id("user", "u", "iam.tenant.read", "acme", None, 1, 10**30),
        _id("service-account", "operator", "iam.tenant.read", "acme", None, True, -1),
    ],
)
async def test_an_odd_id_is_of_no_decision(iam: Iam, odd: str) -> None:
    is_problem(await iam.ask("GET", f"/v1/decisions/{odd}"), 404)


async def test_an_id_holds_its_question(iam: Iam) -> None:
    _, token = await iam.somebody(ACME, "viewer")
    body = {"project_id": "speech", "display_name": "Speech"}
    denied = is_problem(await iam.ask("POST", f"{ACME}/projects", token, json=body), 403)
    asked = Asked.read(denied["decision_id"])
    assert (asked.permission, asked.scope.tenant_id, str(asked)) == (
        "iam.project.create",
        "acme",
        denied["decision_id"],
    )


async def test_who_was_not_believed_gets_a_decision_that_anybody_may_read(iam: Iam) -> None:
    _, token = await iam.somebody(ACME, "viewer")
    for headers, cause in (({}, "no-credential"), ({"Authorization": "Bearer x.y.z"}, "not-valid")):
        refused = is_problem(await iam.client.get(ACME, headers=headers), 401)
        assert refused["cause"] == cause
        told = await why(iam, refused["decision_id"], token)
        assert (told["allowed"], told["principal"], told["allowed_now"]) == (False, None, None)
        assert "token" in told["suffices"]


async def test_what_may_not_be_handed_on_is_explained_by_name(iam: Iam) -> None:
    account, token = await iam.somebody(ACME, "project-admin")
    refused = is_problem(await iam.bind(ACME, account, "tenant-admin", token), 403)
    told = await why(iam, refused["decision_id"], token)
    assert not told["allowed"]
    assert told["suffices"] == "somebody who holds it all themselves"
    assert [each["permission"] for each in told["beyond"]] == refused["missing_permissions"][:3]
    assert all(not each["held_in_scope"] for each in told["beyond"])
    assert "tenant-admin" in told["beyond"][0]["sufficient_roles"]
    forged = Asked(("service-account", account), "iam.binding.create", Scope("acme"), 3, NOW, ("not a glob",))
    is_problem(await iam.ask("GET", f"/v1/decisions/{forged}", token), 404)


async def test_refusals_and_visits_from_above_stand_in_the_tenants_trail_and_strangers_in_the_platforms(
    iam: Iam,
) -> None:
    account, token = await iam.somebody(ACME, "viewer")
    body = {"project_id": "late", "display_name": "Late"}
    refused = is_problem(await iam.ask("POST", f"{ACME}/projects", token, json=body), 403)
    is_problem(await iam.client.get(f"{ACME}/bindings"), 401)
    is_problem(await iam.ask("GET", f"{RIVAL}/bindings", token), 404)
    await iam.done("GET", f"{ACME}/bindings")
    await iam.service.accesses.tell()
    acme, rival, platform = [await told_in(iam, trail) for trail in ("acme", "rival", "platform")]
    mine = [row for event in acme["refusals"] for row in event if row.get("principal_id") == account]
    assert {row["why"] for row in mine} == {"no-right", "nothing-there"}
    assert refused["decision_id"] in {row["decision_id"] for row in mine}
    assert "iam.binding.read" in {use["permission"] for event in acme["uses"] for use in event}
    assert all(row.get("principal_id") != account for event in rival["refusals"] for row in event)
    assert "no-credential" in {row["why"] for event in platform["refusals"] for row in event}


async def told_in(iam: Iam, trail: str) -> dict[str, list[list[dict[str, Any]]]]:
    """The rows of every event about accesses in one trail, oldest first."""
    found: dict[str, list[list[dict[str, Any]]]] = {"refusals": [], "uses": []}
    for position in range(1, await iam.service.log.last_position() + 1):
        recorded = await iam.service.log.at(position)
        if recorded is not None and recorded.subject.startswith(f"events.iam.access.{trail}."):
            data = json.loads(bytes(recorded.envelope().data))
            for kind in found.keys() & data.keys():
                found[kind].append(data[kind])
    return found
