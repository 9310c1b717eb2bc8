"""What the doors of a running suite do with input that is wrong. One law: a clear refusal, and nothing happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import nats
import pytest
import pytest_asyncio
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World
from gpuaas.common.errors import NotPermitted
from gpuaas.common.ids import new_id
from gpuaas.common.log import Write
from gpuaas.common.logs.jetstream import JetStreamLog

from tests.drills.stage import admin_key, open_log, stored
from tests.flows.main_job import Played

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
PROBLEM = "application/problem+json"
ASK: dict[str, Any] = {
    "pool_id": play.POOL,
    "gpu_model": play.GPU_MODEL,
    "gpus_per_replica": 1,
    "image": "philly",
    "command": ["sleep", "1"],
}


@dataclass(slots=True)
class Sender:
    """Sends a tenant's requests as they are: no retries, no keys, no care.

    Attributes:
        place: the path of the tenant's allocations in one project.
        http: a client that speaks for the tenant at the door of allocations.
    """

    tenant: str
    place: str
    http: httpx.AsyncClient

    async def ask(self, **changes: Any) -> httpx.Response:
        return await self.http.post(self.place, json=ASK | changes)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sender(world: World, played: Played) -> AsyncIterator[Sender]:
    tenant = sorted(played.tenants)[0]
    api_key = await admin_key(world, tenant)
    async with httpx.AsyncClient(timeout=30) as http:
        credentials = {"Authorization": f"Bearer {api_key}"}
        issued = await http.post(f"{world.endpoints.services['iam']}/v1/tokens", headers=credentials)
        http.base_url = httpx.URL(world.endpoints.services["allocations"])
        http.headers["Authorization"] = f"Bearer {issued.json()['access_token']}"
        http.headers["GPUaaS-At-Least"] = str(world.operator.position)
        yield Sender(tenant, f"/v1/tenants/{tenant}/projects/research/allocations", http)


def refused(answer: httpx.Response, status: int, *says: str) -> dict[str, Any]:
    """The problem document of a refusal, checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:gpuaas:")
    assert all(word in problem["detail"] for word in says), problem
    return problem


# -- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "body"),
        (b"{", "JSON"),
        (b"\xff\xfe\x00", "body"),
        (b"[]", "body"),
        (b'"alloc"', "body"),
        (b"null", "body"),
        (b'{"pool_id": "main"}', "gpus_per_replica"),
        (b"[" * 50_000, "parsing"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(sender: Sender, body: bytes, says: str) -> None:
    headers = {"Content-Type": "application/json"}
    refused(await sender.http.post(sender.place, content=body, headers=headers), 422, says)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gpus_per_replica": -1}, "gpus_per_replica must be between 1 and"),
        ({"gpus_per_replica": 0}, "gpus_per_replica must be between 1 and"),
        ({"gpus_per_replica": 10**12}, "gpus_per_replica must be between 1 and"),
        ({"replicas": -3}, "replicas must be between 1 and"),
        ({"gpus_per_replica": 1.5}, "gpus_per_replica"),
        ({"gpus_per_replica": "2"}, "gpus_per_replica"),
        ({"gpus_per_replica": True}, "gpus_per_replica"),
        ({"gpus_per_replica": None}, "gpus_per_replica"),
        ({"lease_s": -1}, "lease_s"),
        ({"pool_id": "No Such Name"}, "pool_id"),
        ({"pool_id": "main.>"}, "pool_id"),
        ({"gpu_model": "x" * 64}, "gpu_model"),
        ({"topology_mode": "required"}, "topology_level"),
        ({"topology_level": "galaxy"}, "topology_level"),
        ({"image": ""}, "image"),
        ({"gpu_count": 8}, "gpu_count"),
        ({"tenant_id": "vc-other"}, "tenant_id"),
        ({"labels": {"job": 7}}, "labels"),
    ],
    ids=str,
)
async def test_a_wrong_field_is_named_and_nothing_happens(
    world: World, sender: Sender, changes: dict[str, Any], says: str
) -> None:
    before = await stored(world, f"events.*.*.{sender.tenant}.>")
    refused(await sender.ask(**changes), 422, says)
    assert await stored(world, f"events.*.*.{sender.tenant}.>") == before


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_larger_than_the_limit_is_refused_announced_or_not(sender: Sender, announced: bool) -> None:
    body = json.dumps(ASK | {"command": ["x" * (1 << 20)]}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {"Content-Type": "application/json"}
    content = body if announced else pieces()
    refused(await sender.http.post(sender.place, content=content, headers=headers), 413, "1,048,576")


async def test_a_request_that_would_make_too_large_an_event_is_refused(sender: Sender) -> None:
    answer = await sender.ask(command=["x" * 600_000])
    assert answer.status_code in (413, 422), answer.text
    assert answer.headers["content-type"] == PROBLEM


# -- headers, pages and positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value"),
    [("idempotency-key", "k" * 256), ("GPUaaS-At-Least", "-1"), ("GPUaaS-At-Least", "soon")],
)
async def test_a_header_that_says_nothing_is_refused(sender: Sender, header: str, value: str) -> None:
    refused(await sender.http.get(sender.place, headers={header: value}), 422, header)


@pytest.mark.parametrize("asked", ["limit=0", "limit=501", "limit=all", "cursor=%%%", "cursor=bm8", "state=gone"])
async def test_a_page_that_cannot_be_is_refused(sender: Sender, asked: str) -> None:
    refused(await sender.http.get(f"{sender.place}?{asked}"), 422)


