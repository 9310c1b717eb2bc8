"""`gpuaas load`: how much, and what gives first. One law: a rate is held and not chased; what is slow shows as late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from gpuaas.cli.output import as_json, finish, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from gpuaas.cli.load import Measured

WORLD_RATE: Final = 60.0
"""World seconds a second: a run of a minute holds its GPU for one second."""


@click.command()
@click.option("--rate", "rates", type=click.FloatRange(0.1, 5_000), multiple=True, help="A second; repeat to climb.")
@click.option("--for", "for_s", type=click.FloatRange(1, 86_400), default=60.0, show_default=True, help="Seconds each.")
@click.option("--tenants", type=click.IntRange(1, 200), default=5, show_default=True, help="Tenants that ask in turn.")
@click.option("--hosts", type=click.IntRange(1, 847), default=60, show_default=True, help="8 GPUs each.")
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: a fresh .state/load.")
@as_json
def command(
    rates: tuple[float, ...], for_s: float, tenants: int, hosts: int, state_dir: Path | None, json_: bool
) -> None:
    """Start a suite here, enrol a fleet, ask for GPUs at a rate; say what each stage took and what gives first."""
    measured = finish(lambda: _measured(rates or (20.0,), for_s, tenants, hosts, state_dir))
    if json_:
        print_json([each.document() for each in measured])
        return
    print_table("Load: milliseconds, half / 95 / 99 of 100", *table(measured))
    for each in measured:
        click.echo(f"{each.rate:g}/s: saturated first: {each.first_full or 'nothing'}; most CPU: {busiest(each)}")


async def _measured(
    rates: tuple[float, ...], for_s: float, tenants: int, hosts: int, state_dir: Path | None
) -> list[Measured]:
    from gpuaas.cli.demo import play, trace
    from gpuaas.cli.demo.world import beating, running_world
    from gpuaas.cli.load import held, process_ids

    folder = (state_dir or Path(".state/load")).absolute()
    fleet = trace.fleet(hosts)
    with progress_bar() as bar:
        async with running_world(folder, lambda _: None) as world:
            agents = folder / "nodes.txt"
            agents.write_text("\n".join(host.name for host in fleet) + "\n", "utf-8")
            async with beating(world, agents):
                await play.enrol(world, fleet, lambda *_: None)
                opened = await play.open_tenants(world, [f"load-{n}" for n in range(tenants)], lambda *_: None)
                await play.publish_prices(world)
                await world.set_pace(WORLD_RATE)
                found: list[Measured] = []
                for rate in rates:
                    task = bar.add_task(f"{rate:g} a second", total=int(rate * for_s))

                    def show(done: int, task: Any = task) -> None:
                        bar.update(task, completed=done)

                    found.append(await held(world, opened, rate, for_s, process_ids(world), show))
                for tenant in opened.values():
                    await tenant.client.close()
                return found


def table(measured: list[Measured]) -> tuple[list[str], list[list[object]]]:
    """Columns and rows for people."""
    from gpuaas.cli.load import STAGES

    rows: list[list[object]] = []
    for each in measured:
        document = each.document()
        stages = [document["stages"][stage] for stage in STAGES]
        times = [" / ".join("–" if value is None else f"{value:g}" for value in stage.values()) for stage in stages]
        refused = sum(each.refused.values())
        rows.append([each.rate, each.done_per_s, *times, refused, "yes" if not each.gave_up else "no"])
    return ["asked a s", "acknowledged a s", *STAGES, "refused", "kept up"], rows


def busiest(measured: Measured, count: int = 3) -> str:
    """The processes that used most CPU, in cores."""
    most = sorted(measured.cores.items(), key=lambda each: -each[1])[:count]
    return ", ".join(f"{name} {used:.2f}" for name, used in most)
