"""`gpuaas profile`: environments and their differences. One law: it says where each value comes from."""

from __future__ import annotations

from typing import Any

import click
from gpuaas.cli.output import as_json, fail, print_json, print_table

NAMES = ("kind", "dev", "demo", "staging", "production")
setting = click.option(
    "--set", "given", multiple=True, metavar="SECTION.NAME=VALUE", help="A value on top; repeatable."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Environments: show one, compare two, check all."""


@command.command()
@click.argument("name", type=click.Choice(NAMES))
@setting
@as_json
def show(name: str, given: tuple[str, ...], json_: bool) -> None:
    """Every value of one profile, and which layer says it."""
    from gpuaas.cli.profile import layered
    from gpuaas.common.errors import Misconfigured

    try:
        found = layered(name, given)
    except Misconfigured as wrong:
        fail(wrong.detail)
    values = found.profile.flat()
    if json_:
        print_json({key: {"value": value, "from": found.origins[key]} for key, value in values.items()})
        return
    rows = [[key, _text(value), found.origins[key]] for key, value in values.items()]
    print_table(f"{name}: {found.profile.description}", ["value", "is", "said by"], rows)


@command.command()
@click.argument("one", type=click.Choice(NAMES))
@click.argument("other", type=click.Choice(NAMES))
@as_json
def diff(one: str, other: str, json_: bool) -> None:
    """What two profiles have different; exit status 1 when anything is."""
    from gpuaas.cli.profile import differences, layered

    found = differences(layered(one).profile, layered(other).profile)
    if json_:
        print_json({key: {one: left, other: right} for key, (left, right) in found.items()})
    else:
        rows = [[key, _text(left), _text(right)] for key, (left, right) in found.items()]
        print_table(f"{one} and {other}", ["value", one, other], rows)
    if found:
        raise SystemExit(1)


@command.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@setting
@as_json
def check(names: tuple[str, ...], given: tuple[str, ...], json_: bool) -> None:
    """Whether profiles are valid, safe and free of repetition; exit status 1 unless all are."""
    found = {name: _findings(name, given) for name in names or NAMES}
    if json_:
        print_json(found)
    else:
        rows = [[name, sentence] for name, sentences in found.items() for sentence in sentences or ["well"]]
        print_table("Profiles", ["profile", "finding"], rows)
    if any(found.values()):
        raise SystemExit(1)


def _findings(name: str, given: tuple[str, ...]) -> list[str]:
    from gpuaas.cli.profile import layered, unsafe
    from gpuaas.common.errors import Misconfigured

    try:
        found = layered(name, given)
    except Misconfigured as wrong:
        return [wrong.detail]
    return [*unsafe(found.profile), *found.repeated]


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return str(value) or "–"
