"""A person is forgotten: ordered, held back, carried out, certified; and nothing that was proved before is lost.

The disks of both servers are searched as bytes: a name that was sealed was never on them, before the erasure or after.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import gpuaas.audit.app
import gpuaas.iam.app
import httpx
import pytest
import pytest_asyncio
from gpuaas.audit.settings import AuditSettings
from gpuaas.common.apikeys import new_api_key
from gpuaas.common.embedded.process import free_port
from gpuaas.common.ids import new_id
from gpuaas.common.service import Service
from gpuaas.common.testing.running import eventually, running
from gpuaas.common.testing.stack import TestStack, running_stack
from gpuaas.iam.settings import IamSettings
from gpuaas.verify.erasures import verify_erasure
from gpuaas.verify.policy import Policy, read_policy
from gpuaas.verify.rows import verify_rows

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "Mira Lindqvist"
EMAIL = "mira.lindqvist@acme-research.example"
REASON = {"reason": "ticket 4711"}


@dataclass
class Town:
    """iam and audit on one log, and an operator who may do everything."""

    stack: TestStack
    iam: Service
    doors: dict[str, httpx.AsyncClient]
    headers: dict[str, str]

    async def asks(self, service: str, method: str, path: str, **rest: Any) -> httpx.Response:
        last = await self.iam.log.last_position()
        headers = {**self.headers, "GPUaaS-At-Least": str(last), "Idempotency-Key": new_id()}
        return await self.doors[service].request(method, path, headers=headers, **rest)

    async def told(self, service: str, method: str, path: str, **rest: Any) -> Any:
        answer = await self.asks(service, method, path, **rest)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def person(self, user_id: str) -> dict[str, Any]:
        people = (await self.told("iam", "GET", "/v1/users"))["items"]
        return dict(next(each for each in people if each["principal_id"] == user_id))

    async def policy(self) -> Policy:
        return read_policy((await self.told("audit", "GET", "/v1/key"))["policy"])

    async def certificate(self, user_id: str) -> httpx.Response:
        found: list[httpx.Response] = []

        async def there() -> bool:
            found.append(await self.asks("audit", "GET", f"/v1/data-subjects/{user_id}/erasure/certificate"))
            return found[-1].status_code == 200

        await eventually(there, within_s=30)
        return found[-1]

    async def on_disk(self, text: bytes) -> list[str]:
        """Files of both servers that hold these bytes; PostgreSQL has written out what it had in memory."""
        administrator = await asyncpg.connect(self.stack.admin_dsn)
        await administrator.execute("CHECKPOINT")
        await administrator.close()
        files = [path for path in self.stack._directory.rglob("*") if path.is_file() and not path.is_symlink()]
        return [path.name for path in files if text in path.read_bytes()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folders = tmp_path_factory.mktemp("town")
    key = new_api_key("dev", "first")
    with running_stack() as stack:
        async with AsyncExitStack() as opened:
            log = await opened.enter_async_context(stack.fresh_log())
            services: dict[str, Service] = {}
            for name, build, kind, given in (
                (
                    "iam",
                    gpuaas.iam.app.build,
                    IamSettings,
                    {"iam_bootstrap_key_sha256": key.sha256, "iam_bootstrap_key_id": key.key_id},
                ),
                ("audit", gpuaas.audit.app.build, AuditSettings, {"audit_seal_interval_s": 0.2}),
            ):
                dsn = await opened.enter_async_context(stack.fresh_database())
                folder = {"state_dir": folders / name, "http_port": free_port()}
                services[name] = build(kind(nats_url=log.url, postgres_dsn=dsn, **folder, **given))  # type: ignore[arg-type]
            doors = {name: await opened.enter_async_context(running(each)) for name, each in services.items()}
            token = (await doors["iam"].post("/v1/tokens", json={"api_key": key.text})).json()["access_token"]
            yield Town(stack, services["iam"], doors, {"Authorization": f"Bearer {token}"})


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    return tmp_path / "paper.json"


async def test_a_person_is_forgotten_and_every_proof_still_holds(town: Town, paper: Path) -> None:
    mira = (await town.told("iam", "POST", "/v1/users", json={"email": EMAIL, "display_name": NAME}))["id"]
    assert (await town.person(mira))["display_name"] == NAME
    await eventually(lambda: _all_proved(town), within_s=30)
    before = await town.told("audit", "GET", "/v1/trail", params={"proof": 1, "limit": 500})
    about = f"/v1/data-subjects/{mira}"

    hold = (
        await town.told("audit", "POST", f"{about}/legal-holds", json={"matter": "Case 17", "reason": "court order"})
    )["id"]
    refused = await town.asks("audit", "POST", f"{about}/erasure", json={"basis": "request", **REASON})
    assert refused.status_code == 409
    assert f"legal hold forbids it: {hold} (Case 17)" in refused.json()["detail"]
    assert (await town.told("audit", "GET", about))["status"] == "held"
    assert (await town.person(mira))["email"] == EMAIL
    await town.told("audit", "POST", f"{about}/legal-holds/{hold}/lift", json={"reason": "case closed"})
    await town.told("audit", "POST", f"{about}/erasure", json={"basis": "request", **REASON})
    late = await town.asks("audit", "POST", f"{about}/legal-holds", json={"matter": "Case 18", "reason": "too late"})
    assert late.status_code == 409

    certificate = await town.certificate(mira)
    paper.write_bytes(certificate.content)
    policy = await town.policy()
    report = verify_erasure(paper, policy)
    assert report.verdict == "verified", report.as_text()
    assert report.facts["events sealed"] == "1"
    assert report.facts["events in the clear"] == "0"
    assert (await town.told("audit", "GET", about))["status"] == "erased"

    forgotten = await town.person(mira)
    assert (forgotten["display_name"], forgotten["email"]) == ("(sealed)", "sealed@sealed.invalid")
    assert forgotten["erased_at"] is not None
    await town.told("iam", "POST", "/v1/projections/principals_v2/rebuild")
    await eventually(lambda: _rebuilt(town))
    assert await town.person(mira) == forgotten

    proved = [row for row in before["items"] if row["proof"]]
    paper.write_text(json.dumps({"items": proved}), "utf-8")
    assert verify_rows(paper, policy).verdict == "verified"
    now = await town.told("audit", "GET", "/v1/trail", params={"proof": 1, "limit": 500, "order": "oldest"})
    same = {row["position"]: row["payload"] for row in now["items"] if row.get("payload")}
    assert all(same[row["position"]] == row["payload"] for row in proved)

    assert await town.on_disk(mira.encode()), "the search sees what is there"
    assert await town.on_disk(b"Lindqvist") == []
    assert await town.on_disk(EMAIL.encode()) == []


async def _all_proved(town: Town) -> bool:
    rows = await town.told("audit", "GET", "/v1/trail", params={"proof": 1, "limit": 500})
    return any("user-registered" in row["type"] and row["proof"] for row in rows["items"]) and all(
        row["proof"] for row in rows["items"] if ".audit." not in row["subject"]
    )


async def _rebuilt(town: Town) -> bool:
    readers = (await town.told("iam", "GET", "/v1/projections"))["items"]
    return all(reader["rebuilding"] is None for reader in readers)


async def test_a_vault_from_an_old_copy_is_cleaned_before_anything_is_opened(town: Town) -> None:
    mira = (await town.told("iam", "POST", "/v1/users", json={"email": EMAIL, "display_name": NAME}))["id"]
    seals: Any = town.iam.commands.seals
    key = await seals.vault.key_for(mira)
    await town.told("audit", "POST", f"/v1/data-subjects/{mira}/erasure", json={"basis": "retention-ended", **REASON})
    await town.certificate(mira)
    # The copy is put back: the mark goes, the key stands again.
    found = await seals.vault._newest(mira)
    await town.iam.log.wire.ask("$JS.API.STREAM.MSG.DELETE.KEYS_IAM", {"seq": found[0]})
    assert await seals.vault._put(mira, b"key:" + key)
    assert await seals.vault.key_for(mira) == key
    for work in town.iam._prepared:
        await work()
    assert await seals.vault.keys_of([mira]) == {mira: None}


async def test_nobody_unknown_is_held_or_erased(town: Town) -> None:
    for path, body in (
        ("legal-holds", {"matter": "x", "reason": "x"}),
        ("erasure", {"basis": "request", "reason": "x"}),
    ):
        assert (await town.asks("audit", "POST", f"/v1/data-subjects/nobody/{path}", json=body)).status_code == 404
    answer = await town.asks("audit", "GET", "/v1/data-subjects/nobody/erasure/certificate")
    assert answer.status_code == 404
