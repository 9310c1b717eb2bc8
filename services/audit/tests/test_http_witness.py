"""A witness in a process of its own, over HTTP: an honest one, and one that is slow, down, lying or talks too much."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from gpuaas.audit.adapters.heads import Heads
from gpuaas.audit.adapters.http_witness import HttpWitness
from gpuaas.audit.adapters.key_file import Ed25519Key, secret_in
from gpuaas.audit.adapters.witnesses import Witnesses
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.reactions import Sealing
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.embedded.process import free_port
from gpuaas.common.errors import Unavailable
from gpuaas.common.log import Write
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.tables import Database
from gpuaas.verify.policy import read_policy
from gpuaas.verify.refusals import Refuted

PROGRAM = Path(__file__).parent / "witness_process.py"
NAME = "witness.example/w1"
TIMEOUT_S = 1.0
SECRET = "0b" * 32


@contextmanager
def witness_process(folder: Path, port: int, log: LogKey) -> Iterator[subprocess.Popen[bytes]]:
    """The program, answering on `port`; ended when the block ends."""
    folder.mkdir(exist_ok=True)
    (folder / "key").write_text(SECRET, "utf-8")
    (folder / "key").chmod(0o600)
    given = [str(folder), str(port), NAME, log.log, log.key.public_key.hex()]
    process = subprocess.Popen([sys.executable, str(PROGRAM), *given])
    try:
        until = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/", timeout=1)
                break
            except httpx.TransportError:
                assert time.monotonic() < until, "the witness did not start"
                time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


class Office:
    """A trail that one witness elsewhere cosigns."""

    def __init__(self, database: Database, make_trail: Any, key: LogKey, port: int, folder: Path) -> None:
        self.port, self.key, self.log = port, key, MemoryLog()
        self.trail = make_trail(self.log, database)
        self.heads = Heads(database, self.log)
        public = Ed25519Key(secret_in(folder / "key", may_create=False)).public_key
        member = HttpWitness(NAME, public, f"http://127.0.0.1:{port}/", TIMEOUT_S)
        self.witnesses = Witnesses(database, self.heads, [member], quorum=1, timeout_s=TIMEOUT_S)
        commands = Commands(self.log, WallClock(), "audit", "dev")
        name, watching = self.trail.projection.name, self.trail.watching(commands)
        self.sealing = Sealing(database, commands, self.heads, key, b"\x01" * 32, name, watching, self.witnesses)
        self.said = 0

    async def seal(self, events: int = 3, tenant: str = "acme") -> None:
        subjects = [f"events.a.b.{tenant}.n{self.said + number}" for number in range(events)]
        await self.log.append([Write(subject, 0, subject, "t", b"{}") for subject in subjects])
        self.said += events
        await self.trail.catch_up()
        await self.sealing.seal()

    async def has_quorum(self, tenant: str = "acme") -> bool:
        head = await self.heads.newest(tenant)
        assert head is not None
        try:
            return bool(read_policy(self.key.policy(self.witnesses.policy())).accept(head.cosigned))
        except Refuted as refusal:
            return refusal.reason != "no-quorum"

    async def fault(self, name: str) -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"http://127.0.0.1:{self.port}/fault/{name}")

    def state(self) -> str:
        return str(self.witnesses.told()[0]["state"])

    async def asked_again(self) -> None:
        """The pause for one that was unwell is over."""
        self.witnesses.standings[NAME].ask_again_s = 0
        await self.sealing.seal()


@pytest.fixture
async def office(
    database: Database, make_trail: Callable[..., Any], log_key: LogKey, tmp_path: Path
) -> AsyncIterator[Office]:
    port, folder = free_port(), tmp_path / "w"
    with witness_process(folder, port, log_key):
        made = Office(database, make_trail, log_key, port, folder)
        await made.heads.open()
        yield made


async def test_a_witness_in_another_process_gives_every_head_its_quorum(office: Office) -> None:
    for count in (1, 2, 5, 300):
        await office.seal(count)
        assert await office.has_quorum()
    await office.seal(2, "bolt")
    assert await office.has_quorum("bolt")
    assert office.state() == "well"


@pytest.mark.parametrize(
    ("fault", "state"), [("slow", "slow"), ("lying", "lying"), ("broken", "declining"), ("endless", "lying")]
)
async def test_one_that_is_unwell_costs_its_cosignature_until_it_is_back(
    office: Office, fault: str, state: str
) -> None:
    await office.seal()
    await office.fault(fault)
    began = time.monotonic()
    await office.seal()
    assert time.monotonic() - began < 20 * TIMEOUT_S, "sealing does not wait for it"
    assert not await office.has_quorum()
    assert office.state() in (state, "down")
    await office.fault("none")
    await office.asked_again()
    assert await office.has_quorum()
    assert office.state() == "well"


async def test_one_that_was_killed_remembers_when_it_is_back(
    database: Database, make_trail: Callable[..., Any], log_key: LogKey, tmp_path: Path
) -> None:
    port, folder = free_port(), tmp_path / "w"
    with witness_process(folder, port, log_key):
        office = Office(database, make_trail, log_key, port, folder)
        await office.heads.open()
        await office.seal(5)
        assert await office.has_quorum()
    await office.seal(4)
    assert office.state() == "down"
    assert not await office.has_quorum()
    with witness_process(folder, port, log_key):
        await office.asked_again()
        assert await office.has_quorum()
        # What it had cosigned before it was killed is not cosigned in another version.
        await database.pool.execute("DELETE FROM audit_cosignatures_v1")
        await office.seal(1)
        assert await office.has_quorum()


async def test_many_trees_at_once_get_their_quorum_within_few_sealings(office: Office) -> None:
    """Under load one sealing may end before all are cosigned; what is missing is offered again, not forgotten."""
    office.witnesses.timeout_s = 3.0
    tenants = [f"t-{number}" for number in range(120)]
    await office.log.append([Write(f"events.a.b.{each}.x", 0, each, "t", b"{}") for each in tenants])
    await office.trail.catch_up()
    await office.sealing.seal()
    for _ in range(10):
        if all([await office.has_quorum(each) for each in tenants]):
            break
        await office.asked_again()
    assert all([await office.has_quorum(each) for each in tenants])


async def test_nobody_at_the_address_is_no_answer(log_key: LogKey) -> None:
    witness = HttpWitness(NAME, b"\x01" * 32, f"http://127.0.0.1:{free_port()}", TIMEOUT_S)
    with pytest.raises(Unavailable, match="does not answer"):
        await asyncio.wait_for(witness.add_checkpoint(b"x"), 10)
