"""A copy of what cannot be made again: log and keys. One law: a copy counts only after it was read and compared.

    <folder>/manifest.json       incarnation, last position, digests
    <folder>/events.jsonl.gz     every event: position, subject, type, its very bytes in base64
    <folder>/keys/<service>/…    what services keep outside the log, and secrets/ of the installation

Read models are not in it: they are folded again. The broker's own snapshots are not used: they leave a rotten message
out without a word.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from gpuaas.cli.audit_copy import AuditCopy
from gpuaas.cli.service_table import SERVICES
from gpuaas.cli.trail_check import Keys, StoredEvent, epochs_in, same_whole
from gpuaas.common.envelope import Recorded
from gpuaas.common.errors import Misconfigured, Unreadable
from gpuaas.common.logs.jetstream import JetStreamLog

FORMAT: Final = 1
EVENTS_FILE: Final = "events.jsonl.gz"
MANIFEST_FILE: Final = "manifest.json"
KEYS: Final = "keys"
SECRETS: Final = "secrets"
SQLITE: Final = (".db", ".sqlite", ".sqlite3")
BESIDE_SQLITE: Final = ("-wal", "-shm")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        events_sha256: over the events file as it is.
        keys_sha256: path below `keys/` → digest.
    """

    format: int
    made_at: str
    incarnation: str
    last_position: int
    events_sha256: str
    keys_sha256: dict[str, str]


@dataclass(frozen=True, slots=True)
class Verified:
    """What reading a backup has shown.

    Attributes:
        epochs: sealed epochs whose platform tree the events have.
        sealed_to: the position up to which audit has vouched for the events; 0: it had sealed nothing.
        every_tree: whether all tenants' trees, too, are as the newest epoch's map says; None: the keys are not in it.
    """

    manifest: Manifest
    epochs: int
    sealed_to: int
    platform_leaves: int
    every_tree: bool | None


