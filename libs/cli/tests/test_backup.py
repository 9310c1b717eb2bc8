"""Backup and restore: the same positions and bytes, compared with what audit signed, and no step back unseen."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from gpuaas.audit.app import build
from gpuaas.audit.settings import AuditSettings
from gpuaas.cli.backup import EVENTS_FILE, MANIFEST_FILE, events_of, verify_backup, write_backup
from gpuaas.cli.profile import load
from gpuaas.cli.restore import restore
from gpuaas.cli.vault_copy import put_vault, write_vault
from gpuaas.common.errors import Misconfigured, Unreadable
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.logs.wire import Wire
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.running import eventually, fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.common.vaults.jetstream import JetStreamVault
from gpuaas.contracts.allocations import PoolCapacityWithdrawn
from gpuaas.contracts.iam import ProjectCreated

TENANTS = ("acme", "bolt")


def unseen(_done: int, _of: int) -> None:
    """Nobody watches."""


@asynccontextmanager
async def audited(stack: TestStack, state: Path) -> AsyncIterator[JetStreamLog]:
    """A log that audit seals, with audit's keys below `state` as `gpuaas up` has them."""
    folder = state / "services" / "audit"
    folder.mkdir(parents=True)
    settled = fresh_settings(stack, AuditSettings, folder, audit_seal_interval_s=0.1)
    async with settled as settings, running(build(settings)):
        connection = await nats.connect(settings.nats_url)
        yield JetStreamLog(lambda: connection)
        await connection.close()


async def told(log: JetStreamLog, rounds: int) -> None:
    """Events of two tenants and the platform, sealed."""
    for number in range(rounds):
        for tenant in TENANTS:
            event = ProjectCreated(tenant_id=tenant, project_id=f"p{number}", display_name=f"Project {number}")
            last = await tell(log, event, tenant_id=tenant, entity_id=f"p{number}")
        withdrawn = PoolCapacityWithdrawn(pool_id="main", node_id=f"n{number}", reason="a test")
        last = await tell(log, withdrawn, tenant_id="platform", entity_id=f"p{number}")

    async def sealed() -> bool:
        epochs = await log.history("events.audit.epoch.platform.log")
        return bool(epochs) and int(json.loads(epochs[-1].payload)["data"]["last_position"]) >= last

    await eventually(sealed)


async def test_a_backup_is_restored_position_by_position_and_is_what_audit_signed(
    stack: TestStack, tmp_path: Path
) -> None:
    async with audited(stack, tmp_path / "here") as log:
        await told(log, 5)
        verified = await write_backup(log, tmp_path / "here", tmp_path / "copy", unseen)
        assert verified.every_tree is True
        assert verified.epochs >= 1
        assert verified.sealed_to >= 15
        stored = [(each.position, each.subject, each.payload) for each in await _all(log)]
        incarnation = await log.incarnation()
    place = tmp_path / "there"
    restored = await restore(tmp_path / "copy", place, load("demo"), newest_head=None, progress=unseen)
    assert restored.verified == verify_backup(tmp_path / "copy")
    assert (place / "incarnation").read_text().strip() == incarnation
    assert [tuple(event) for event in events_of(tmp_path / "copy")] == stored[
        : restored.verified.manifest.last_position
    ]
    key = place / "services" / "audit" / "audit-signing.key"
    assert key.read_text() == (tmp_path / "here/services/audit/audit-signing.key").read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(Misconfigured, match="empty place"):
        await restore(tmp_path / "copy", place, load("demo"), newest_head=None, progress=unseen)


async def _all(log: JetStreamLog) -> list[Any]:
    return [each for position in range(1, await log.last_position() + 1) if (each := await log.at(position))]


