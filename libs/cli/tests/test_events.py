"""`gpuaas events` on a real log: what is shown is what is stored, and looking changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest
from click.testing import CliRunner, Result
from gpuaas.cli.commands.events import command
from gpuaas.common.commands import Cause
from gpuaas.common.logs.jetstream import JetStreamLog
from gpuaas.common.testing.neighbours import tell
from gpuaas.common.testing.stack import LogAddress, TestStack
from gpuaas.contracts.iam import ProjectCreated, TenantCreated


class Terminal:
    """Someone at a terminal before a log with two tenants, one chain of causes and one message that is no event."""

    def __init__(self, log: JetStreamLog, environment: dict[str, str]) -> None:
        self.log, self.environment = log, environment
        self.between = datetime.now(UTC)
        self.first_id = ""

    async def types(self, *arguments: str) -> Result:
        runner = CliRunner()
        return await asyncio.to_thread(runner.invoke, command, list(arguments), env=self.environment)

    async def told(self, *arguments: str) -> Any:
        result = await self.types(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    async def lines(self, *arguments: str) -> list[str]:
        result = await self.types(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()


@pytest.fixture
async def terminal(log_address: LogAddress, stack: TestStack) -> AsyncIterator[Terminal]:
    connection = await nats.connect(log_address.url)
    log = JetStreamLog(lambda: connection)
    async with stack.fresh_database() as dsn:
        made = Terminal(log, {"GPUAAS_NATS_URL": log_address.url, "GPUAAS_SCRATCH_DSN": dsn})
        await tell(log, _tenant("acme"), tenant_id="acme", entity_id="acme", cause=Cause("r-1", "ada", "user", "chain"))
        stored = await log.at(1)
        assert stored is not None
        made.first_id = stored.envelope().id
        await asyncio.sleep(0.02)
        made.between = datetime.now(UTC)
        await asyncio.sleep(0.02)
        follows = ProjectCreated(tenant_id="acme", project_id="ml", display_name="ML")
        why = Cause(made.first_id, "iam", "service", "chain")
        await tell(log, follows, tenant_id="acme", entity_id="ml", cause=why)
        await tell(log, _tenant("bolt"), tenant_id="bolt", entity_id="bolt")
        await connection.jetstream().publish("events.odd", b"\xffnot an event")
        yield made
        await connection.close()


def _tenant(name: str) -> TenantCreated:
    return TenantCreated(tenant_id=name, display_name=name, billing_currency="EUR")


@pytest.mark.parametrize(
    ("chosen", "positions"),
    [
        ((), [1, 2, 3, 4]),
        (("--from", "2", "--to", "3"), [2, 3]),
        (("--tenant", "bolt"), [3]),
        (("--type", "project-created"), [2]),
        (("--actor", "ada"), [1]),
        (("--correlation", "chain"), [1, 2]),
        (("--about", ".ml"), [2]),
        (("--service", "iam", "--tenant", "acme"), [1, 2]),
        (("--tenant", "nobody"), []),
        (("--failures",), [4]),
        (("--since", "1h", "--to", "2"), [1, 2]),
        (("--since", "0s"), []),
        (("--since", "2020-01-01T00:00:00Z", "--from", "3"), [3, 4]),
    ],
)
async def test_a_replay_shows_the_chosen_stretch(
    terminal: Terminal, chosen: tuple[str, ...], positions: list[int]
) -> None:
    assert [int(line.split()[0]) for line in await terminal.lines("replay", *chosen)] == positions


async def test_a_replay_as_of_a_time_ends_where_the_log_stood(terminal: Terminal) -> None:
    lines = await terminal.lines("replay", "--as-of", terminal.between.isoformat())
    assert [int(line.split()[0]) for line in lines] == [1]
    assert await terminal.lines("replay", "--as-of", "2020-01-01T00:00:00Z") == []
    odd = await terminal.types("replay", "--as-of", "yesterday")
    assert odd.exit_code == 1
    assert "RFC 3339" in odd.output


async def test_a_replay_since_a_time_begins_where_the_log_stood(terminal: Terminal) -> None:
    lines = await terminal.lines("replay", "--since", terminal.between.isoformat())
    assert [int(line.split()[0]) for line in lines] == [2, 3, 4]
    odd = await terminal.types("stats", "--since", "a while")
    assert odd.exit_code == 1
    assert "a span (15m)" in odd.output


async def test_a_replay_that_finds_nothing_says_so_beside_its_output(terminal: Terminal) -> None:
    result = await terminal.types("replay", "--tenant", "nobody")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no event there matches" in result.stderr


async def test_cousins_of_an_event_are_counted_and_shown_when_asked_for(terminal: Terminal) -> None:
    for name in ("x", "y"):
        made = ProjectCreated(tenant_id="acme", project_id=name, display_name=name)
        why = Cause(terminal.first_id, "iam", "service", "chain", step=name)
        await tell(terminal.log, made, tenant_id="acme", entity_id=name, cause=why)
    kin = await terminal.lines("show", "2")
    assert [line.split()[0] for line in kin[kin.index("cause and effect") + 1 : -1]] == ["1", "2"]
    assert kin[-1].startswith("2 more events")
    whole = await terminal.lines("show", "2", "--whole")
    assert [line.split()[0] for line in whole[whole.index("cause and effect") + 1 :]] == ["1", "2", "5", "6"]


async def test_a_replay_into_a_file_holds_the_stored_bytes(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "copy"
    await terminal.lines("replay", "--out", str(file))
    stored = [await terminal.log.at(position) for position in range(1, 5)]
    assert file.read_bytes() == b"".join(each.payload + b"\n" for each in stored if each is not None)


async def test_a_dry_run_folds_into_scratch_tables_and_says_nothing(terminal: Terminal) -> None:
    before = await terminal.log.last_position()
    told = await terminal.told("replay", "--into", "iam.tenants")
    assert told["events"] == 2
    assert sum(told["rows"].values()) == 2
    assert told["agrees"] is None
    earlier = await terminal.told("replay", "--into", "iam.tenants", "--to", "1")
    assert sum(earlier["rows"].values()) == 1
    assert earlier["digest"] != told["digest"]
    assert (await terminal.told("replay", "--into", "iam.tenants"))["digest"] == told["digest"]
    assert await terminal.log.last_position() == before


async def test_a_read_model_nobody_keeps_is_named_with_those_there_are(terminal: Terminal) -> None:
    result = await terminal.types("replay", "--into", "iam.tenancies")
    assert result.exit_code == 1
    assert "iam.tenants" in result.output


async def test_an_event_is_shown_with_what_caused_it_and_what_followed(terminal: Terminal) -> None:
    by_position, by_id = await terminal.lines("show", "1"), await terminal.lines("show", terminal.first_id)
    assert by_position == by_id
    tree = by_position[by_position.index("cause and effect") + 1 :]
    assert [line.split()[0] for line in tree] == ["1", "2"]
    assert tree[0].endswith("◀")
    assert tree[1].index("iam.project-created") > tree[0].index("iam.tenant-created"), "deeper, below its cause"
    told = await terminal.told("show", "2")
    assert [each["position"] for each in told["correlated"]] == [1, 2]


async def test_bytes_that_are_no_event_are_shown_as_they_are(terminal: Terminal) -> None:
    assert any("not an event" in line for line in await terminal.lines("show", "4"))
    missing = await terminal.types("show", "99")
    assert missing.exit_code == 1
    assert "between 1 and 4" in missing.output


async def test_counts_are_by_type_and_may_be_restricted(terminal: Terminal) -> None:
    told = await terminal.told("stats")
    assert told["events"] == 4
    assert told["by_type"]["gpuaas.iam.tenant-created.v1"] == 2
    assert told["newest"]["gpuaas.iam.tenant-created.v1"] == 3
    assert (await terminal.told("stats", "--tenant", "acme"))["events"] == 2
    assert (await terminal.told("stats", "--by", "tenant"))["by_tenant"] == {"acme": 2, "bolt": 1, "(none)": 1}
    assert (await terminal.told("stats", "--by", "actor"))["by_actor"]["user:ada"] == 1
    assert (await terminal.told("stats", "--by", "service"))["by_service"] == {"iam": 3, "odd": 1}
    assert (await terminal.told("stats", "--as-of", terminal.between.isoformat()))["events"] == 1


async def test_a_tail_from_a_position_stops_after_a_count(terminal: Terminal) -> None:
    lines = await terminal.lines("tail", "--from", "2", "--count", "2")
    assert [int(line.split()[0]) for line in lines] == [2, 3]
