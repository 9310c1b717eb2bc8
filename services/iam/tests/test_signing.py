"""The signing keys: kept privately, overlapping, made only where they may be."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gpuaas.common.access import Access
from gpuaas.common.clock import FixedClock
from gpuaas.common.commands import Commands
from gpuaas.common.errors import Misconfigured, Unavailable
from gpuaas.common.events import Vocabulary
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.common.projections import decoded
from gpuaas.iam.adapters.key_file import KEYS_KEPT_MAX, KeyFile
from gpuaas.iam.ports import SigningPair
from gpuaas.iam.signing import KEY_LIFE, NEXT_KEY_BEFORE_END, Signer

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)


def pair(name: str, days: float) -> SigningPair:
    return SigningPair(name, Ed25519PrivateKey.generate(), NOW, NOW + timedelta(days=days))


def test_the_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "state" / "signing-keys.json"
    kept = KeyFile(path, may_change=True).keep(first := pair("one", 90))
    assert path.stat().st_mode & 0o777 == 0o600
    [read] = KeyFile(path, may_change=False).pairs()
    assert kept == [first]
    assert (read.key_id, read.valid_from, read.valid_until) == ("one", NOW, NOW + timedelta(days=90))
    assert read.private.private_bytes_raw() == first.private.private_bytes_raw()


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing-keys.json"
    store = KeyFile(path, may_change=True)
    store.keep(pair("one", 90))
    path.chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        store.pairs()


def test_where_no_key_may_be_made_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="GPUAAS_IAM_SIGNING_KEYS_FILE"):
        KeyFile(tmp_path / "none.json", may_change=False).pairs()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": [{}]}', '{"keys": [{"key_id": "x"}]}', '{"keys": 1}'])
def test_a_half_written_file_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "signing-keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match="restore or remove"):
        KeyFile(path, may_change=True).pairs()


def test_the_faster_of_two_makers_wins(tmp_path: Path) -> None:
    path = tmp_path / "signing-keys.json"
    KeyFile(path, may_change=True).keep(pair("fast", 90))
    assert [kept.key_id for kept in KeyFile(path, may_change=True).keep(pair("slow", 90))] == ["fast"]


def test_old_keys_leave_the_file(tmp_path: Path) -> None:
    store = KeyFile(tmp_path / "signing-keys.json", may_change=True)
    for number in range(KEYS_KEPT_MAX + 3):
        store.keep(pair(f"k-{number}", 90 + number))
    assert [kept.key_id for kept in store.pairs()] == ["k-3", "k-4", "k-5", "k-6"]
    assert json.loads((tmp_path / "signing-keys.json").read_text())["keys"]
    assert sorted(os.listdir(tmp_path)) == ["signing-keys.json", "signing-keys.lock"]


class World:
    """A signer on a log in memory, with a clock that stands."""

    def __init__(self, path: Path, *, may_change: bool = True) -> None:
        self.log, self.clock = MemoryLog(), FixedClock(NOW)
        commands = Commands(self.log, self.clock, "iam", "dev")
        self.signer = Signer(KeyFile(path, may_change=may_change), commands, self.clock, "dev")

    def kid(self) -> str:
        token, _ = self.signer.token(("service-account", "robot"), "acme", 0, key_id="k")
        return str(jwt.get_unverified_header(token)["kid"])

    async def known(self) -> list[str]:
        """Ids of the keys that a reader of the log believes now."""
        access = Access("dev")
        events = [event for n in range(await self.log.last_position()) if (event := await self.log.at(n + 1))]
        for fact in decoded(Vocabulary(*Access.READS), events):
            access.apply(fact)
        return [key.key_id for key in access.signing_keys(self.clock.now())]


async def test_the_first_key_signs_at_once_and_a_restart_keeps_it(tmp_path: Path) -> None:
    world = World(tmp_path / "signing-keys.json")
    await world.signer.refresh()
    first = world.kid()
    assert await world.known() == [first]
    await world.signer.refresh()
    assert await world.log.last_position() == 1


async def test_the_next_key_overlaps_and_signs_once_it_is_known(tmp_path: Path) -> None:
    world = World(tmp_path / "signing-keys.json")
    await world.signer.refresh()
    first = world.kid()
    world.clock.advance(KEY_LIFE - NEXT_KEY_BEFORE_END)
    await world.signer.refresh()
    assert len(await world.known()) == 2
    assert world.kid() == first
    world.clock.advance(timedelta(minutes=1))
    assert world.kid() != first
    world.clock.advance(NEXT_KEY_BEFORE_END)
    assert await world.known() == [world.kid()]


async def test_where_keys_are_given_none_is_made_while_one_is_good(tmp_path: Path) -> None:
    path = tmp_path / "signing-keys.json"
    KeyFile(path, may_change=True).keep(pair("given", 10))
    world = World(path, may_change=False)
    await world.signer.refresh()
    assert world.kid() == "given"
    world.clock.advance(timedelta(days=10))
    with pytest.raises(Misconfigured, match="valid one"):
        await world.signer.refresh()
    with pytest.raises(Unavailable, match="no signing key"):
        world.kid()
