"""What flows and drills play on: a state folder of their own, a small fleet, small jobs. One law: it leaves nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gpuaas.cli.demo import trace
from gpuaas.cli.demo.trace import Host, Job

SMALL_FLEET: Final = tuple(trace.fleet(8))


@contextmanager
def state_folder() -> Iterator[Path]:
    """A new state folder where PostgreSQL's unprivileged user can come; removed at the end."""
    made = Path(tempfile.mkdtemp(prefix="gpuaas-test-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        elsewhere = made / "postgres" / "data-is-in"
        if elsewhere.exists():
            shutil.rmtree(elsewhere.read_text("utf-8").strip(), ignore_errors=True)
        shutil.rmtree(made, ignore_errors=True)


def unheard(*_: object) -> None:
    """Nobody watches the progress."""


def nodes_file(folder: Path, hosts: Sequence[Host]) -> Path:
    """The list of machines that the node agent speaks for."""
    path = folder / "nodes.txt"
    path.write_text("\n".join(host.name for host in hosts) + "\n", "utf-8")
    return path


def small_jobs(count: int, tenants: int) -> list[Job]:
    """`count` jobs of the trace that fit a small fleet and a short test, of `tenants` tenants, evenly by arrival."""
    fitting = [job for job in trace.jobs(1_000) if job.gpu_count <= 16 and job.run_s <= 2 * 3_600]
    names = sorted({job.tenant for job in fitting})[:tenants]
    theirs = [job for job in fitting if job.tenant in names]
    return [theirs[number * len(theirs) // count] for number in range(count)]
