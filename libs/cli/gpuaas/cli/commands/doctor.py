"""`gpuaas doctor`: what is wrong here. One law: each finding says what to do next."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.request import urlopen

import click
from gpuaas.cli.output import as_json, finish, print_json, print_table

DISK_FREE_MIN: Final = 2 << 30
LOG_FILL_MAX: Final = 0.8


@click.command()
@as_json
def command(json_: bool) -> None:
    """Look at servers, services, readers, the log and the disk; exit status 1 when something is wrong."""

    async def work() -> list[dict[str, str]]:
        return [finding async for finding in _findings()]

    findings = finish(work)
    if json_:
        print_json(findings)
    else:
        rows = [[finding["what"], finding["state"], finding["do"]] for finding in findings]
        print_table("Findings", ["what", "state", "do"], rows)
    if any(finding["state"] != "well" for finding in findings):
        raise SystemExit(1)


async def _findings() -> AsyncIterator[dict[str, str]]:
    from gpuaas.cli.here import open_log, open_suite, service_names
    from gpuaas.cli.state import default_state_dir, running_endpoints
    from gpuaas.common.errors import GpuaasError

    state = default_state_dir()
    try:
        endpoints = running_endpoints(state)
    except GpuaasError as absent:
        yield _finding("stack", "not running", absent.detail)
        return
    yield _finding("stack", "well", f"process {endpoints.pid}, profile {endpoints.profile}")
    free = shutil.disk_usage(state).free
    enough = free >= DISK_FREE_MIN
    yield _finding("disk", "well" if enough else "nearly full", f"{free >> 20:,} MiB free below {state}")
    yield _broker(endpoints.nats_monitor_url)
    try:
        async with open_log() as log:
            info = (await log.wire.ask("$JS.API.STREAM.INFO.EVENTS"))["state"]
    except Exception as away:  # noqa: BLE001 - whatever it is, the finding names it
        yield _finding("log", "unreachable", f"{away}; see {state / 'logs'}")
    else:
        whole = info["first_seq"] in (0, 1)
        yield _finding(
            "log",
            "well" if whole else "events are missing",
            f"{info['last_seq']:,} events" if whole else f"begins at {info['first_seq']}: restore it from a backup",
        )
    async with open_suite() as suite:
        for name in service_names():
            yield _service(name, await suite.ready(name), str(state / "logs" / f"{name}.log"))


def _broker(monitor_url: str) -> dict[str, str]:
    try:
        with urlopen(f"{monitor_url}/healthz", timeout=3) as answer:
            health = json.load(answer)
        with urlopen(f"{monitor_url}/jsz", timeout=3) as answer:
            told = json.load(answer)
    except (OSError, ValueError) as away:
        return _finding("broker", "no answer", f"{away}; `gpuaas up` restarts it")
    if health.get("status") != "ok":
        return _finding("broker", "unhealthy", str(health.get("error", health)))
    share = told["storage"] / max(1, told["config"]["max_storage"])
    if share > LOG_FILL_MAX:
        return _finding("broker", "nearly full", f"{share:.0%} of its storage: enlarge max_file_store")
    return _finding("broker", "well", f"{share:.1%} of its storage used")


def _service(name: str, told: dict[str, Any] | None, log: str) -> dict[str, str]:
    if told is None:
        return _finding(name, "no answer", f"look at {log}")
    stopped = [reader for reader in told["readers"] if reader["stopped"]]
    if stopped:
        return _finding(name, "a reader has stopped", f"{stopped[0]['name']}: {stopped[0]['stopped']}")
    if told["failures"]:
        part, why = next(iter(told["failures"].items()))
        return _finding(name, "a part keeps failing", f"{part}: {why}; see {log}")
    if not told["ready"]:
        behind = [reader["name"] for reader in told["readers"] if not reader["caught_up"]]
        return _finding(name, "not ready", f"behind: {', '.join(behind)}; wait, or look at {log}")
    return _finding(name, "well", f"{len(told['readers'])} readers caught up")


def _finding(what: str, state: str, do: str) -> dict[str, str]:
    return {"what": what, "state": state, "do": do}
