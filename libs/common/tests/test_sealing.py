"""Sealed personal data: what opens it, what does not, and what is left after an erasure."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import nats
import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.decider import Decider
from gpuaas.common.embedded.nats_server import NatsServer, NatsUser
from gpuaas.common.embedded.process import free_port
from gpuaas.common.envelope import PLATFORM
from gpuaas.common.errors import Misconfigured, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.logs.wire import Wire
from gpuaas.common.provision import KEY_KEEPERS, provision_log
from gpuaas.common.sealing import Box, Seals, Vault, seal, unseal
from gpuaas.common.testing.stack import LogAddress
from gpuaas.common.testing.vault_contract import VaultContract
from gpuaas.common.vaults.jetstream import JetStreamVault
from gpuaas.common.vaults.memory import MemoryVault
from gpuaas.contracts.catalogue import ALL
from gpuaas.contracts.iam import UserRegistered

MIRA = UserRegistered(user_id="mira", email="mira.lindqvist@acme.example", display_name="Mira Lindqvist")
USER: Entity[int, Event] = Entity(
    "iam", "user", Decider(0, lambda event, _: [event], lambda state, _: state + 1), Vocabulary(UserRegistered)
)


def cause() -> Cause:
    return Cause(id=new_id(), actor="ada", actor_kind="user")


class TestMemoryVault(VaultContract):
    @pytest.fixture
    def vault(self) -> Vault:
        return MemoryVault()


class TestJetStreamVault(VaultContract):
    @pytest.fixture
    async def vault(self, log_address: LogAddress) -> AsyncIterator[Vault]:
        connection = await nats.connect(log_address.url)
        yield JetStreamVault(Wire(lambda: connection), "iam")
        await connection.close()


def test_the_keepers_of_keys_are_the_owners_of_personal_data() -> None:
    assert set(KEY_KEEPERS) == {event.SERVICE for event in ALL if event.PERSONAL}


async def test_the_log_holds_a_box_and_who_has_the_key_reads_it() -> None:
    log, seals = MemoryLog(), Seals("iam", MemoryVault())
    commands = Commands(log, WallClock(), "iam", "dev", seals=seals)
    why = replace(cause(), digest="0" * 32)
    outcome = await commands.execute(USER, PLATFORM, "mira", MIRA, why)
    [recorded] = await log.history(USER.subject(PLATFORM, "mira"))
    assert b"indqvist" not in recorded.payload
    envelope = recorded.envelope()
    read = UserRegistered.model_validate_json(bytes(envelope.data))
    assert (read,) == outcome.events
    assert (read.email, read.display_name) == ("sealed@sealed.invalid", "(sealed)")
    assert envelope.causedigest is None, "names could be tried against it"
    assert envelope.sealed is not None
    assert envelope.sealedby == "iam/mira"
    box = Box(envelope.id, envelope.type, envelope.sealed, envelope.sealedby)
    assert await seals.opened([box]) == [{"email": MIRA.email, "display_name": MIRA.display_name}]
    await seals.vault.destroy("mira")
    assert await seals.opened([box]) == [None]
    assert (await commands.execute(USER, PLATFORM, "mira", MIRA, why)).repeated
    with pytest.raises(Rejected, match="was erased"):
        await commands.execute(USER, PLATFORM, "mira", MIRA, cause())


async def test_personal_data_is_not_written_where_nothing_seals_it() -> None:
    log = MemoryLog()
    with pytest.raises(Misconfigured, match="personal data"):
        await Commands(log, WallClock(), "iam", "dev").execute(USER, PLATFORM, "mira", MIRA, cause())
    assert await log.last_position() == 0


async def test_a_lost_vault_is_not_taken_for_an_erasure() -> None:
    seals = Seals("iam", MemoryVault())
    _, box = await seals.seal(MIRA, "e-1")
    for elsewhere in (Seals("iam", MemoryVault()), Seals("billing", seals.vault)):
        with pytest.raises(Unreadable, match="restore the vault"):
            await elsewhere.opened([box])


@pytest.mark.parametrize("change", [{"event_id": "e-2"}, {"event_type": "other"}, {"sealed": "AAAA"}, {"sealed": "é"}])
async def test_a_box_opens_only_where_it_was_sealed(change: dict[str, str]) -> None:
    seals = Seals("iam", MemoryVault())
    _, box = await seals.seal(MIRA, "e-1")
    with pytest.raises(Unreadable):
        await seals.opened([replace(box, **change)])


def test_boxes_of_short_and_long_names_look_alike() -> None:
    key = os.urandom(32)
    boxes = [seal(key, {"display_name": "x" * length}, b"") for length in (1, 40, 80)]
    assert len({len(box) for box in boxes}) == 1
    assert len(set(boxes)) == 3
    assert unseal(key, boxes[1], b"") == {"display_name": "x" * 40}


async def test_neither_the_name_nor_a_destroyed_key_is_on_the_brokers_disk(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Searched as bytes, in every file of a stopped server."""
    directory = tmp_path_factory.mktemp("nats")
    server = NatsServer(directory, {"CELL": {"admin": NatsUser()}}, port=free_port(), max_file_store_bytes=1 << 30)
    server.start()
    keys: dict[str, bytes] = {}
    try:
        connection = await nats.connect(server.url("admin"))
        await provision_log(connection)
        log = JetStreamLog(lambda: connection)
        vault = JetStreamVault(log.wire, "iam")
        commands = Commands(log, WallClock(), "iam", "dev", seals=Seals("iam", vault))
        for name in ("mira", "noor", "ines"):
            event = MIRA.model_copy(update={"user_id": name})
            await commands.execute(USER, PLATFORM, name, event, cause())
            keys[name] = await vault.key_for(name)
        assert found_on(directory, keys["mira"]), "the search sees what is there"
        assert await vault.destroy("mira")
        await connection.close()
    finally:
        await asyncio.to_thread(server.stop)
    for text in (b"Lindqvist", b"mira.lindqvist"):
        assert not found_on(directory, text)
    assert not found_on(directory, keys["mira"])
    assert found_on(directory, keys["noor"])


def found_on(directory: Path, needle: bytes) -> list[str]:
    return [str(path) for path in directory.rglob("*") if path.is_file() and needle in path.read_bytes()]