@pytest.mark.parametrize("credential", [None, "Bearer", "Bearer x", "Basic eDp5", "Bearer a.b.c"])
async def test_without_a_good_token_nobody_gets_in(sender: Sender, credential: str | None) -> None:
    headers = {} if credential is None else {"Authorization": credential}
    async with httpx.AsyncClient(base_url=sender.http.base_url) as stranger:
        answer = await stranger.get(sender.place, headers=headers)
    refused(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_position_that_is_not_there_yet_is_worth_another_try(world: World, sender: Sender) -> None:
    told = await world.operator.ready("allocations") or {}
    future = str(told["log_position"] + 1_000_000)
    answer = await sender.http.get(sender.place, headers={"GPUaaS-At-Least": future})
    refused(answer, 503, future)
    assert int(answer.headers["retry-after"]) >= 1


async def test_paths_and_methods_that_are_not_there_are_refused(sender: Sender) -> None:
    refused(await sender.http.get("/v1/no-such-thing"), 404, "/openapi.json")
    assert (await sender.http.delete(sender.place)).headers["content-type"] == PROBLEM
    refused(await sender.http.get(f"{sender.place}/{'x' * 64}"), 422)
    refused(await sender.http.get(f"{sender.place}/no-such-allocation"), 404)


# -- whose, what and which ------------------------------------------------------------------------------------------


async def test_a_tenants_key_asks_for_nothing_in_another_tenant(world: World, played: Played, sender: Sender) -> None:
    other = next(name for name in played.tenants if name != sender.tenant)
    before = await stored(world, f"events.*.*.{other}.>")
    for tenant in (other, "vc-nobody"):
        refused(await sender.http.post(f"/v1/tenants/{tenant}/projects/research/allocations", json=ASK), 404)
    refused(await sender.http.post(f"/v1/tenants/{sender.tenant}/projects/nowhere/allocations", json=ASK), 404)
    assert await stored(world, f"events.*.*.{other}.>") == before
    assert await stored(world, "events.*.*.vc-nobody.>") == 0


async def test_the_same_request_again_is_answered_again_and_done_once(world: World, sender: Sender) -> None:
    headers = {"Idempotency-Key": new_id()}
    answers = [await sender.http.post(sender.place, json=ASK, headers=headers) for _ in range(3)]
    answers += await asyncio.gather(*(sender.http.post(sender.place, json=ASK, headers=headers) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [202] * 11
    told = [answer.json() for answer in answers]
    assert len({(each["id"], each["position"]) for each in told}) == 1
    assert [each["repeated"] for each in told] == [False] + [True] * 10
    async with open_log(world) as log:
        history = await log.history(f"events.allocations.allocation.{sender.tenant}.{told[0]['id']}")
    requests = [event for event in history if event.type == "gpuaas.allocations.allocation-requested.v1"]
    assert [event.position for event in requests] == [told[0]["position"]]


async def test_many_copies_at_once_of_a_request_never_made_before_are_one(sender: Sender) -> None:
    headers = {"Idempotency-Key": new_id()}
    answers = await asyncio.gather(*(sender.http.post(sender.place, json=ASK, headers=headers) for _ in range(16)))
    told = [answer.json() for answer in answers]
    assert len({(each["id"], each["position"]) for each in told}) == 1
    assert sum(not each["repeated"] for each in told) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu_model": "abacus-1"}, "unknown-gpu-model"),
        ({"pool_id": "bottomless"}, "unknown-pool"),
        ({"gpus_per_replica": 9}, "never-satisfiable"),
    ],
)
async def test_what_can_never_be_given_is_turned_down_with_its_reason(
    sender: Sender, changes: dict[str, Any], reason: str
) -> None:
    answer = await sender.ask(**changes)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    path, headers = f"{sender.place}/{told['id']}", {"GPUaaS-At-Least": str(told["position"])}
    async with asyncio.timeout(60):
        while (shown := (await sender.http.get(path, headers=headers)).json())["state"] != "rejected":
            await asyncio.sleep(0.1)
    why = (await sender.http.get(f"{path}/why")).text
    assert reason in why, why
    assert shown["detail"]


async def test_giving_back_what_was_never_given_is_refused(sender: Sender) -> None:
    refused(await sender.http.post(f"{sender.place}/no-such-allocation/release"), 404)


# -- the broker -----------------------------------------------------------------------------------------------------


async def test_a_service_cannot_publish_what_belongs_to_another(world: World) -> None:
    """iam's own password, as it lies in the state folder, is good for iam's own subjects and no others."""
    log: JetStreamLog

    async def complaint(error: Exception) -> None:
        log.wire.refused(str(error))

    connection = await nats.connect(world.endpoints.nats_url_of("iam"), inbox_prefix=b"_INBOX_iam", error_cb=complaint)
    log = JetStreamLog(lambda: connection)
    try:
        for subject in (
            "events.billing.ledger.vc-0e4a51.vc-0e4a51",
            "events.allocations.pool.platform.main",
            "events.audit.epoch.platform.log",
            "events.nodes.node.platform.h-1",
        ):
            before = await log.history(subject)
            with pytest.raises(NotPermitted, match="does not let this service publish"):
                await log.append([Write(subject, 0, new_id(), "gpuaas.billing.ledger-transfer-posted.v1", b"{}")])
            assert await log.history(subject) == before
        for api in ("STREAM.DELETE.EVENTS", "STREAM.PURGE.EVENTS", "STREAM.UPDATE.EVENTS", "STREAM.MSG.DELETE.EVENTS"):
            with pytest.raises(NotPermitted):
                await log.wire.request(f"$JS.API.{api}", b"{}")
    finally:
        await connection.close()


async def test_nobody_gets_to_the_broker_without_a_password(world: World) -> None:
    with pytest.raises((nats.errors.Error, OSError)):
        await nats.connect(world.endpoints.nats_url, allow_reconnect=False, max_reconnect_attempts=0)
