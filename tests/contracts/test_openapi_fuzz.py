"""Odd requests to every operation of every service. One law: whatever is asked, the answer is one the document names.

No failure of ours, every refusal a problem document, every answer as described; and no request that is let through
leaves an event behind that stops a reader.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from gpuaas.common.door import PROBLEM
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import eventually
from gpuaas.common.testing.stack import TestStack
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from jsonschema import Draft202012Validator

from tests.contracts.openapi_requests import Request, requests, twisted_texts
from tests.contracts.plausible import plausible
from tests.contracts.whole_suite import Suite, whole_suite
from tools.openapi.describing import operations

EXAMPLES: Final = 8
"""Requests to each operation: all together stay below half a minute."""
UNKEEPABLE: Final = ("a\0b", "\ud800", "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z")
SCIM: Final = "application/scim+json"
"""Refusals of RFC 7644 §3.12 are errors in its own form."""
SETTLED_S: Final = 1.0
"""Readers have met the last event by then."""
WAITED_FOR: Final = "was asked for"
"""In the detail of a 503 for a position that is not there yet."""

pytestmark = pytest.mark.asyncio(loop_scope="module")
once = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class Service:
    """One service at the end of its door, with what was found wrong with its answers."""

    def __init__(self, suite: Suite, name: str, headers: Mapping[str, str]) -> None:
        self.document = suite.documents[name]
        self.name = name
        self._base_url, self._headers = suite.clients[name].base_url, dict(headers)
        self._client = self._connected()
        self._validators: dict[str, Draft202012Validator] = {}
        self.ids = ["some-thing", "operator", "h100"]
        self.wrong: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()

    def _connected(self) -> httpx.Client:
        return httpx.Client(base_url=self._base_url, headers=self._headers, timeout=30)

    def fuzz(self) -> None:
        """Every operation, several times."""
        for method, path, operation in operations(self.document):
            if (method, path) == ("POST", "/v1/tokens"):
                continue  # counts failures by address, and so would refuse all of us for a while

            self._fuzz(path, operation, requests(self.document, method, path, operation, tuple(self.ids)))

    def twist(self) -> None:
        """Every text of every body replaced by what PostgreSQL cannot keep, one at a time."""
        for method, path, operation in operations(self.document):
            contents = operation.get("requestBody", {}).get("content", {})
            if "application/json" not in contents or path == "/v1/tokens":
                continue
            whole = plausible(self.document, contents["application/json"]["schema"], whole=True)
            at = path.replace("{tenant_id}", "acme").replace("{project_id}", "vision")
            for odd in ("something-else", *UNKEEPABLE):
                for body in twisted_texts(whole, odd):
                    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
                    request = Request(method, re.sub(r"\{.*?\}", "some-thing", at), (), headers, content)
                    self._ask(request, operation, f"{self.name} {method} {path}")

    def _fuzz(self, path: str, operation: Mapping[str, Any], drawn: SearchStrategy[Request]) -> None:
        @once
        @given(request=drawn)
        def ask(request: Request) -> None:
            self._ask(request, operation, f"{self.name} {request.method} {path}")

        ask()

    def _ask(self, request: Request, operation: Mapping[str, Any], key: str) -> None:
        try:
            answer = self._client.request(
                request.method,
                request.path,
                params=list(request.query),
                headers=dict(request.headers),
                content=request.content,
            )
        except httpx.TransportError as broken:
            self.wrong.setdefault(f"{key} no answer: {broken!r}", str(request)[:700])
            return
        if answer.status_code == 500:  # the service closes the connection after an error that nobody caught
            self._client.close()
            self._client = self._connected()
        if answer.status_code != 401 or operation["x-permission"] != "public":  # there, a wrong secret is one's own
            self.statuses[answer.status_code] += 1
        for complaint in self._complaints(answer, operation):
            self.wrong.setdefault(f"{key} {answer.status_code} {complaint[:300]}", str(request)[:700])
        if request.method != "GET" and answer.status_code < 300 and len(self.ids) < 40:
            self.ids += [str(answer.json()["id"])] if "id" in answer.json() else []

    def _complaints(self, answer: httpx.Response, operation: Mapping[str, Any]) -> Iterator[str]:
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if answer.status_code >= 400:
            if kind == SCIM and "/scim/" in str(answer.url):
                if answer.status_code >= 500 or set(answer.json()) < {"schemas", "status", "detail"}:
                    yield f"is none of theirs: {answer.text}"
            elif kind == "text/html" and kind in operation["responses"].get(str(answer.status_code), {}).get(
                "content", {}
            ):
                pass  # a page for people, which says itself what was wrong
            elif kind != PROBLEM:
                yield f"is {kind}, not a problem: {answer.text}"
            elif answer.status_code >= 500 and not (answer.status_code == 503 and WAITED_FOR in answer.text):
                yield answer.text
            elif set(problem := answer.json()) < {"type", "title", "status", "detail"} or not problem["detail"]:
                yield f"lacks a member: {answer.text}"
            return
        described = operation["responses"].get(str(answer.status_code))
        if described is None:
            yield "is a status that the document does not name"
        elif kind not in described.get("content", {}):
            yield f"is {kind}, which the document does not name"
        elif kind == "application/json" and "schema" in described["content"][kind]:
            yield from self._unlike(described["content"][kind]["schema"], answer.json())

    def _unlike(self, schema: Mapping[str, Any], body: Any) -> Iterator[str]:
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.document["components"]}
            self._validators[key] = Draft202012Validator(whole)
        for error in self._validators[key].iter_errors(body):
            yield f"is not as described: {error.json_path} {error.message}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def suite(stack: TestStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Suite]:
    given_ = {"requests_per_s": 100_000, "ready_timeout_s": 0.3}
    async with whole_suite(stack, tmp_path_factory.mktemp("suite"), **given_) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(suite: Suite) -> list[Service]:
    """Every service, asked by an operator who may do everything."""
    people = await Identities.on(suite.log)
    await people.member("acme", "vision")
    operator = {"Authorization": (await people.operator())["Authorization"]}

    async def known() -> bool:
        return all(service.access.position >= people.position for service in suite.services.values())

    await eventually(known)
    return [Service(suite, name, operator) for name in suite.services]


async def _stopped(suite: Suite) -> dict[str, str]:
    """Readers that stand still because of what was let through."""
    found: dict[str, str] = {}
    for name, client in suite.clients.items():
        ready = (await client.get("/readyz")).json()
        reasons = {each["name"]: str(each["stopped"]) for each in ready["readers"]}
        found |= {f"{name} stopped {each}": reasons.get(each, "") for each in ready["stopped"]}
    return found


async def test_odd_requests_are_answered_as_the_documents_say(suite: Suite, asked: list[Service]) -> None:
    for service in asked:
        await asyncio.to_thread(service.fuzz)
    wrong = {said: request for service in asked for said, request in service.wrong.items()} | await _stopped(suite)
    assert wrong == {}, "\n".join(f"{said}\n    {request}" for said, request in wrong.items())
    statuses = sum((service.statuses for service in asked), Counter[int]())
    assert sum(count for status, count in statuses.items() if status < 300) > 200, statuses
    assert statuses[401] == 0, statuses


async def test_a_value_that_no_table_can_keep_is_refused_wherever_it_stands(suite: Suite, asked: list[Service]) -> None:
    for service in asked:
        service.wrong.clear()
        service.statuses.clear()
        await asyncio.to_thread(service.twist)
    assert sum(service.statuses[status] for service in asked for status in (200, 201, 202)) > 50
    await asyncio.sleep(SETTLED_S)
    wrong = {said: request for service in asked for said, request in service.wrong.items()} | await _stopped(suite)
    assert wrong == {}, "\n".join(f"{said}\n    {request}" for said, request in wrong.items())
