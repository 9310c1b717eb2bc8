"""A file of things, handed in some hundred at a time. One law: each has its own answer, and one refused is status 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.here import open_suite
from gpuaas.cli.output import fail, finish, print_json, print_table

AT_ONCE: Final = 200


def read_json(file: Path) -> Any:
    """What the file says; ends the command with status 2 where it is not JSON."""
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as broken:
        fail(f"{file} is not JSON: {broken}", 2)


def hand_in(file: Path, service: str, path: str, member: str, words: tuple[str, str], json_: bool) -> None:
    """Post the list of machines in a file as `member` of as many bodies as it takes, and say what became of each.

    Args:
        words: what was done with those that were accepted, and what one of them is called.
    """
    machines = read_json(file)
    if not isinstance(machines, list):
        fail(f"{file} is not a list of machines", 2)

    async def work() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        async with open_suite() as suite:
            for start in range(0, len(machines), AT_ONCE):
                items += (await suite.post(service, path, {member: machines[start : start + AT_ONCE]}))["items"]
        return items

    items = finish(work)
    refused = [item for item in items if item["status"] != "accepted"]
    if json_:
        print_json(items)
    else:
        rows = [[item["id"], (item["problem"] or {}).get("detail", "")] for item in refused]
        title = f"{len(items) - len(refused)} {words[0]}, {len(refused)} refused"
        print_table(title, [words[1], "why not"], rows)
    if refused:
        raise SystemExit(1)
