"""A log that was tampered with behind our back, on a real broker: found, said on the log, and shown with both versions.

Whoever does this owns the broker: services and people have no right to.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import nats
import pytest
from gpuaas.audit.app import build
from gpuaas.audit.settings import AuditSettings
from gpuaas.common.log import Write
from gpuaas.common.provision import LogSettings, events_config
from gpuaas.common.service import Service
from gpuaas.common.testing.neighbours import Identities, tell
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.iam import TenantCreated
from nats.aio.client import Client
from nats.aio.msg import Msg

STREAM = "EVENTS"
TENANTS = 20


class Tampering:
    """The broker's owner, a running audit service, and an operator at its door."""

    def __init__(
        self, url: str, owner: Client, service: Service, client: httpx.AsyncClient, headers: dict[str, str]
    ) -> None:
        self.url = url
        self.owner, self.service, self.client, self.headers = owner, service, client, headers
        self.stored: list[Msg] = []
        self.incarnation = ""
        self.more = 0

    async def asked(self, api: str, body: Any = None) -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        answer: dict[str, Any] = json.loads((await self.owner.request(f"$JS.API.{api}", payload, timeout=10)).data)
        assert "error" not in answer, answer
        return answer

    async def remember(self) -> None:
        """Everything in the stream, to be put back in another way."""
        info = await self.asked(f"STREAM.INFO.{STREAM}")
        self.incarnation = info["config"]["metadata"]["incarnation"]
        last = info["state"]["last_seq"]
        self.stored = [
            await self.owner.request(f"$JS.API.DIRECT.GET.{STREAM}", json.dumps({"seq": number}).encode(), timeout=10)
            for number in range(1, last + 1)
        ]

    async def put_back(self, count: int, incarnation: str, deny_delete: bool = True, **other: bytes) -> None:
        """The stream made again with its first `count` messages; `p<n>` are other bytes for position n.

        The service runs in this loop, which stands still meanwhile: it sees the new stream only when it is whole.
        """
        config = events_config(LogSettings()) | {"metadata": {"incarnation": incarnation}, "deny_delete": deny_delete}
        work = Thread(target=lambda: asyncio.run(self._put_back(self.stored[:count], config, other)))
        work.start()
        work.join()

    async def _put_back(self, stored: list[Msg], config: dict[str, Any], other: dict[str, bytes]) -> None:
        owner = await nats.connect(self.url)
        for api, body in ((f"STREAM.DELETE.{STREAM}", b""), (f"STREAM.CREATE.{STREAM}", json.dumps(config).encode())):
            answer = json.loads((await owner.request(f"$JS.API.{api}", body, timeout=10)).data)
            assert "error" not in answer, answer
        for number, message in enumerate(stored, 1):
            headers = dict(message.headers or {})
            kept: dict[str, Any] = {name: headers[name] for name in ("ce-type", "Content-Type") if name in headers}
            payload = other.get(f"p{number}", message.data)
            await owner.request(headers["Nats-Subject"], payload, headers=kept, timeout=10)
        await owner.close()

    async def grown(self, count: int) -> None:
        """The log and its trail, longer by so many events."""
        subjects = [f"events.a.b.acme.g-{self.more + number}" for number in range(count)]
        await self.service.log.append([Write(subject, 0, subject, "t", b"{}") for subject in subjects])
        self.more += count

        async def sealed() -> bool:
            return int((await self.doctor())["last_position"] or 0) == await self.service.log.last_position() - 1

        if count > 1:
            await eventually(sealed, within_s=20)

    async def positions(self, history: str) -> list[int]:
        return [each.position for each in await self.service.log.history(f"events.audit.{history}")]

    async def doctor(self) -> dict[str, Any]:
        answer = await self.client.get("/v1/examination", headers=self.headers)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def found(self, kind: str) -> dict[str, Any]:
        """The divergence of this kind, once the doctor shows it."""
        seen: list[dict[str, Any]] = []

        async def there() -> bool:
            seen[:] = [each for each in (await self.doctor())["divergences"] if each["kind"] == kind]
            return bool(seen)

        await eventually(there, within_s=20)
        return seen[0]

    async def said(self, kind: str, position: int) -> dict[str, Any]:
        """What the log itself tells of it, in the shape it has now."""
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            subject = f"events.audit.divergence.platform.{kind}-{position}"
            found[:] = [json.loads(bytes(each.envelope().data)) for each in await self.service.log.history(subject)]
            return bool(found)

        await eventually(there, within_s=20)
        return found[0]