async def write_backup(
    log: JetStreamLog, state: Path, folder: Path, progress: Progress, mend: AuditCopy | None = None
) -> Verified:
    """Copy log and keys into `folder`, then read the copy and compare it with what audit signed.

    Args:
        mend: where events that the log can no longer give are taken from.

    Raises:
        Misconfigured: the folder holds something.
        Unreadable: the log has a hole or is not what audit saw; the copy is left for inspection.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Misconfigured(f"{folder} is not empty; a backup is never written over another")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    last = await log.last_position()
    await _copy_events(log, last, folder / EVENTS_FILE, progress, mend)
    _copy_keys(state, folder / KEYS)
    manifest = Manifest(
        format=FORMAT,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        incarnation=await log.incarnation(),
        last_position=last,
        events_sha256=_sha256(folder / EVENTS_FILE),
        keys_sha256={str(path.relative_to(folder / KEYS)): _sha256(path) for path in _files(folder / KEYS)},
    )
    (folder / MANIFEST_FILE).write_text(json.dumps(asdict(manifest), indent=1) + "\n", "utf-8")
    return verify_backup(folder)


def verify_backup(folder: Path) -> Verified:
    """Read everything in a backup again.

    Raises:
        Misconfigured: there is no backup.
        Unreadable: a file has changed, an event is missing, or the events are not the ones that audit signed.
    """
    manifest = manifest_of(folder)
    _compare_files(folder, manifest)
    last, epochs = epochs_in(events_of(folder))
    if last != manifest.last_position:
        raise Unreadable(f"{folder} ends at {last} and says {manifest.last_position}: events are missing")
    keys = Keys.below(folder / KEYS / "audit")
    newest = epochs[-1] if epochs else None
    whole = None if keys is None or newest is None else same_whole(newest, events_of(folder), keys)
    if whole is False and newest is not None:
        raise Unreadable(
            f"the events up to {newest.last_position} are not those that epoch {newest.number} commits to: at least "
            "one tenant's event is not what audit saw (or audit's key was changed and not every tree signed since)"
        )
    return Verified(
        manifest=manifest,
        epochs=len(epochs),
        sealed_to=newest.last_position if newest else 0,
        platform_leaves=newest.platform_size if newest else 0,
        every_tree=whole,
    )


def manifest_of(folder: Path) -> Manifest:
    """What the backup says of itself. Raises Misconfigured."""
    try:
        told = Manifest(**json.loads((folder / MANIFEST_FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as absent:
        raise Misconfigured(f"{folder} holds no backup that this program can read: {absent}") from None
    if told.format != FORMAT:
        raise Misconfigured(f"{folder} was written in format {told.format}; this program reads {FORMAT}")
    return told


def events_of(folder: Path) -> Iterator[StoredEvent]:
    """The events, in order, with their very bytes. Raises Unreadable where the file is cut off or spoilt."""
    for line in _lines(folder / EVENTS_FILE):
        position, subject, _, payload = json.loads(line)
        yield StoredEvent(position, subject, base64.b64decode(payload))


def typed_events_of(folder: Path) -> Iterator[tuple[str, StoredEvent]]:
    """(type header, event), for whoever appends them again."""
    for line in _lines(folder / EVENTS_FILE):
        position, subject, kind, payload = json.loads(line)
        yield kind, StoredEvent(position, subject, base64.b64decode(payload))


def _lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            yield from file
    except (OSError, EOFError, UnicodeDecodeError) as spoilt:
        raise Unreadable(f"{path} cannot be read to its end: {spoilt}") from spoilt


def _compare_files(folder: Path, manifest: Manifest) -> None:
    found = {str(path.relative_to(folder / KEYS)): _sha256(path) for path in _files(folder / KEYS)}
    wrong = sorted(name for name in found | manifest.keys_sha256 if found.get(name) != manifest.keys_sha256.get(name))
    if wrong:
        raise Unreadable(f"of the keys in {folder}, these are not what was written: {', '.join(wrong[:5])}")
    if not (folder / EVENTS_FILE).exists() or _sha256(folder / EVENTS_FILE) != manifest.events_sha256:
        raise Unreadable(f"{folder / EVENTS_FILE} is not the file that was written; use another backup")


async def _copy_events(log: JetStreamLog, last: int, path: Path, progress: Progress, mend: AuditCopy | None) -> None:
    with gzip.open(path, "wt", encoding="ascii", compresslevel=5) as file:
        done = 0
        async for recorded in _all(log, last):
            await _mended(file, done + 1, recorded.position, mend)
            found = StoredEvent(recorded.position, recorded.subject, recorded.payload)
            file.write(_line(recorded.type, found))
            done = recorded.position
            if done % 1_000 == 0 or done == last:
                progress(done, last)
        await _mended(file, done + 1, last + 1, mend)


async def _mended(file: IO[str], first: int, before: int, mend: AuditCopy | None) -> None:
    """Write the events from `first` on that the log did not give, out of audit's copy."""
    for position in range(first, before):
        found = None if mend is None else await mend.event(position)
        if found is None:
            whose = "audit has no copy of it either" if mend is not None else "take it with --mend-from-audit"
            raise Unreadable(f"the log cannot give the event of position {position} any more; {whose}")
        file.write(_line(*found))


def _line(kind: str, event: StoredEvent) -> str:
    payload = base64.b64encode(event.payload).decode("ascii")
    return json.dumps([event.position, event.subject, kind, payload]) + "\n"


async def _all(log: JetStreamLog, last: int) -> AsyncIterator[Recorded]:
    if not last:
        return
    follower = log.follow(["events.>"], 0)
    try:
        async for batch in follower.batches():
            for recorded in batch.events:
                if recorded.position > last:
                    return
                yield recorded
            if batch.seen >= last:
                return
    finally:
        await follower.close()


def _copy_keys(state: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for entry in SERVICES:
        for name in entry.keeps:
            source = state / "services" / entry.name / name
            if source.exists():
                _copy(source, folder / entry.name / name)
    if (state / SECRETS).exists():
        _copy(state / SECRETS, folder / SECRETS)


def _copy(source: Path, target: Path) -> None:
    """A file or a folder; a data base that is being written to is copied whole, by its own means."""
    if source.is_dir():
        for inner in sorted(source.iterdir()):
            _copy(inner, target / inner.name)
        return
    if source.name.endswith(BESIDE_SQLITE):
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if source.suffix in SQLITE:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
        target.chmod(0o600)
    else:
        shutil.copy2(source, target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_document(verified: Verified) -> dict[str, Any]:
    """For `--json`."""
    told = asdict(verified)
    told["manifest"]["keys_sha256"] = len(verified.manifest.keys_sha256)
    return told
