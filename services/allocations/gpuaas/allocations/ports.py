"""What allocations needs of the outside: something that runs workloads. One law: small needs, each told apart.

An implementation passes `tests/runtime_contract.py`. Every call is repeatable: after a crash it is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from gpuaas.allocations.domain.idleness import Sample
from gpuaas.contracts.allocations import IdlenessSource, Member


@dataclass(frozen=True, slots=True)
class Run:
    """A workload with the GPUs it may use. `allocation_id` is its name at the runtime, chosen by us."""

    allocation_id: str
    image: str
    command: tuple[str, ...]
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """What the runtime saw of an end.

    Attributes:
        ended_at: the first instant at which the workload no longer ran.
        how: `exited` by itself, `stopped` because it was told to, `lost` when the runtime knows of no such workload.
        exit_code: 0 to 255 (128 + n: ended by signal n); None if none was seen.
    """

    allocation_id: str
    ended_at: datetime
    how: Literal["exited", "stopped", "lost"]
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class LogPart:
    """Some of what a workload said.

    Attributes:
        content: bytes from the offset that was asked for.
        size: bytes there are so far.
        complete: the runtime is sure that nothing will be added.
    """

    content: bytes
    size: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """A command that ran beside a workload.

    Attributes:
        exit_code: 0 to 255 (128 + n: ended by signal n).
        output: what it said on both channels, cut to a limit.
        timed_out: it was ended because its time was over.
    """

    exit_code: int
    output: bytes
    timed_out: bool


class Prepares(Protocol):
    async def prepare(self, run: Run) -> None:
        """Make ready what the workload needs (image, volumes, network). Raises Unavailable: try again."""
        ...


class Starts(Protocol):
    async def start(self, run: Run) -> datetime:
        """Start all members; when that was. A workload that already runs under this name is left alone.

        Raises Unavailable: try again.
        """
        ...


class Stops(Protocol):
    async def stop(self, run: Run, started_at: datetime | None, at: datetime) -> Ended:
        """Stop the workload, as asked for at `at`; how it ended, which may have been earlier and by itself.

        Args:
            started_at: when it was seen to start; None: it never was, and there may be nothing to stop.
        """
        ...


class Observes(Protocol):
    def watch(self, run: Run, started_at: datetime) -> None:
        """Tell of this workload's end; it is believed to run since `started_at`, maybe from before a restart."""
        ...

    def forget(self, allocation_id: str) -> None:
        """Its end is written down; tell of it no more."""
        ...

    async def ended(self, within_s: float) -> Sequence[Ended]:
        """The watched workloads that have ended since the last call, in order of their end; empty after `within_s`
        real seconds without one."""
        ...


class KeepsLogs(Protocol):
    async def read_log(self, run: Run, offset: int, size_max: int) -> LogPart:
        """At most `size_max` bytes of what the workload said, from byte `offset` on; empty beyond the end."""
        ...


class Executes(Protocol):
    def demand_commands_allowed(self) -> None:
        """Raises Rejected where no commands run beside a workload."""
        ...

    async def execute(self, run: Run, command: Sequence[str], timeout_s: float) -> Executed:
        """Run a command beside the workload, with its environment.

        Raises Rejected: not allowed here, or the workload does not run now.
        """
        ...


class Meters(Protocol):
    """Sees whether GPUs are used."""

    @property
    def source(self) -> IdlenessSource:
        """Where its samples come from."""
        ...

    def samples(self, run: Run, started_at: datetime, after: datetime, until: datetime) -> Sequence[Sample]:
        """What the busiest GPU of the whole gang did, in order of time, at instants of (after, until].

        An instant at which not every GPU of it is known is left out.
        """
        ...


class Runtime(Prepares, Starts, Stops, Observes, KeepsLogs, Executes, Protocol):
    """Everything allocations needs to run workloads."""
