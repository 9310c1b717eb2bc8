"""A backup becomes a log again, in an empty place. One law: same positions, same bytes, and no step back unseen.

The events are appended in order, each guarded by the position before it, so the new stream has the old one's positions.
The broker syncs lazily meanwhile and is ended in order afterwards: measured, forty times as fast as syncing each
message. Then everything is read back and compared.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import nats
from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.cli.backup import KEYS, SECRETS, SQLITE, Progress, Verified, events_of, typed_events_of, verify_backup
from gpuaas.cli.profile import Profile
from gpuaas.cli.servers import PROVISIONER, Servers
from gpuaas.cli.state import StateFolder
from gpuaas.cli.trail_check import PLATFORM_ORIGIN, StoredEvent, Trees
from gpuaas.cli.vault_copy import put_vault
from gpuaas.common.envelope import CONTENT_TYPE, CONTENT_TYPE_HEADER, TYPE_HEADER
from gpuaas.common.errors import Misconfigured, Unreadable
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.settings import login_of
from nats.aio.client import Client

EXPECTED_LAST_OF_STREAM: Final = "Nats-Expected-Last-Sequence"
WINDOW: Final = 256
"""Appends under way at once; one connection keeps their order."""
ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    verified: Verified
    events_s: float
    whole_s: float
    people: int


async def restore(
    folder: Path,
    state_dir: Path,
    profile: Profile,
    *,
    newest_head: str | None,
    progress: Progress,
    vault: Path | None = None,
) -> Restored:
    """Make the log and the keys in `state_dir` out of the backup in `folder`.

    Args:
        vault: a copy of the keys to personal data; without it names and addresses stay sealed for good.
        newest_head: a signed head of the platform's tree, as somebody outside holds it; the backup must reach it.

    Raises:
        Misconfigured: the place is not empty.
        Unreadable: the backup is spoilt, or older than a head that audit has already given out.
    """
    began = monotonic()
    verified = verify_backup(folder)
    refuse_step_back(folder, verified, state_dir, newest_head)
    place = StateFolder(state_dir)
    place.take()
    try:
        if any((state_dir / name).exists() for name in ("nats", "nats-2", "postgres")):
            raise Misconfigured(f"{state_dir} holds a log or databases already; restore into an empty place")
        _put_keys(folder / KEYS, state_dir)
        events_s, people = await _append_all(folder, place, profile, verified.manifest.incarnation, progress, vault)
    finally:
        place.release()
    return Restored(verified, events_s, monotonic() - began, people)


def refuse_step_back(folder: Path, verified: Verified, state_dir: Path, newest_head: str | None) -> None:
    """Compare the backup with what is known to have been signed.

    Raises:
        Unreadable: audit has given out a newer head than the backup reaches: what outsiders can prove would vanish.
    """
    known = dict(_witnessed(state_dir / "services" / "audit"))
    if newest_head is not None:
        origin, told_size, told_root, *_ = newest_head.split("\n")
        known[origin] = (int(told_size), base64.b64decode(told_root))
    for origin, (size, root) in known.items():
        if not origin.endswith(PLATFORM_ORIGIN):
            continue
        found = _platform_root_at(folder, size)
        if found is None:
            raise Unreadable(
                f"audit has given out a head of {origin} with {size} events, and this backup has only "
                f"{verified.platform_leaves} sealed ones: restoring it would take back what others can prove. Use a "
                "newer backup"
            )
        if found != root:
            raise Unreadable(f"the first {size} events of {origin} in this backup are not the ones that were signed")


def _witnessed(audit: Path) -> Iterable[tuple[str, tuple[int, bytes]]]:
    """The largest heads that the witnesses in this place have seen."""
    for path in sorted(audit.rglob("*")) if audit.exists() else ():
        if path.suffix in SQLITE:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as memory:
                for origin, size, root in memory.execute("SELECT origin, size, root FROM seen"):
                    yield origin, (size, root)


def _platform_root_at(folder: Path, size: int) -> bytes | None:
    trees = Trees()
    for event in events_of(folder):
        if trees.take(event) == PLATFORM_TREE and trees.by_name[PLATFORM_TREE].size == size:
            return trees.by_name[PLATFORM_TREE].root()
    return None


def _put_keys(keys: Path, state_dir: Path) -> None:
    for source in sorted(path for path in keys.rglob("*") if path.is_file()):
        owner, *rest = source.relative_to(keys).parts
        target = (
            state_dir.joinpath(SECRETS, *rest) if owner == SECRETS else state_dir.joinpath("services", owner, *rest)
        )
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copy2(source, target)
        target.chmod(0o600)


async def _append_all(
    folder: Path, place: StateFolder, profile: Profile, incarnation: str, progress: Progress, vault: Path | None
) -> tuple[float, int]:
    lazily = profile.model_copy(update={"log": profile.log.model_copy(update={"sync": "2m"})})
    servers = Servers(place, lazily)
    try:
        await servers.start_nats(incarnation)
        login = login_of(servers.url_of(PROVISIONER))
        connection = await nats.connect(login.servers, user=login.user, password=login.password)
        began = monotonic()
        await append_in_order(connection, typed_events_of(folder), progress)
        took_s = monotonic() - began
        await _compare(JetStreamLog(lambda: connection), folder)
        people = 0 if vault is None else await put_vault(connection, vault)
        await connection.close()
    finally:
        await servers.stop()
    await asyncio.to_thread(os.sync)
    return took_s, people


async def append_in_order(connection: Client, events: Iterable[tuple[str, StoredEvent]], progress: Progress) -> None:
    """Append events so that each stands at its old position.

    Raises:
        Unreadable: the broker put one elsewhere.
    """
    waiting: list[tuple[int, asyncio.Task[int]]] = []
    position = 0
    for kind, event in events:
        position = event.position
        waiting.append((position, asyncio.create_task(_append(connection, kind, event))))
        if len(waiting) == WINDOW:
            await _arrived(waiting)
            progress(position, 0)
    await _arrived(waiting)
    progress(position, position)


async def _arrived(waiting: list[tuple[int, asyncio.Task[int]]]) -> None:
    for position, task in waiting:
        if (found := await task) != position:
            raise Unreadable(f"the broker put the event of position {position} at {found}")
    waiting.clear()


async def _append(connection: Client, kind: str, event: StoredEvent) -> int:
    headers = {
        CONTENT_TYPE_HEADER: CONTENT_TYPE,
        TYPE_HEADER: kind,
        EXPECTED_LAST_OF_STREAM: str(event.position - 1),
    }
    answer = await connection.request(event.subject, event.payload, timeout=ANSWER_S, headers=headers)
    told = json.loads(answer.data)
    if "error" in told:
        raise Unreadable(f"the broker refused the event of position {event.position}: {told['error']['description']}")
    return int(told["seq"])


async def _compare(log: JetStreamLog, folder: Path) -> None:
    """Read the new log from its first event to its last, beside the backup."""
    wanted = hashlib.sha256()
    last = 0
    for event in events_of(folder):
        wanted.update(_row(event.position, event.subject, event.payload))
        last = event.position
    found = hashlib.sha256()
    follower = log.follow(["events.>"], 0)
    async for batch in follower.batches():
        for recorded in batch.events:
            found.update(_row(recorded.position, recorded.subject, recorded.payload))
        if batch.seen >= last:
            break
    await follower.close()
    if found.digest() != wanted.digest():
        raise Unreadable("what was restored is not what the backup holds; remove it and restore again")


def _row(position: int, subject: str, payload: bytes) -> bytes:
    return b"%d %b %d " % (position, subject.encode(), len(payload)) + payload
