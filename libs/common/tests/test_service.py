"""A service put together: its door is closed unless opened, its errors say what to do, it drains and starts again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends
from gpuaas.common.embedded.process import free_port
from gpuaas.common.errors import Invalid, Misconfigured, NotFound, Unavailable
from gpuaas.common.http import Accepted, Body, Caller, Page, Paging, fresh, paging, permit
from gpuaas.common.log import Write
from gpuaas.common.provision import LogSettings
from gpuaas.common.service import Service
from gpuaas.common.settings import Settings
from gpuaas.common.testing.counter import COUNTER, VALUES, CounterRaised, CounterValues, Open, Raise
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from sqlalchemy import String, literal, select

BASE = "/v1/tenants/acme/projects/vision/counters"


class OpenCounter(Body):
    counter_id: str
    name: str


class RaiseCounter(Body):
    by: int


def counting(settings: Settings) -> Service:
    service = Service("testing", settings)
    values = CounterValues()
    service.project(values)
    router = APIRouter(prefix="/v1/tenants/{tenant_id}/projects/{project_id}/counters")

    @router.post("", status_code=201)
    async def open_counter(
        tenant_id: str, body: OpenCounter, caller: Annotated[Caller, Depends(permit("testing.counter.open"))]
    ) -> Accepted:
        done = await service.commands.execute(
            COUNTER, tenant_id, body.counter_id, Open(body.name), caller.cause(), fresh=True
        )
        return caller.accepted(done, body.counter_id)

    @router.post("/{counter_id}/raise")
    async def raise_counter(
        tenant_id: str,
        counter_id: str,
        body: RaiseCounter,
        caller: Annotated[Caller, Depends(permit("testing.counter.raise"))],
    ) -> Accepted:
        done = await service.commands.execute(COUNTER, tenant_id, counter_id, Raise(body.by), caller.cause())
        return caller.accepted(done, counter_id)

    @router.post("/{counter_id}/lower")
    async def lower_counter(
        tenant_id: str,
        counter_id: str,
        caller: Annotated[Caller, Depends(permit("testing.counter.lower", relief=True))],
    ) -> Accepted:
        done = await service.commands.execute(COUNTER, tenant_id, counter_id, Raise(-1), caller.cause())
        return caller.accepted(done, counter_id)

    @router.get("", dependencies=[Depends(fresh(values))])
    async def counters(
        caller: Annotated[Caller, Depends(permit("testing.counter.read"))], page: Annotated[Paging, Depends(paging)]
    ) -> Page:
        query = select(VALUES).order_by(VALUES.c.counter).limit(page.limit + 1)
        if after := page.key(str):
            query = query.where(VALUES.c.counter > after)
        return page.page(await service.database.fetch(query), ["counter"])

    @router.get("/broken/{how}")
    async def broken(how: str, caller: Annotated[Caller, Depends(permit("testing.counter.read"))]) -> None:
        if how == "away":
            raise Unavailable("not now", retry_after_s=7)
        raise RuntimeError("a secret of the inside")

    service.serve(router)
    return service


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[Settings]:
    async with fresh_settings(stack, Settings, tmp_path, body_bytes_max=4_096, ready_timeout_s=1.0) as given:
        yield given


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:gpuaas:{code}"), answer.text
    return bool(answer.json()["detail"])


async def test_a_command_is_seen_by_a_question_that_asks_for_its_position(settings: Settings) -> None:
    service = counting(settings)
    async with running(service) as client:
        headers = await (await Identities.on(service.log)).member("acme", "vision")
        for number in range(7):
            opened = await client.post(BASE, json={"counter_id": f"c{number}", "name": "n"}, headers=headers)
            assert opened.status_code == 201, opened.text
        headers |= {"GPUaaS-At-Least": opened.headers["GPUaaS-Position"]}
        first = (await client.get(BASE, params={"limit": 4}, headers=headers)).json()
        rest = (await client.get(BASE, params={"limit": 4, "cursor": first["next_cursor"]}, headers=headers)).json()
        assert len(first["items"]) == 4
        assert len(rest["items"]) == 3
        assert rest["next_cursor"] is None
        too_new = headers | {"GPUaaS-At-Least": str(opened.json()["position"] + 100)}
        late = await client.get(BASE, headers=too_new)
        assert is_problem(late, 503, "unavailable")
        assert late.headers["retry-after"]


async def test_the_same_idempotency_key_is_one_command(settings: Settings) -> None:
    service = counting(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log)
        headers = await identities.member("acme", "vision")
        await client.post(BASE, json={"counter_id": "c", "name": "n"}, headers=headers)
        keyed = headers | {"Idempotency-Key": "raise-1"}
        first = await client.post(f"{BASE}/c/raise", json={"by": 5}, headers=keyed)
        again = await client.post(f"{BASE}/c/raise", json={"by": 5}, headers=keyed)
        assert (again.json()["position"], again.json()["repeated"]) == (first.json()["position"], True)
        another = await client.post(f"{BASE}/c/raise", json={"by": 6}, headers=keyed)
        assert is_problem(another, 422, "invalid")
        assert "Idempotency-Key" in another.json()["detail"]
        spaced = keyed | {"Content-Type": "application/json"}
        assert (await client.post(f"{BASE}/c/raise", content=b'{ "by" : 5 }', headers=spaced)).json()["repeated"]
        other = await identities.member("acme", "vision")
        await client.post(f"{BASE}/c/raise", json={"by": 5}, headers=other | {"Idempotency-Key": "raise-1"})
        assert (await service.commands.state(COUNTER, "acme", "c"))[0].value == 10


async def test_the_door_is_closed_to_strangers(settings: Settings) -> None:
    service = counting(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log)
        member = await identities.member("acme", "vision")
        reader = await identities.member("acme", "vision", "testing.counter.read")
        foreign = await identities.member("umbrella", "hive")
        body = {"counter_id": "c", "name": "n"}
        assert is_problem(await client.post(BASE, json=body), 401, "unauthenticated")
        assert is_problem(
            await client.post(BASE, json=body, headers={"Authorization": "Bearer x"}), 401, "unauthenticated"
        )
        denied = await client.post(BASE, json=body, headers=reader)
        assert is_problem(denied, 403, "forbidden")
        assert denied.json()["permission"] == "testing.counter.open"
        assert denied.json()["decision_id"]
        assert is_problem(await client.post(BASE, json=body, headers=foreign), 404, "not-found")
        assert is_problem(await client.get("/v1/projections", headers=member), 403, "forbidden")
        assert (await client.post(BASE, json=body, headers=member)).status_code == 201
        assert (await client.get("/v1/projections", headers=await identities.operator())).status_code == 200


async def test_bad_input_is_told_what_to_do(settings: Settings) -> None:
    service = counting(settings)
    async with running(service) as client:
        headers = await (await Identities.on(service.log)).member("acme", "vision")
        assert is_problem(await client.post(BASE, json={"counter_id": "c"}, headers=headers), 422, "invalid")
        extra = {"counter_id": "c", "name": "n", "nmae": "typo"}
        assert is_problem(await client.post(BASE, json=extra, headers=headers), 422, "invalid")
        odd_name = {"counter_id": "a.b", "name": "n"}
        assert is_problem(await client.post(BASE, json=odd_name, headers=headers), 422, "invalid")
        assert is_problem(await client.post(BASE, content=b"x" * 5_000, headers=headers), 413, "too-large")
        assert is_problem(await client.post(f"{BASE}/none/raise", json={"by": 1}, headers=headers), 409, "rejected")
        assert is_problem(await client.get(BASE, params={"cursor": "?"}, headers=headers), 422, "invalid")
        assert is_problem(await client.get(BASE, params={"limit": 0}, headers=headers), 422, "invalid")
        assert is_problem(await client.get("/nowhere"), 404, "not-found")
        away = await client.get(f"{BASE}/broken/away", headers=headers)
        assert is_problem(away, 503, "unavailable")
        assert away.headers["retry-after"] == "7"
        inside = await client.get(f"{BASE}/broken/bug", headers=headers)
        assert is_problem(inside, 500, "internal")
        assert "secret" not in inside.text
        assert await service.log.history("events.testing.counter.acme.c") == []


async def test_what_no_table_can_keep_is_refused_at_the_door(settings: Settings) -> None:
    service = counting(settings)
    async with running(service) as client:
        headers = await (await Identities.on(service.log)).member("acme", "vision")
        nul = await client.post(BASE, json={"counter_id": "c", "name": "a\0b"}, headers=headers)
        assert is_problem(nul, 422, "invalid")
        assert "U+0000" in nul.json()["detail"]
        escaped = await client.post(BASE, json={"counter_id": "c", "name": "a\\u0000b"}, headers=headers)
        assert escaped.status_code == 201, escaped.text
        for odd in ("a\0b", 2**63, 7):
            with pytest.raises(Invalid):
                await service.database.fetch(select(VALUES).where(VALUES.c.counter == literal(odd, String())))
            with pytest.raises(Invalid):
                await service.database.fetch_one(select(VALUES).where(VALUES.c.counter == literal(odd, String())))
        assert (await client.get("/readyz")).json()["stopped"] == []


async def test_small_answers_are_sent_at_once(settings: Settings) -> None:
    """Without TCP_NODELAY every answer waits for the client's delayed acknowledgement, 40 ms and more."""
    service = counting(settings)
    async with running(service) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert service._server is not None
        sockets = [each.transport.get_extra_info("socket") for each in service._server.server_state.connections]
        assert sockets
        assert all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in sockets)


