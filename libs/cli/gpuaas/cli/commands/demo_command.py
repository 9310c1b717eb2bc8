"""`gpuaas demo`: the main job on real input. One law: exit status 0 means that everything agreed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from gpuaas.cli.output import as_json, fail, finish, print_json

if TYPE_CHECKING:
    from gpuaas.cli.demo.trace import Host, Job
    from gpuaas.cli.demo.world import World
    from gpuaas.cli.supervisor import Step

HOSTS_DEFAULT: Final = 240
JOBS_DEFAULT: Final = 1_000
JOBS_PER_S_DEFAULT: Final = 40.0
HOSTS_MAX: Final = 847


@click.command()
@click.option(
    "--hosts", type=click.IntRange(1, HOSTS_MAX), default=HOSTS_DEFAULT, show_default=True, help="8 GPUs each."
)
@click.option(
    "--jobs",
    "job_count",
    type=click.IntRange(1),
    default=JOBS_DEFAULT,
    show_default=True,
    help="Jobs of the trace, about.",
)
@click.option("--all-jobs", is_flag=True, help="The whole trace: 82,247 jobs of 109 days.")
@click.option(
    "--jobs-per-s",
    type=click.FloatRange(0.1, 10_000),
    default=JOBS_PER_S_DEFAULT,
    show_default=True,
    help="Jobs handed in a second.",
)
@click.option("--keep", is_flag=True, help="Stay running afterwards, until Ctrl-C.")
@click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: a fresh .state/demo.")
@as_json
def command(json_: bool, keep: bool, **options: Any) -> None:
    """Enrol a fleet, replay jobs of 15 tenants in accelerated time, bill them, prove the bills offline."""
    from gpuaas.cli.demo.evidence import agrees

    report = finish(lambda: _whole(keep, json_, **options))
    if not agrees(report) or report["evidence"]["verdict"] != "pass":
        fail("the demo found something that does not agree; see the report above")


class Acts:
    """Progress of one act after the other, on stderr. Called with a step of the stack, it shows the start."""

    def __init__(self) -> None:
        from gpuaas.cli.service_table import SERVICES
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.timings: dict[str, float] = {}
        self._services = {entry.name for entry in SERVICES}
        self._ready: set[str] = set()
        self._began = time.perf_counter()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._start = self._progress.add_task("start NATS, PostgreSQL, services", total=len(self._services))

    def __call__(self, step: Step) -> None:
        if step.state == "ready" and step.name in self._services and "start_s" not in self.timings:
            self._ready.add(step.name)
            self._progress.update(self._start, completed=len(self._ready))
            if self._ready == self._services:
                self.timings["start_s"] = round(time.perf_counter() - self._began, 2)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress while the block runs."""
        with self._progress:
            yield

    @contextmanager
    def act(self, name: str, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """One act of `total` steps; gives a function that is told how many are done."""
        began = time.perf_counter()
        bar = self._progress.add_task(title, total=total)
        yield lambda done: self._progress.update(bar, completed=done)
        self._progress.update(bar, completed=total, total=total)
        self.timings[f"{name}_s"] = round(time.perf_counter() - began, 2)


async def _whole(
    keep: bool,
    json_: bool,
    hosts: int,
    job_count: int,
    all_jobs: bool,
    jobs_per_s: float,
    state_dir: Path | None,
) -> dict[str, Any]:
    from gpuaas.cli.demo import trace
    from gpuaas.cli.demo.report import show
    from gpuaas.cli.demo.world import beating, running_world

    folder = _fresh(state_dir)
    acts = Acts()
    fleet, jobs = trace.fleet(hosts), trace.jobs(None if all_jobs else job_count)
    began = time.perf_counter()
    async with AsyncExitStack() as stage:
        with acts.shown():
            world = await stage.enter_async_context(running_world(folder, acts))
            await stage.enter_async_context(beating(world, _written(folder / "nodes.txt", fleet)))
            report = await _play(world, acts, fleet, jobs, jobs_per_s, folder / "bundles")
        report["rates"]["total_s"] = round(time.perf_counter() - began, 1)
        if json_:
            print_json(report)
        else:
            show(report, str(_relative(folder / "bundles")), keep)
        if keep:
            click.echo(f"\nrunning on {_relative(folder)}; Ctrl-C ends it. In another terminal:", err=True)
            click.echo(f"  export GPUAAS_STATE_DIR={_relative(folder)}", err=True)
            await world.stack.until_ended()
    return report


async def _play(
    world: World, acts: Acts, fleet: Sequence[Host], jobs: Sequence[Job], jobs_per_s: float, bundles: Path
) -> dict[str, Any]:
    from gpuaas.cli.demo import evidence, play, proof, report

    names = sorted({job.tenant for job in jobs})
    with acts.act("enrol", "enrol machines", len(fleet)) as done:
        await play.enrol(world, fleet, done)
    with acts.act("tenants", "open tenants", len(names)) as done:
        tenants = await play.open_tenants(world, names, done)
    await play.publish_prices(world)
    opened = await evidence.open_claim(world, names)
    began = time.perf_counter()
    with acts.act("submit", "submit jobs as they arrive", len(jobs)) as done:
        submitted = await play.replay(world, jobs, tenants, jobs_per_s, done)
    rate = world.rate
    with acts.act("drain", "let the last jobs end", len(jobs)) as done:
        states = await play.drain(world, jobs, done)
    acts.timings["replay_s"] = round(time.perf_counter() - began, 2)
    with acts.act("bill", "meter, rate, invoice", len(names)) as done:
        await play.bill(world, lambda invoices, _: done(invoices))
        invoices = await play.invoices(world, names)
    with acts.act("verify", "verify bundles offline", len(invoices)) as done:
        verified = await proof.verify_offline(world, invoices, bundles, done)
    reading = await proof.reading_of(world)
    acts.timings["jobs_per_s"] = round(len(submitted) / acts.timings["replay_s"], 1)
    acts.timings["events_per_s"] = round(reading.events / acts.timings["replay_s"], 1)
    told = report.assemble(jobs, len(fleet), reading, invoices, verified, states, acts.timings, rate)
    with acts.act("evidence", "record the run as evidence", 1):
        told["evidence"] = await evidence.record(world, opened, told)
    for tenant in tenants.values():
        await tenant.client.close()
    return told


def _written(path: Path, fleet: Sequence[Host]) -> Path:
    path.write_text("\n".join(host.name for host in fleet) + "\n", "utf-8")
    return path


def _fresh(state_dir: Path | None) -> Path:
    """The demo's state folder: the given one as it is, or a new empty one."""
    import shutil

    from gpuaas.cli.state import default_state_dir, is_owned

    if state_dir is not None:
        return state_dir.absolute()
    folder = default_state_dir() / "demo"
    if is_owned(folder):
        fail(f"a demo already runs on {_relative(folder)}; end it first, or give --state-dir")
    elsewhere = folder / "postgres" / "data-is-in"
    if elsewhere.exists() and (data := elsewhere.read_text("utf-8").strip()):
        shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _relative(path: Path) -> Path:
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
