"""The likeliest faults of a suite on this machine, looked for one by one. One law: each is told apart by its remedy."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import asyncpg
from gpuaas.cli.audit_copy import open_audit_copy
from gpuaas.cli.here import open_log, open_suite, service_names
from gpuaas.cli.readiness import last_line
from gpuaas.cli.scrub import scrub
from gpuaas.cli.state import Endpoints, running_endpoints
from gpuaas.common.errors import GpuaasError
from gpuaas.common.provision import LogSettings, events_config, guarded_differences
from gpuaas.common.settings import DURABLE_PROFILES
from nats.errors import Error as NatsError

WELL: Final = "well"
NO_ANSWER: Final = "no answer"
DISK_FREE_MIN: Final = 2 << 30
LOG_FILL_MAX: Final = 0.8
BEHIND_MAX: Final = 5_000
"""Events a reader may be behind before it is worth a word."""
ANSWER_S: Final = 3.0
RIGHTS_AGE_MAX_S: Final = 10.0
"""Rights older than this decide no change (`gpuaas.common.enforcing`)."""
DIVERGENCES: Final = "events.audit.divergence.platform.>"
Finding = dict[str, str]


async def examined(state: Path) -> AsyncIterator[Finding]:
    """Every finding, well or not, from the ground up."""
    try:
        endpoints = running_endpoints(state)
    except GpuaasError as absent:
        yield _finding("stack", "not running", absent.detail)
        return
    yield _finding("stack", WELL, f"process {endpoints.pid}, profile {endpoints.profile}")
    yield disk(shutil.disk_usage(state).free, state)
    yield secrets(state / "secrets")
    of_broker = await asyncio.to_thread(broker, endpoints)
    yield of_broker
    if of_broker["state"] == NO_ANSWER:
        yield _finding("log", "unreachable", f"the broker does not answer; see {state / 'nats' / 'nats.log'}")
    else:
        async for finding in _log(state):
            yield finding
    yield await _databases(endpoints)
    names = [name for name in service_names() if name in endpoints.services]
    async with open_suite() as suite:
        for name, told in zip(names, await asyncio.gather(*map(suite.ready, names)), strict=True):
            log = state / "logs" / f"{name}.log"
            yield service(name, told, str(log), log_end=last_line(log))


def disk(free: int, at: Path) -> Finding:
    """Room below the state folder."""
    said = f"{free >> 20:,} MiB free below {at}"
    return (
        _finding("disk", WELL, said) if free >= DISK_FREE_MIN else _finding("disk", "nearly full", f"{said}; free some")
    )


def secrets(folder: Path) -> Finding:
    """Passwords that others on this machine can read."""
    open_to_others = sorted(
        path.name for path in _inside(folder) if stat.S_IMODE(path.stat().st_mode) & 0o077 and path.is_file()
    )
    if open_to_others:
        named = ", ".join(open_to_others[:3])
        return _finding("secrets", "readable by others", f"{named}: `chmod 600` them, and change what they open")
    return _finding("secrets", WELL, f"{len(_inside(folder))} files, for their owner only")


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def broker(endpoints: Endpoints) -> Finding:
    """The broker's own opinion of itself, how full it is, and whether it keeps what its profile promises."""
    try:
        health, told = _page(endpoints, "healthz"), _page(endpoints, "jsz?config=1")
    except (OSError, ValueError) as away:
        return _finding("broker", NO_ANSWER, f"{away}; `gpuaas up` restarts it")
    if health.get("status") != "ok":
        return _finding("broker", "unhealthy", f"{health.get('error', health)}; free disk, then restart it")
    share = told["storage"] / max(1, told["config"]["max_storage"])
    if share > LOG_FILL_MAX:
        return _finding(
            "broker", "nearly full", f"{share:.0%} of its storage: enlarge log.file_store_mib in the profile"
        )
    durable = endpoints.profile in DURABLE_PROFILES
    if durable and not told["config"].get("sync_always"):
        return _finding("broker", "would lose events", f"{endpoints.profile} needs sync_interval: always; see profiles")
    return _finding("broker", WELL, f"{share:.1%} of its storage used")


def _page(endpoints: Endpoints, page: str) -> dict[str, Any]:
    with urlopen(f"{endpoints.nats_monitor_url}/{page}", timeout=ANSWER_S) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