async def test_one_caller_cannot_take_everything(settings: Settings) -> None:
    service = counting(settings.model_copy(update={"requests_per_s": 5}))
    async with running(service) as client:
        # A made-up credential is no new caller: strangers of one address share its bucket.
        for names in (["same"] * 40, [f"made-up-{number}" for number in range(40)]):
            asked = (client.get(BASE, headers={"Authorization": f"Bearer {name}"}) for name in names)
            refused = [answer for answer in await asyncio.gather(*asked) if answer.status_code == 429]
            assert refused
            assert is_problem(refused[0], 429, "rate-limited")


async def test_a_poisoned_projection_makes_the_service_unready_by_name(settings: Settings) -> None:
    service = counting(settings)
    async with running(service) as client:
        await service.log.append(
            [Write("events.testing.counter.acme.bad", 0, "bad", CounterRaised.TYPE, b'{"specversion":"1.0"}')]
        )

        async def unready() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await eventually(unready)
        told = (await client.get("/readyz")).json()
        assert told["stopped"] == ["projection counter_values_v1"]
        assert "events.testing" not in str(told), "who may not read events learns no subject"
        assert (await client.get("/v1/readiness")).status_code == 401
        operator = await (await Identities.on(service.log)).operator()
        [stopped] = [
            reader
            for reader in (await client.get("/v1/readiness", headers=operator)).json()["readers"]
            if reader["stopped"]
        ]
        assert "position 1 on events.testing.counter.acme.bad" in stopped["stopped"]
        assert (await client.get("/healthz")).status_code == 200