async def test_a_damaged_backup_never_passes_however_clever_the_damage(stack: TestStack, tmp_path: Path) -> None:
    async with audited(stack, tmp_path / "here") as log:
        await told(log, 3)
        await write_backup(log, tmp_path / "here", tmp_path / "copy", unseen)
    spoil(tmp_path / "copy", lambda rows: rows, honest=False)
    with pytest.raises(Unreadable, match="not the file that was written"):
        verify_backup(tmp_path / "copy")

    def rows_of(tenant: str) -> Callable[[list[list[Any]]], list[list[Any]]]:
        def change(rows: list[list[Any]]) -> list[list[Any]]:
            row = next(row for row in rows if f".{tenant}." in row[1])
            row[3] = base64.b64encode(base64.b64decode(row[3]) + b" ").decode()
            return rows

        return change

    for change, said in (
        (rows_of("platform"), "signed over other events"),
        (rows_of("acme"), "commits to"),
        (lambda rows: rows[:3] + rows[4:], "events are missing"),
        (lambda rows: rows[:-1], "events are missing"),
    ):
        original = (tmp_path / "copy" / EVENTS_FILE).read_bytes()
        spoil(tmp_path / "copy", change, honest=True)
        with pytest.raises(Unreadable, match=said):
            verify_backup(tmp_path / "copy")
        (tmp_path / "copy" / EVENTS_FILE).write_bytes(original)


def spoil(folder: Path, change: Callable[[list[list[Any]]], list[list[Any]]], *, honest: bool) -> None:
    """Change the events file; `honest`: with a manifest that has the new digest."""
    path = folder / EVENTS_FILE
    with gzip.open(path, "rt") as file:
        rows = change([json.loads(line) for line in file])
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    if not honest:
        path.write_bytes(path.read_bytes()[:-1] + b"\x00")
        return
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["events_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


async def test_an_older_backup_does_not_take_back_what_others_can_prove(stack: TestStack, tmp_path: Path) -> None:
    async with audited(stack, tmp_path / "here") as log:
        await told(log, 2)
        await write_backup(log, tmp_path / "here", tmp_path / "old", unseen)
        await told_more(log)
        epochs = await log.history("events.audit.epoch.platform.log")
        head = json.loads(epochs[-1].payload)["data"]["platform_checkpoint"]
        await write_backup(log, tmp_path / "here", tmp_path / "new", unseen)
    with pytest.raises(Unreadable, match="take back what others can prove"):
        await restore(tmp_path / "old", tmp_path / "there", load("demo"), newest_head=head, progress=unseen)
    place = tmp_path / "lost"
    (place / "services").mkdir(parents=True)
    (tmp_path / "here" / "services" / "audit").rename(place / "services" / "audit")
    with pytest.raises(Unreadable, match="take back"):
        await restore(tmp_path / "old", place, load("demo"), newest_head=None, progress=unseen)
    await restore(tmp_path / "new", tmp_path / "there", load("demo"), newest_head=head, progress=unseen)


async def told_more(log: JetStreamLog) -> None:
    before = await log.last_position()
    for number in range(3):
        withdrawn = PoolCapacityWithdrawn(pool_id="main", node_id=f"m{number}", reason="a test")
        await tell(log, withdrawn, tenant_id="platform", entity_id=f"q{number}")

    async def sealed() -> bool:
        epochs = await log.history("events.audit.epoch.platform.log")
        return int(json.loads(epochs[-1].payload)["data"]["last_position"]) > before

    await eventually(sealed)
    await asyncio.sleep(0)


async def test_keys_to_personal_data_are_copied_apart_and_destroyed_ones_stay_destroyed(
    stack: TestStack, tmp_path: Path
) -> None:
    async with stack.fresh_log() as one, stack.fresh_log() as other:
        before, after = await nats.connect(one.url), await nats.connect(other.url)
        vault, again = JetStreamVault(Wire(lambda: before), "iam"), JetStreamVault(Wire(lambda: after), "iam")
        keys = {name: await vault.key_for(name) for name in ("ada", "bo", "cy")}
        await vault.destroy("bo")
        assert await write_vault(before, tmp_path / "vault") == 3
        assert stat.S_IMODE((tmp_path / "vault").stat().st_mode) == 0o600
        assert await put_vault(after, tmp_path / "vault") == 3
        assert await again.keys_of(list(keys)) == keys | {"bo": None}
        with pytest.raises(Unreadable, match="empty place"):
            await put_vault(after, tmp_path / "vault")
        with pytest.raises(Misconfigured, match="exists"):
            await write_vault(before, tmp_path / "vault")
        (tmp_path / "spoilt").write_text("nothing\n")
        with pytest.raises(Unreadable, match="no copy"):
            await put_vault(after, tmp_path / "spoilt")
        await before.close()
        await after.close()
