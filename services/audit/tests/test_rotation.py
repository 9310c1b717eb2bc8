"""The log's key is replaced: the new one is named by the old, and what the old one signed stays verifiable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gpuaas.audit.adapters.key_file import Ed25519Key
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.entities import LOG_KEY
from gpuaas.audit.reactions import announce_key
from gpuaas.common.clock import WallClock
from gpuaas.common.commands import Commands
from gpuaas.common.errors import Misconfigured
from gpuaas.common.logs.memory import MemoryLog
from gpuaas.contracts.audit import LogKeyAnnounced
from gpuaas.verify.handovers import verify_handover
from gpuaas.verify.policy import read_policy, trusting

FIRST, SECOND, THIRD = (Ed25519Key(bytes([seed]) * 32) for seed in (5, 6, 8))
LOG = "gpuaas.example/dev"


async def told(log: MemoryLog) -> list[LogKeyAnnounced]:
    history = await log.history("events.audit.log-key.platform.log")
    return [LogKeyAnnounced.model_validate_json(bytes(each.envelope().data)) for each in history]


async def test_a_key_is_announced_once_and_its_successor_with_a_handover(tmp_path: Path) -> None:
    log = MemoryLog()
    commands = Commands(log, WallClock(), "audit", "dev")
    first, second = LogKey(LOG, FIRST), LogKey(LOG, SECOND, FIRST)
    for key in (first, first, second, second, LogKey(LOG, SECOND)):
        await announce_key(commands, key)
    said = await told(log)
    assert [each.verifier_key for each in said] == [first.verifier_key(), second.verifier_key()]
    assert said[1].previous_verifier_key == first.verifier_key()
    (tmp_path / "handover").write_text(said[1].handover or "")
    report = verify_handover(tmp_path / "handover", trusting(first.verifier_key()))
    assert (report.verdict, report.detail) == ("verified", "")
    assert report.facts["verifier_key"] == second.verifier_key()


async def test_notes_of_every_key_are_accepted_by_the_policy_that_is_handed_out() -> None:
    commands = Commands(MemoryLog(), WallClock(), "audit", "dev")
    keys = [LogKey(LOG, FIRST), LogKey(LOG, SECOND, FIRST), LogKey(LOG, THIRD, SECOND)]
    notes: list[Any] = []
    for key in keys:
        await announce_key(commands, key)
        notes.append(key.checkpoint("acme", 3, bytes(32)))
    announced, _ = await commands.state(LOG_KEY, "platform", "log")
    policy = read_policy(keys[-1].policy(earlier=announced))
    assert [policy.accept(note).log.public_key for note in notes] == [k.public_key for k in (FIRST, SECOND, THIRD)]


@pytest.mark.parametrize(
    "key",
    [LogKey(LOG, THIRD), LogKey(LOG, THIRD, FIRST), LogKey(LOG, FIRST, SECOND), LogKey(LOG, FIRST)],
    ids=["alone", "skipping", "back", "an old file"],
)
async def test_a_key_that_the_last_one_does_not_name_does_not_sign(key: LogKey) -> None:
    commands = Commands(MemoryLog(), WallClock(), "audit", "dev")
    await announce_key(commands, LogKey(LOG, FIRST))
    await announce_key(commands, LogKey(LOG, SECOND, FIRST))
    with pytest.raises(Misconfigured):
        await announce_key(commands, key)