async def test_a_part_that_keeps_failing_makes_the_service_unready_by_name(settings: Settings) -> None:
    service = counting(settings)
    broken = asyncio.Event()

    async def scheduler() -> None:
        await broken.wait()
        raise RuntimeError("the scheduler lost its mind")

    service.background("scheduler", scheduler)
    async with running(service) as client:
        broken.set()
        await eventually(lambda: "scheduler" in service._failures)
        told = await client.get("/readyz")
        assert told.status_code == 503
        assert told.json()["stopped"] == ["scheduler"]
        assert "lost its mind" not in told.text
        operator = await (await Identities.on(service.log)).operator()
        told = await client.get("/v1/readiness", headers=operator)
        assert "lost its mind" in told.json()["failures"]["scheduler"]


async def test_a_log_that_is_nearly_full_still_takes_what_ends_work(stack: TestStack, tmp_path: Path) -> None:
    async with stack.fresh_log(LogSettings(events_max_bytes=4 << 20)) as log, stack.fresh_database() as dsn:
        settings = Settings(
            nats_url=log.url, postgres_dsn=dsn, http_port=free_port(), state_dir=tmp_path, log_headroom=0.5
        )
        service = counting(settings)
        async with running(service) as client:
            headers = await (await Identities.on(service.log)).member("acme", "vision")
            for number in range(6):
                large = {"counter_id": f"c-{number}", "name": "n" * 400_000}
                assert (await client.post(BASE, json=large, headers=headers)).status_code == 201
            await eventually(lambda: service.commands.nearly_full)
            full = await client.post(BASE, json={"counter_id": "c-9", "name": "n"}, headers=headers)
            assert is_problem(full, 503, "unavailable")
            assert "nearly full" in full.json()["detail"]
            assert int(full.headers["retry-after"]) > 0
            assert (await client.post(f"{BASE}/c-0/lower", headers=headers)).status_code == 200
            assert (await client.post(f"{BASE}/c-0/raise", json={"by": 1}, headers=headers)).status_code == 503
            assert (await client.get(BASE, headers=headers)).status_code == 200
            told = (await client.get("/readyz")).json()
            assert (told["ready"], told["log_nearly_full"]) == (True, True)


