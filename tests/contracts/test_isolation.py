"""Every route of every service, asked by everybody. One law: who may not, learns nothing and changes nothing.

The routes come from the running services and the answers from `isolation_callers`; nothing is listed by hand. All
services run in this process on one log.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.http import lists_in_part, permissions
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import ReservationMade
from gpuaas.contracts.billing import InvoiceFinalized
from gpuaas.contracts.iam import TokenExchanged
from gpuaas.contracts.nodes import MaintenanceScheduled

from tests.contracts.isolation_callers import OPEN, Caller, Headers, callers
from tests.contracts.plausible import BY_NAME, plausible
from tests.contracts.whole_suite import Suite, whole_suite

pytestmark = pytest.mark.asyncio(loop_scope="module")

OCTETS = b"an artefact"
DIGEST = hashlib.sha256(OCTETS).hexdigest()
IDS = {"tenant_id": "acme", "project_id": "vision", "sha256": DIGEST, "subject_sha256": DIGEST, "path": "0/000"}
FAR = {"GPUaaS-At-Least": str(10**15)}
_TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas/events"
PLACE = re.compile(r"\{([a-z0-9_]+)(?::path)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One route of one service, and a plausible request to it. `permission` None: public."""

    service: str
    method: str
    path: str
    permission: str | None
    body: Any
    query: dict[str, Any]
    in_part: bool = False

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path}"

    @property
    def level(self) -> str:
        names = set(PLACE.findall(self.path))
        return "project" if "project_id" in names else "tenant" if "tenant_id" in names else "platform"

    def at(self, **ids: str) -> str:
        """The path with every parameter filled in."""
        return PLACE.sub(lambda name: (IDS | ids).get(name[1], "some-thing"), self.path)


@dataclass(frozen=True, slots=True)
class World:
    suite: Suite
    callers: list[Caller]
    routes: list[Route]

    async def ask(self, route: Route, headers: Headers, path: str | None = None) -> httpx.Response:
        client = self.suite.clients[route.service]
        given: dict[str, Any] = {"json": route.body} if route.body is not None else {}
        if route.method == "PUT" and route.body is None:
            given = {"content": OCTETS}
        return await client.request(
            route.method, path or route.at(), headers=dict(headers), params=route.query, **given
        )

    def closed(self) -> Iterator[tuple[Route, Caller, int]]:
        """Every pair that is to be refused, with the status."""
        kinds: set[tuple[str, bool]] = set()
        for route in self.routes:
            if route.permission is None:
                continue
            kind = route.service, route.permission == "signed-in"
            for caller in self.callers:
                expected = caller.expects(route.permission, route.level, route.in_part)
                if expected is not OPEN and (caller.everywhere or kind not in kinds):
                    yield route, caller, expected
            kinds.add(kind)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with whole_suite(stack, tmp_path_factory.mktemp("suite"), requests_per_s=100_000) as suite:
        everybody = await callers(suite.log)
        said = await suite.log.last_position()

        async def everybody_is_known() -> bool:
            return all(service.access.position >= said - 1 for service in suite.services.values())

        await eventually(everybody_is_known)
        yield World(suite, everybody, list(_routes(suite)))


_RULES: Final = json.loads(files("gpuaas.nodes.domain").joinpath("fault_rules.v1.json").read_text("utf-8"))
_AGREED = {"effective_from": _TOMORROW, "rules": [{"percent_off": "5"}], "reason": "for a test"}
_BUDGET = {"budget_id": "theirs", "amount": "10.00", "thresholds": [{"percent": 100}]}
_TRUSTED = {"issuer": "gpuaas", "subject_pattern": "tenant:umbrella:*", "reason": "for a test"}
MEANT: Final[dict[str, dict[str, Any]]] = {
    "/v1/waivers": {"expires_at": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%S.%fZ}"},
    "/v1/nodes/{node_id}/faults": {"xid": 79},
    "/v1/fault-rules": {name: _RULES[name] for name in ("version", "classes", "attempts", "xid")},
    "/v1/tenants/{tenant_id}/projects/{project_id}/reservations": {
        "starts_at": _TOMORROW,
        "ends_at": (datetime.now(UTC) + timedelta(days=2)).isoformat(),
    },
    "/v1/meters": {"effective_from": "2099-01-01T00:00:00Z"},
    "/v1/tenants/{tenant_id}/price-agreements": {"rules": _AGREED["rules"]},
    "/v1/price-campaigns": {"rules": _AGREED["rules"]},
    "/v1/tenants/{tenant_id}/projects/{project_id}/usage-reports": {
        "reports": [
            {
                "meter_id": "some-thing",
                "source": "some-thing",
                "source_event_id": "some-thing",
                "used_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
                "value": "1",
            }
        ],
    },
    "/v1/fault-rules/replays": {name: _RULES[name] for name in ("version", "classes", "attempts", "xid")},
}
"""Path → fields that make its body mean something, where the schema alone does not say so."""


