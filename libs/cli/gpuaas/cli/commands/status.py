"""`gpuaas status`: where the suite stands. One law: what is behind or stopped is named first."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.here import open_suite, service_names
from gpuaas.cli.output import as_json, finish, print_json, print_table


@click.command()
@as_json
def command(json_: bool) -> None:
    """Where every service and each of its readers stands; exit status 1 unless all are ready."""

    async def ask() -> dict[str, dict[str, Any] | None]:
        async with open_suite() as suite:
            return {name: await suite.ready(name) for name in service_names()}

    told = finish(ask)
    if json_:
        print_json(told)
    else:
        rows = [row for name, answer in told.items() for row in _rows(name, answer)]
        print_table("Services", ["service", "state", "reader", "position", "behind", "said"], rows)
    if not all(answer and answer["ready"] for answer in told.values()):
        raise SystemExit(1)


def _rows(name: str, answer: dict[str, Any] | None) -> list[list[object]]:
    if answer is None:
        return [[name, "no answer", "", None, None, "see its log, or `gpuaas doctor`"]]
    head = answer["log_position"] or 0
    state = "ready" if answer["ready"] else "not ready"
    return [
        [
            name if index == 0 else "",
            state if index == 0 else "",
            reader["name"],
            reader["position"],
            0 if reader["caught_up"] else max(0, head - reader["position"]),
            reader["stopped"] or "",
        ]
        for index, reader in enumerate(answer["readers"])
    ]