async def test_a_part_that_waits_for_something_that_is_away_is_not_broken(settings: Settings) -> None:
    service = counting(settings)
    tries = 0

    async def supervisor() -> None:
        nonlocal tries
        tries += 1
        raise Unavailable("PostgreSQL does not answer")

    service.background("supervisor", supervisor)
    async with running(service) as client:
        await eventually(lambda: tries > 1)
        assert (await client.get("/readyz")).json()["stopped"] == []


async def test_a_service_starts_again_where_it_stood(settings: Settings) -> None:
    first = counting(settings)
    async with running(first) as client:
        headers = await (await Identities.on(first.log)).member("acme", "vision")
        answer = await client.post(BASE, json={"counter_id": "c", "name": "n"}, headers=headers)
    second = counting(settings)
    async with running(second) as client:
        headers |= {"GPUaaS-At-Least": answer.headers["GPUaaS-Position"]}
        assert [item["counter"] for item in (await client.get(BASE, headers=headers)).json()["items"]] == [
            "events.testing.counter.acme.c"
        ]


async def test_a_route_that_names_no_permission_is_refused_at_the_start(settings: Settings) -> None:
    service = Service("testing", settings)
    router = APIRouter()

    @router.get("/v1/open-by-mistake")
    async def open_by_mistake() -> None:
        raise NotFound("never reached")

    service.serve(router)
    with pytest.raises(ValueError, match="open-by-mistake"):
        await service.open_door()


async def test_a_stranger_cannot_make_the_service_wait(settings: Settings) -> None:
    service = counting(settings.model_copy(update={"ready_timeout_s": 20.0}))
    async with running(service) as client:
        identities = await Identities.on(service.log)
        reader = await identities.member("acme", "vision", "testing.counter.read")
        foreign = await identities.member("umbrella", "hive")
        far = {"GPUaaS-At-Least": str(10**15)}
        async with asyncio.timeout(5):
            assert is_problem(await client.get(BASE, headers=far), 401, "unauthenticated")
            forged = {"Authorization": "Bearer x", "Idempotency-Key": "k" * 1_000} | far
            assert (await client.get(BASE, headers=forged)).status_code in (401, 422, 503)
            assert is_problem(await client.get(BASE, headers=foreign | far), 404, "not-found")
            denied = await client.post(f"{BASE}/c/raise", json={"by": 1}, headers=reader | far)
            assert is_problem(denied, 403, "forbidden")
            told = await client.get(BASE, headers=reader | far)
            assert is_problem(told, 503, "unavailable")
            assert "the log ends at" in told.json()["detail"]


async def test_the_door_is_described_before_it_is_open(settings: Settings) -> None:
    service = counting(settings)
    described = service.document()
    async with running(service) as client:
        assert (await client.get("/openapi.json")).json() == described
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert {operation["x-permission"] for operation in operations} == {
        *("testing.counter.open", "testing.counter.raise", "testing.counter.lower", "testing.counter.read"),
        *("testing.projection.read", "testing.projection.rebuild"),
    }
    assert all(operation["security"] == [{"bearer": []}] for operation in operations)
    assert all(set(operation["responses"]) & {"422", "default"} == {"default"} for operation in operations)
    assert "HTTPValidationError" not in str(described)


async def test_a_taken_port_is_told_in_a_sentence(settings: Settings) -> None:
    first, second = counting(settings), counting(settings)
    async with running(first):
        with pytest.raises(Misconfigured, match="free port"):
            await second.open_door()
