"""Events that nobody can apply, in a running suite's log. One law: a reader stops at them by name and skips nothing.

They are appended by somebody with every right on the broker, past all doors: the way such events come in real life is a
faulty release or a hand at the console.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nats
import pytest
import pytest_asyncio
from gpuaas.cli.demo.world import World, running_world
from gpuaas.cli.service_table import SERVICES
from gpuaas.common.clock import rfc3339
from gpuaas.common.envelope import CONTENT_TYPE, CONTENT_TYPE_HEADER, TYPE_HEADER
from gpuaas.common.ids import new_id

from tests.drills.stage import state_folder, stored, unheard

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
STOPS_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Poison:
    """One event that cannot be applied, and who reads it.

    Attributes:
        reader: the projection that must stop there, as `/readyz` names it.
        says: words of the reason it gives.
    """

    service: str
    reader: str
    subject: str
    event_type: str
    data: Any
    says: str

    def payload(self, world: World) -> bytes:
        if isinstance(self.data, bytes):
            return self.data
        _, service, entity, tenant, thing = self.subject.split(".")
        return json.dumps(
            {
                "specversion": "1.0",
                "id": new_id(),
                "source": f"gpuaas/{service}",
                "type": self.event_type,
                "subject": f"{entity}/{tenant}/{thing}",
                "time": rfc3339(world.clock.now()),
                "datacontenttype": "application/json",
                "dataschema": f"{service}/poison.v1.json",
                "tenantid": tenant,
                "actor": "somebody",
                "actorkind": "user",
                "causationid": new_id(),
                "correlationid": new_id(),
                "sequence": "0000000001",
                "profile": "demo",
                "data": self.data,
            }
        ).encode()


MODEL: Final = {"vendor": "ACME", "memory_mib": 1, "interconnect": "none", "description": "Counts on beads."}
SCHEMA_VIOLATION: Final = Poison(
    "evidence",
    "projection requirements_v1",
    "events.evidence.requirement.platform.poison",
    "gpuaas.evidence.requirement-published.v1",
    {"requirement_id": "poison", "version": -1, "title": ""},
    "requirement-published",
)
NO_EVENT_AT_ALL: Final = Poison(
    "billing",
    "projection price_books_v2",
    "events.billing.price-book.platform.poison",
    "gpuaas.billing.price-book-published.v1",
    b"\x00 these bytes are no event",
    "not a readable CloudEvent",
)
UNKNOWN_VERSION: Final = Poison(
    "inventory",
    "projection gpu_models_v1",
    "events.inventory.gpu-model.platform.abacus-2",
    "gpuaas.inventory.gpu-model-defined.v2",
    {"gpu_model": "abacus-2", "beads": 100, **MODEL},
    "gpu-model-defined.v2",
)
TOO_LARGE: Final = Poison(
    "evidence",
    "projection gates_v2",
    "events.evidence.gate.platform.poison",
    "gpuaas.evidence.gate-decided.v1",
    {"gate_id": "poison", "subject_sha256": "a" * 600_000},
    "gate-decided",
)
POISONS: Final = (SCHEMA_VIOLATION, NO_EVENT_AT_ALL, UNKNOWN_VERSION, TOO_LARGE)
READ_ELSEWHERE: Final = {"prices"}
"""Readers of other services that read the same events: allocations' of list prices."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spoilt() -> AsyncIterator[World]:
    """A suite of its own: what is spoilt here stays spoilt."""
    with state_folder() as folder:
        async with running_world(folder, unheard) as world:
            yield world


async def appended(world: World, poison: Poison) -> int:
    """Put it into the log as the provisioner, who may do everything; its position."""
    connection = await nats.connect(world.endpoints.nats_url_of("provisioner"))
    try:
        headers = {CONTENT_TYPE_HEADER: CONTENT_TYPE, TYPE_HEADER: poison.event_type}
        reply = await connection.request(poison.subject, poison.payload(world), headers=headers, timeout=2)
        return int(json.loads(reply.data)["seq"])
    finally:
        await connection.close()