def _routes(suite: Suite) -> Iterator[Route]:
    for name, service in suite.services.items():
        document, partly = suite.documents[name], lists_in_part(service.app)
        for key, permission in permissions(service.app).items():
            method, path = key.split(" ", 1)
            operation = document["paths"].get(path.replace(":path", ""), {}).get(method.lower(), {})
            contents = operation.get("requestBody", {}).get("content", {})
            schema = contents.get("application/json", {}).get("schema")
            needed = [each for each in operation.get("parameters", ()) if each["in"] == "query" and each["required"]]
            yield Route(
                service=name,
                method=method,
                path=path,
                permission=permission,
                in_part=key in partly,
                body=None if schema is None else plausible(document, schema) | MEANT.get(path, {}),
                query={
                    each["name"]: BY_NAME.get(each["name"]) or plausible(document, each["schema"]) for each in needed
                },
            )


def refusal_of(path: str) -> str:
    """The media type of a refusal there."""
    return "application/scim+json" if "/scim/" in path else "application/problem+json"


def told(answer: httpx.Response) -> tuple[int, Any]:
    """What an answer says, but for the id of the decision, which is new each time."""
    said = answer.json() if answer.content else None
    if isinstance(said, dict):
        said.pop("decision_id", None)
    return answer.status_code, said


async def test_whoever_may_not_is_refused_by_the_table_on_every_route(world: World) -> None:
    before = await world.suite.log.last_position()
    wrong, asked = [], 0
    for route, caller, expected in world.closed():
        answer = await world.ask(route, caller.headers)
        asked += 1
        if answer.status_code != expected or answer.headers["content-type"] != refusal_of(route.path):
            wrong.append(f"{route} by {caller.name}: {expected} wanted, {answer.status_code} {answer.text[:200]}")
    assert wrong == []
    assert asked > 1_000
    await _nobody_else_spoke(world, before)


async def _nobody_else_spoke(world: World, before: int) -> None:
    """What the log has got since then, it got from the services themselves."""
    actors = set()
    for position in range(before + 1, await world.suite.log.last_position() + 1):
        recorded = await world.suite.log.at(position)
        assert recorded is not None
        actors.add((recorded.envelope().actorkind, recorded.type))
    assert {kind for kind, _ in actors} <= {"service"}, actors


async def test_a_request_that_is_wrong_itself_opens_no_door(world: World) -> None:
    """A body of the wrong shape, a position far ahead, odd ids: nothing is said about them to who may not ask."""
    wrong = []
    some = {"anonymous", "an expired token", "another tenant's admin", "a member without the permission"}
    for route, caller, expected in world.closed():
        # Who is signed in and asks about themselves may be told that they ask wrongly.
        if caller.name not in some or (route.permission == "signed-in" and expected != 401):
            continue
        odd = replace(route, body=None if route.body is None else {"no": ["such"]}, query={"limit": "0"})
        path = route.at(**{name: "Not%20A.Name" for name in PLACE.findall(route.path) if name not in IDS})
        answer = await world.ask(odd, {**caller.headers, **FAR}, path)
        if answer.status_code != expected:
            wrong.append(f"{route} by {caller.name}: {expected} wanted, {answer.status_code} {answer.text[:200]}")
    assert wrong == []


async def test_a_foreign_tenant_and_none_at_all_are_told_apart_by_nothing(world: World) -> None:
    foreigners = [caller for caller in world.callers if caller.told["project"] == 404]
    assert len(foreigners) == 3
    wrong = []
    for route in world.routes:
        if route.level == "platform" or route.permission is None:
            continue
        for caller in foreigners:
            places = [("acme", "vision"), ("acme", "no-project"), ("no-tenant", "vision"), ("platform", "vision")]
            answers = [
                await world.ask(route, caller.headers, route.at(tenant_id=tenant, project_id=project))
                for tenant, project in places
            ]
            names = {frozenset(answer.headers) for answer in answers}
            if any(told(answer) != told(answers[0]) for answer in answers) or len(names) > 1:
                wrong.append(f"{route} by {caller.name}: {[answer.text[:150] for answer in answers]}")
    assert wrong == []


WITH_PROOF: Final = {
    "/v1/tokens",
    "/v1/sessions",
    "/v1/passwords",
    "/v1/oauth/authorize",
    "/v1/oauth/callback/{provider_id}",
    "/v1/device",
    "/v1/device/sign-in",
    "/v1/device/answer",
    "/v1/device/providers/{provider_id}",
    "/v1/oauth/device",
    "/v1/oauth/exchange",
    "/v1/oauth/token",
}
"""Open to everyone who brings a secret of their own instead of a token."""