@pytest.fixture
async def tampering(stack: TestStack, tmp_path: Path) -> AsyncIterator[Tampering]:
    async with fresh_settings(
        stack, AuditSettings, tmp_path, audit_seal_interval_s=0.2, audit_watch_interval_s=0.3, audit_watch_window=1
    ) as settings:
        service = build(settings)
        async with running(service) as client:
            identities = await Identities.on(service.log)
            headers = await identities.operator()
            for number in range(TENANTS):
                made = TenantCreated(tenant_id=f"t-{number}", display_name="T", billing_currency="EUR")
                await tell(service.log, made, tenant_id=f"t-{number}", entity_id=f"t-{number}")
            owner = await nats.connect(settings.nats_url)
            town = Tampering(settings.nats_url, owner, service, client, headers)

            async def sealed() -> bool:
                return bool((await town.doctor())["leaves"] >= TENANTS)

            await eventually(sealed, within_s=20)
            assert (await town.doctor())["divergences"] == []
            # Nothing more is sealed while the copy is taken and put back.
            await town.remember()
            yield town
            await owner.close()


async def test_other_bytes_at_an_old_position_are_found(tampering: Tampering) -> None:
    forged = tampering.stored[7].data.replace(b'"display_name":"T"', b'"display_name":"X"')
    assert forged != tampering.stored[7].data
    await tampering.put_back(len(tampering.stored), tampering.incarnation, p8=forged)
    finding = await tampering.found("rewritten")
    assert finding["position"] == "8"
    assert base64.b64decode(finding["trail_holds"]) == tampering.stored[7].data
    assert base64.b64decode(finding["log_holds"]) == forged
    assert finding["expected_sha256"] != finding["found_sha256"]
    assert (await tampering.said("rewritten", 8))["found_sha256"] == finding["found_sha256"]


async def test_a_message_that_vanished_is_found(tampering: Tampering) -> None:
    await tampering.put_back(len(tampering.stored), tampering.incarnation, deny_delete=False)
    await tampering.asked(f"STREAM.MSG.DELETE.{STREAM}", {"seq": 9})
    finding = await tampering.found("vanished")
    assert finding["position"] == "9"
    assert base64.b64decode(finding["trail_holds"]) == tampering.stored[8].data
    assert finding["log_holds"] is None
    assert (await tampering.said("vanished", 9))["expected_sha256"] == finding["expected_sha256"]


async def test_a_log_that_was_set_back_is_found(tampering: Tampering) -> None:
    count = len(tampering.stored) - 6
    await tampering.put_back(count, tampering.incarnation)
    assert (await tampering.said("rewound", count + 1))["expected_sha256"]
    finding = await tampering.found("rewound")
    assert base64.b64decode(finding["trail_holds"]) == tampering.stored[count].data


async def test_a_log_that_was_made_anew_is_found(tampering: Tampering) -> None:
    await tampering.put_back(len(tampering.stored), "another")
    await tampering.said("recreated", 1)
    assert "another under the same name" in (await tampering.found("recreated"))["detail"]


async def test_an_exchanged_log_is_compared_before_the_next_epoch_is_sealed(tampering: Tampering) -> None:
    """Position 1 is behind the newest ones and a window of one position would come by in half a minute."""
    await tampering.grown(300)
    await tampering.remember()
    epochs = (await tampering.doctor())["epochs_examined"]
    forged = tampering.stored[0].data.replace(b'"time":"2', b'"time":"1')
    assert forged != tampering.stored[0].data
    await tampering.put_back(len(tampering.stored), tampering.incarnation, p1=forged)
    await tampering.grown(1)
    assert (await tampering.said("rewritten", 1))["expected_sha256"]

    async def sealed_again() -> bool:
        return bool((await tampering.doctor())["epochs_examined"] > epochs)

    await eventually(sealed_again, within_s=20)
    found = await tampering.positions("divergence.platform.rewritten-1")
    newer = [at for at in await tampering.positions("epoch.platform.log") if at > len(tampering.stored)]
    assert found[0] < newer[0]