async def _log(state: Path) -> AsyncIterator[Finding]:
    try:
        async with asyncio.timeout(3 * ANSWER_S), open_log() as log:
            info = await log.wire.ask("$JS.API.STREAM.INFO.EVENTS")
            divergences = [each.envelope() for each in await log.history(DIVERGENCES)]
    except (GpuaasError, NatsError, OSError, TimeoutError) as away:
        yield _finding("log", "unreachable", f"{away or type(away).__name__}; see {state / 'nats' / 'nats.log'}")
        return
    yield log_finding(info)
    if divergences:
        data = json.loads(divergences[-1].data)
        yield _finding(
            "trail",
            "differs from the log",
            f"{len(divergences)} findings, the newest {data['kind']} at {data['position']}: see "
            "deploy/runbooks/DivergenceFound.md",
        )
    else:
        yield _finding("trail", WELL, "audit has found nothing changed")


async def scrubbed(state: Path) -> list[Finding]:
    """Every server's copy of the log, read to its end and compared."""
    async with open_log() as log, open_audit_copy(running_endpoints(state)) as copy:
        told = await scrub(log, copy)
    runbook = "deploy/runbooks/DivergenceFound.md"
    sick = [
        _finding(f"copy at {server}", "sick", f"{len(positions)} events, the first {positions[0]}: see {runbook}")
        for server, positions in told.sick.items()
    ]
    return sick or [_finding("copies", WELL, f"{len(told.servers)} read to the end, all as audit saw them")]


def log_finding(info: dict[str, Any]) -> Finding:
    """Whether the stream is whole, and made as a log must be."""
    held = info["state"]
    wrong = guarded_differences(info["config"], events_config(LogSettings()))
    if wrong:
        return _finding("log", "set up wrongly", f"{'; '.join(wrong)}: correct it with `nats stream edit EVENTS`")
    if held["first_seq"] not in (0, 1) or held.get("num_deleted"):
        missing = held["first_seq"] - 1 + held.get("num_deleted", 0)
        return _finding(
            "log", "events are missing", f"{missing}: `gpuaas backup --mend-from-audit`, then `gpuaas restore`"
        )
    return _finding("log", WELL, f"{held['last_seq']:,} events")


async def _databases(endpoints: Endpoints) -> Finding:
    if not endpoints.postgres_url:
        return _finding("databases", WELL, "not on this machine")
    try:
        async with asyncio.timeout(ANSWER_S), open_audit_copy(endpoints):
            return _finding("databases", WELL, "they answer")
    except (GpuaasError, OSError, TimeoutError, asyncpg.PostgresError) as away:
        what = "`gpuaas up` restarts PostgreSQL; if its data is lost, remove it, every view is folded again"
        return _finding("databases", NO_ANSWER, f"{away or type(away).__name__}; {what}")


def service(name: str, told: dict[str, Any] | None, log: str, log_end: str = "") -> Finding:
    """What one service says of itself."""
    if told is None:
        return _finding(name, NO_ANSWER, f"its last words: {log_end or 'none'}; look at {log}")
    stopped = [reader for reader in told["readers"] if reader["stopped"]]
    if stopped:
        return _finding(name, "a reader has stopped", f"{stopped[0]['name']}: {stopped[0]['stopped']}")
    if told["failures"]:
        part, why = next(iter(dict(told["failures"]).items()))
        return _finding(name, "a part keeps failing", f"{part}: {why}; see {log}")
    if old := _old_rights(told.get("rights") or {}):
        return _finding(name, "old rights", f"{old}; changes are refused until it hears from the log; see {log}")
    if told.get("log_nearly_full"):
        return _finding(name, "takes no new work", "the log is nearly full: deploy/runbooks/LogNearlyFull.md")
    if far := _behind(told["readers"], told["log_position"] or 0):
        return _finding(name, "behind", f"{far}; wait, or look at PostgreSQL")
    if not told["ready"]:
        waiting = [reader["name"] for reader in told["readers"] if not reader["caught_up"]]
        return _finding(name, "not ready", f"behind: {', '.join(waiting)}; wait, or look at {log}")
    enforced = (told.get("rights") or {}).get("revision")
    return _finding(name, WELL, f"{len(told['readers'])} readers caught up, rights of position {enforced} enforced")


def _old_rights(rights: dict[str, Any]) -> str:
    """Why the rights that a service enforces may not be the newest; empty: they are."""
    if rights.get("frozen"):
        return f"frozen at position {rights['revision']}: {rights['frozen']}"
    age_s = rights.get("age_s")
    return f"those of position {rights['revision']}, {age_s:.0f} s old" if age_s and age_s > RIGHTS_AGE_MAX_S else ""


def _behind(readers: Iterable[dict[str, Any]], head: int) -> str:
    lags = {each["name"]: head - each["position"] for each in readers if not each["caught_up"]}
    far = {name: lag for name, lag in lags.items() if lag > BEHIND_MAX}
    return ", ".join(f"{name} by {lag:,} events" for name, lag in far.items())


def _finding(what: str, state: str, do: str) -> Finding:
    return {"what": what, "state": state, "do": do}