async def test_public_routes_answer_everybody_alike(world: World) -> None:
    public = [route for route in world.routes if route.permission is None and route.path not in WITH_PROOF]
    assert len(public) >= 3 * len(world.suite.services)
    some = {"anonymous", "garbage", "another tenant's admin", "the operator"}
    for route in public:
        for caller in [caller for caller in world.callers if caller.name in some]:
            answer = await world.ask(route, caller.headers)
            missing = answer.status_code == 404 and "{" in route.path
            assert answer.status_code == 200 or missing, (route, caller.name, answer.text)


FINAL: Final = {"/v1/tenants/{tenant_id}/close", "/v1/tenants/{tenant_id}/projects/{project_id}/close"}
"""Routes that would end for good the places that everybody asks about next."""


async def test_whoever_may_is_let_through_and_nothing_breaks(world: World) -> None:
    wrong = []
    operator = next(caller for caller in world.callers if caller.name == "the operator")
    for route in world.routes:
        for caller in world.callers:
            if route.permission is None or caller.expects(route.permission, route.level, route.in_part) is not OPEN:
                continue
            if route.path in FINAL:
                continue
            answer = await world.ask(route, caller.headers)
            if answer.status_code in (401, 403, 405, 413, 422, 429) or answer.status_code >= 500:
                wrong.append(f"{route} by {caller.name}: {answer.status_code} {answer.text[:200]}")
            if route.path.endswith("/suspend"):  # undone at once, for it is meant to lock out those who ask next
                undo = replace(route, path=route.path.removesuffix("suspend") + "resume")
                assert (await world.ask(undo, operator.headers)).status_code < 500
            if route.path.endswith("/ceiling") and route.method == "PUT":  # it would bound those who ask next
                undo = replace(route, method="POST", path=f"{route.path}/remove", body={"reason": "for a test"})
                assert (await world.ask(undo, operator.headers)).status_code < 300
    assert wrong == []


NAMES_BOTH: Final = ("/shares", "/received-shares")
"""What two tenants agreed on, which each of them may read."""


async def test_nobody_reads_another_tenants_name(world: World) -> None:
    """Every question that a tenant's people may ask, after everything above has been done in both tenants."""
    by_name = {caller.name: caller for caller in world.callers}
    for route in world.routes:
        if route.method != "GET" or route.permission is None or route.path.endswith(NAMES_BOTH):
            continue
        for who, mine, other in (
            ("the tenant's admin", "acme", "umbrella"),
            ("another tenant's admin", "umbrella", "acme"),
        ):
            answer = await world.ask(route, by_name[who].headers, route.at(tenant_id=mine))
            assert other not in answer.text, (str(route), who, answer.text[:500])


async def test_ids_of_another_tenant_are_unknown_in_ones_own(world: World) -> None:
    """Inside one's own tenant, an id of somebody else's thing is answered like one that never was."""
    admin = next(caller for caller in world.callers if caller.name == "the tenant's admin")
    theirs = await _things_of_umbrella(world)
    absent = dict.fromkeys(theirs, "0190a0c0-0000-7000-8000-000000000000")
    wrong, asked = [], 0
    for route in world.routes:
        named = set(PLACE.findall(route.path)) - IDS.keys()
        if route.level == "platform" or not named:
            continue
        assert named <= theirs.keys(), f"{route}: make one in _things_of_umbrella"
        foreign = await world.ask(route, admin.headers, route.at(**theirs))
        nothing = await world.ask(route, admin.headers, route.at(**absent))
        asked += 1
        if foreign.status_code < 400 or _without(foreign, theirs) != _without(nothing, absent):
            wrong.append(f"{route}: {foreign.text[:200]} differs from {nothing.text[:200]}")
    assert wrong == []
    assert asked > 10


def catalogue_example(path: str) -> dict[str, Any]:
    """The first example of an event's schema."""
    found: dict[str, Any] = json.loads((SCHEMAS / path).read_text("utf-8"))["examples"][0]
    return found


def _without(answer: httpx.Response, ids: dict[str, str]) -> tuple[int, str]:
    status, said = told(answer)
    text = str(said)
    for each in sorted(ids.values(), key=len, reverse=True):
        text = text.replace(each, "?")
    return status, text


