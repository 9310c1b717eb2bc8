"""The command line: every command explains itself, answers machines, and fails in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from gpuaas.cli.main import main

STREAMS = {"verify"}
"""Commands with options of their own making."""


def _leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None, name
        yield from _leaves(found, (*path, name))


LEAVES = list(_leaves(main))


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_explains_itself_and_speaks_json(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, (path, parameter.opts)
    if path[0] in STREAMS or path == ("audit", "checkpoint"):
        return
    assert any("--json" in parameter.opts for parameter in command.params), path


def test_help_shows_each_command_once_under_what_it_is_for() -> None:
    shown = [line.split()[0] for line in CliRunner().invoke(main, ["--help"]).output.splitlines() if line[:2] == "  "]
    names = main.list_commands(click.Context(main))
    assert sorted(name for name in shown if name in names) == sorted(names)


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    result = CliRunner().invoke(main, ["alocate"])
    assert result.exit_code == 2
    assert "Did you mean" in result.output
    assert "allocate" in result.output


def test_without_a_suite_every_question_is_answered_with_what_to_do(tmp_path: Path) -> None:
    environment = {"GPUAAS_STATE_DIR": str(tmp_path), "GPUAAS_TENANT": "acme", "GPUAAS_PROJECT": "vision"}
    for arguments in (["status"], ["events", "stats"], ["bill"], ["allocations"], ["projections", "status"]):
        result = CliRunner().invoke(main, arguments, env=environment)
        assert result.exit_code == 1, arguments
        assert "gpuaas up" in result.output
        assert "Traceback" not in result.output


def test_the_doctor_says_that_nothing_runs(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--json"], env={"GPUAAS_STATE_DIR": str(tmp_path)})
    assert result.exit_code == 1
    [finding] = json.loads(result.output)
    assert finding["state"] == "not running"


def test_help_imports_nothing_heavy() -> None:
    heavy = {"fastapi", "faststream", "sqlalchemy", "httpx", "rich", "pydantic"}
    code = (
        "import sys; from gpuaas.cli.main import main; main(['--help'], standalone_mode=False); "
        f"found = {heavy} & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