async def reader_of(world: World, poison: Poison) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the service says of itself, and of the reader."""
    told = await world.operator.ready(poison.service) or {}
    return told, next(reader for reader in told["readers"] if reader["name"] == poison.reader)


async def gpuaas(world: World, *words: str) -> tuple[int, str]:
    """The real command line on this suite: exit status and everything it says."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("gpuaas")),
        *words,
        env={**os.environ, "GPUAAS_STATE_DIR": world.endpoints.state_dir, "COLUMNS": "300"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_before_anything_is_spoilt_every_reader_stands_at_the_end(spoilt: World) -> None:
    status, said = await gpuaas(spoilt, "projections", "status", "--json")
    assert status == 0, said
    assert {item["service"] for item in json.loads(said)} == {entry.name for entry in SERVICES}
    assert not any(item["stopped"] for item in json.loads(said))


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.reader.split()[1])
async def test_the_reader_stops_there_by_name_and_skips_nothing(spoilt: World, poison: Poison) -> None:
    position = await appended(spoilt, poison)
    async with asyncio.timeout(STOPS_WITHIN_S):
        while not (await reader_of(spoilt, poison))[1]["stopped"]:
            await asyncio.sleep(0.1)
    told, reader = await reader_of(spoilt, poison)
    assert poison.reader in told["stopped"]
    assert told["ready"] is False
    assert reader["position"] < position
    assert reader["caught_up"] is False
    assert poison.says in reader["stopped"]
    assert str(position) in reader["stopped"]
    assert poison.subject in reader["stopped"]
    status, said = await gpuaas(spoilt, "projections", "status", "--json")
    assert status == 1
    [shown] = [item for item in json.loads(said.rpartition("]")[0] + "]") if item["name"] == poison.reader]
    assert shown["stopped"] == reader["stopped"]


async def test_the_table_for_people_names_what_stopped_and_why(spoilt: World) -> None:
    status, said = await gpuaas(spoilt, "projections", "status")
    assert status == 1
    assert SCHEMA_VIOLATION.reader in said
    assert "requirement-published" in said


async def test_all_other_readers_go_on(spoilt: World) -> None:
    body = {"tenant_id": "vc-late", "display_name": "Came later", "billing_currency": "USD"}
    last = (await spoilt.operator.post("iam", "/v1/tenants", body))["position"]
    shown = await spoilt.operator.get("iam", "/v1/tenants/vc-late")
    assert shown["display_name"] == "Came later"
    trail = await spoilt.operator.get("audit", "/v1/tenants/vc-late/trail", at_least=last)
    assert [item["position"] for item in trail["items"]] == [last]
    for entry in SERVICES:
        told = await spoilt.operator.ready(entry.name) or {}
        stopped = {reader["name"] for reader in told["readers"] if reader["stopped"]}
        assert stopped - READ_ELSEWHERE == {poison.reader for poison in POISONS if poison.service == entry.name}
        assert told["ready"] is not bool(stopped)


async def test_the_trail_of_the_auditors_has_the_poison_too(spoilt: World) -> None:
    for poison in POISONS:
        trail = await spoilt.operator.get("audit", "/v1/trail", subject=poison.subject)
        assert [item["subject"] for item in trail["items"]] == [poison.subject]


async def test_a_service_with_a_stopped_reader_still_answers_from_what_it_knows(spoilt: World) -> None:
    models = await spoilt.operator.get("inventory", "/v1/gpu-models", at_least=0)
    assert models["items"]
    assert "abacus-2" not in {item["gpu_model"] for item in models["items"]}


async def test_what_is_larger_than_the_broker_takes_never_gets_in(spoilt: World) -> None:
    whale = Poison("iam", "", "events.iam.tenant.whale.whale", "gpuaas.iam.tenant-created.v1", b"x" * (1 << 20), "")
    with pytest.raises(nats.errors.Error):  # the broker ends such a connection without an answer
        await appended(spoilt, whale)
    assert await stored(spoilt, whale.subject) == 0


async def test_a_stopped_reader_is_still_there_after_a_restart_of_its_service(spoilt: World) -> None:
    await spoilt.stack.stop_service(UNKNOWN_VERSION.service)
    await spoilt.stack.start_service(UNKNOWN_VERSION.service, wait=False)
    async with asyncio.timeout(60):
        while True:
            told = await spoilt.operator.ready(UNKNOWN_VERSION.service)
            if told and UNKNOWN_VERSION.reader in told["stopped"]:
                return
            await asyncio.sleep(0.1)