async def _maintenance(world: World) -> str:
    """A window that is far away; what a tenant sees of one that touches it is a test of the service that plans it."""
    plan = catalogue_example("nodes/maintenance-scheduled.v1.json")
    plan |= {name: plan[name].replace("2026", "2099") for name in ("starts_at", "ends_at")}
    window = MaintenanceScheduled.model_validate_json(json.dumps(plan))
    await tell(world.suite.log, window, tenant_id="platform", entity_id=window.window_id)
    return window.window_id


def _note(invoice: InvoiceFinalized) -> dict[str, Any]:
    """A cent of the first line is given back."""
    return {"lines": [{"line_id": invoice.lines[0].line_id, "amount": "0.01"}], "detail": "for a test"}


async def _things_of_umbrella(world: World) -> dict[str, str]:
    """Path parameter → id of such a thing of the tenant `umbrella`, which its own admin can see."""
    operator = next(caller for caller in world.callers if caller.name == "the operator")

    async def made(service: str, path: str, **body: Any) -> str:
        answer = await world.suite.clients[service].post(path, json=body, headers=dict(operator.headers))
        assert answer.status_code < 300, answer.text
        return str(answer.json()["id"])

    home = "/v1/tenants/umbrella"
    account = await made("iam", f"{home}/service-accounts", display_name="theirs")
    bound = {"principal_kind": "service-account", "principal_id": account, "role": "viewer", "reason": "for a test"}
    allocations, asked = f"{home}/projects/hive/allocations", {"pool_id": "p", "gpus_per_replica": 1, "image": "i"}
    example = catalogue_example("billing/invoice-finalized.v1.json") | {"tenant_id": "umbrella"}
    invoice = InvoiceFinalized.model_validate_json(json.dumps(example))
    position = await tell(world.suite.log, invoice, tenant_id="umbrella", entity_id=invoice.invoice_id)
    kept = catalogue_example("allocations/reservation-made.v1.json") | {"tenant_id": "umbrella", "project_id": "hive"}
    reservation = ReservationMade.model_validate_json(json.dumps(kept))
    await tell(world.suite.log, reservation, tenant_id="umbrella", entity_id=reservation.reservation_id)
    came = catalogue_example("iam/token-exchanged.v1.json") | {"tenant_id": "umbrella"}
    workload = TokenExchanged.model_validate_json(json.dumps(came))
    await tell(world.suite.log, workload, tenant_id="umbrella", entity_id=workload.token_id)
    ids = {
        "principal_id": account,
        "trust_id": await made("iam", f"{home}/workload-trusts", service_account_id=account, **_TRUSTED),
        "workload_id": str(workload.actor_id),
        "binding_id": await made("iam", f"{home}/bindings", **bound),
        "key_id": await made("iam", f"{home}/service-accounts/{account}/keys", label="k", expires_at=_TOMORROW),
        "group_id": await made("iam", f"{home}/groups", display_name="theirs"),
        "prohibition_id": await made(
            "iam",
            f"{home}/prohibitions",
            holder_kind="service-account",
            holder_id=account,
            permissions=["nodes.*.*"],
            reason="for a test",
        ),
        "share_id": await made(
            "iam",
            f"{home}/projects/hive/shares",
            receiver_tenant_id="a-third",
            principal_kind="group",
            principal_id="theirs",
            role="viewer",
            reason="for a test",
        ),
        "invitation_id": await made(
            "iam", f"{home}/invitations", email="theirs@example.com", role="viewer", reason="for a test"
        ),
        "rule_id": await made("iam", f"{home}/duty-rules", one=["a.b.c"], other=["d.e.f"], reason="for a test"),
        "support_session_id": await made("iam", f"{home}/support-sessions", ticket="t", reason="for a test"),
        "allocation_id": await made("allocations", allocations, **asked),
        "reservation_id": reservation.reservation_id,
        "credit_note_id": await made("billing", f"{home}/invoices/{invoice.invoice_id}/credit-notes", **_note(invoice)),
        "invoice_id": invoice.invoice_id,
        "grant_id": await made("billing", f"{home}/credits", amount="10.00", reference="for a test"),
        "budget_id": await made("billing", f"{home}/budgets", **_BUDGET),
        "agreement_id": await made("billing", f"{home}/price-agreements", **_AGREED),
        "window_id": await _maintenance(world),
        "user_id": "somebody",
        "resource_type": "no-such-kind",
        "schema_id": "no-such-schema",
    }
    seen = {**operator.headers, "GPUaaS-At-Least": str(position)}
    invoice_page, allocation_page = f"{home}/invoices/{ids['invoice_id']}", f"{allocations}/{ids['allocation_id']}"
    for service, path in (("billing", invoice_page), ("allocations", allocation_page)):
        answer = await world.suite.clients[service].get(path, headers=seen)
        assert answer.status_code == 200, answer.text
    return ids
