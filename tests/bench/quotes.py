"""How right quoted starts are, on a stretch of the Philly trace. One law: a quote knows only what was known then.

The tight pool with quotas (`philly.py`) at half its size, from `FIRST` on, lived through once by the policy lab. Of
those that arrive and do not start at once, every `EACH`-th is quoted then and there, as the service would: from the
line, the claims that stand, the newest ended runs and what still runs. Beside it the quote of one who only looks back:
the median and the ninth tenth of the last fifty waits. Covered is who started by the time quoted; 50 % and 90 % are
wanted. A late p90 covers much and says little, so its length stands beside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from gpuaas.allocations.domain.forecast import Quote, Scene, forecast, in_order
from gpuaas.allocations.domain.kept import read, written
from gpuaas.allocations.domain.lab import Instant, Lived, Way, live_through
from gpuaas.allocations.domain.lengths import RUNS_MAX, Kind, Lengths
from gpuaas.allocations.domain.pool import POOL
from gpuaas.allocations.domain.quota import Scope
from gpuaas.allocations.domain.stretch import QUOTES_MAX, Taught, learnt
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.allocations import QuotaSet

from tests.bench.philly import jobs, scene
from tests.bench.placement import MODEL, machine
from tests.bench.rows import Row

FIRST: Final = 37_500
JOBS: Final = 6_000
EACH: Final = 8
LOOK_BACK: Final = 50
SMALLER: Final = 2


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody was told on arrival: by the forecast (`bare` before it is corrected), and by looking back."""

    name: str
    at: datetime
    bare: Quote
    quote: Quote
    naive_p50: timedelta | None
    naive_p90: timedelta | None


class Onlooker:
    """Quotes who arrives; learns of ends as they happen."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._jobs = {job.waiting.allocation_id: job for job in jobs()[FIRST : FIRST + JOBS]}
        self._running: dict[str, datetime] = {}
        self._ended: deque[tuple[Kind, timedelta]] = deque(maxlen=RUNS_MAX)
        self._waited: deque[timedelta] = deque(maxlen=LOOK_BACK)
        self._waiting: set[str] = set()
        self._seen = 0
        self.given: list[Given] = []

    def look(self, instant: Instant) -> None:
        self._learn(instant)
        for each in instant.arrived:
            if each.allocation_id not in instant.line:
                continue
            self._waiting.add(each.allocation_id)
            self._seen += 1
            if self._seen % EACH == 0:
                self._quote(instant, each.allocation_id)

    def _learn(self, instant: Instant) -> None:
        for name in [name for name, since in self._running.items() if not self._runs_still(instant, name, since)]:
            since = self._running.pop(name)
            job = self._jobs[name]
            if since + job.runs <= instant.now:  # else it was ended early, which tells nothing of its length
                self._ended.append((Kind(job.waiting.tenant_id, job.waiting.shape.gpu_count), job.runs))
        for name, work in instant.running.items():
            if name not in self._running:
                self._running[name] = work.started_at
                if name in self._waiting:
                    self._waiting.discard(name)
                    self._waited.append(work.started_at - self._jobs[name].arrives_at)

    @staticmethod
    def _runs_still(instant: Instant, name: str, since: datetime) -> bool:
        work = instant.running.get(name)
        return work is not None and work.started_at == since

    def _earlier(self, instant: Instant) -> list[Taught]:
        taught = []
        for each in self.given[-QUOTES_MAX:]:
            started = instant.lived.starts.get(each.name)
            if each.bare.p50_at is None or each.bare.p90_at is None:
                continue
            taught.append(
                Taught(
                    (each.bare.p50_at - each.at).total_seconds(),
                    (each.bare.p90_at - each.at).total_seconds(),
                    ((started or instant.now) - each.at).total_seconds(),
                    started is not None,
                )
            )
        return taught

    def _quote(self, instant: Instant, name: str) -> None:
        still = [
            (Kind(self._jobs[each].waiting.tenant_id, self._jobs[each].waiting.shape.gpu_count), instant.now - since)
            for each, since in self._running.items()
        ]
        line = in_order([each for _, lane in instant.line.lanes() for each in lane])
        told = forecast(
            Scene(
                "main",
                read(written(instant.pool)),
                line,
                dict(instant.running),
                Lengths(list(self._ended), still),
                self._way,
                instant.now,
            )
        )
        if name not in told:
            return
        bare, back = told[name], sorted(self._waited)
        self.given.append(
            Given(
                name,
                instant.now,
                bare,
                learnt(self._earlier(instant)).of(bare, instant.now),
                back[len(back) // 2] if back else None,
                back[int(0.9 * len(back))] if back else None,
            )
        )


def lived() -> tuple[list[Given], Lived]:
    """The stretch, and what was quoted in it."""
    machines, nominal = scene("tight")
    machines //= SMALLER
    nominal = {tenant: gpus // SMALLER for tenant, gpus in nominal.items()}
    pool = POOL.initial
    for number in range(machines):
        pool = POOL.fold(POOL.decide(machine(number), pool), pool)
    quotas: dict[Scope, QuotaSet] = {
        (tenant, MODEL, None): QuotaSet(
            tenant_id=tenant, pool_id="main", gpu_model=MODEL, nominal_gpus=gpus, weight=1, reason="bench"
        )
        for tenant, gpus in nominal.items()
    }
    onlooker = Onlooker(Way(quotas=quotas))
    found = live_through("main", pool, jobs()[FIRST : FIRST + JOBS], Way(quotas=quotas), look=onlooker.look)
    return onlooker.given, found


@dataclass(frozen=True, slots=True)
class Judged:
    """How right quotes were; times in seconds."""

    covered_p50: float
    covered_p90: float
    off_s: float
    length_s: float


def judged(told: Sequence[tuple[timedelta, timedelta, timedelta]]) -> Judged:
    """Of (waited, quoted p50, quoted p90)."""
    return Judged(
        sum(waited <= half for waited, half, _ in told) / len(told),
        sum(waited <= ninth for waited, _, ninth in told) / len(told),
        median(abs((waited - half).total_seconds()) for waited, half, _ in told),
        median(ninth.total_seconds() for *_, ninth in told),
    )


async def philly_quotes(_: TestStack) -> list[Row]:
    """Quoted starts on a stretch of the Philly trace, beside looking back at the last fifty waits."""
    with ProcessPoolExecutor(1) as worker:
        given, found = worker.submit(lived).result()
    ours, naive = [], []
    for each in given:
        started = found.starts.get(each.name)
        if started is None or each.naive_p50 is None or each.naive_p90 is None:
            continue
        if each.quote.p50_at is None or each.quote.p90_at is None:
            continue
        waited = started - each.at
        ours.append((waited, each.quote.p50_at - each.at, each.quote.p90_at - each.at))
        naive.append((waited, each.naive_p50, each.naive_p90))
    told, back = judged(ours), judged(naive)
    name = f"quoted starts, {len(ours)} of {len(given)} requests that waited"
    return [
        _row(f"{name}: started by the p50", 100 * told.covered_p50, "% (50 wanted)", 100 * back.covered_p50),
        _row(f"{name}: started by the p90", 100 * told.covered_p90, "% (90 wanted)", 100 * back.covered_p90),
        _row(f"{name}: median absolute error of the p50", told.off_s, "s", back.off_s),
        _row(f"{name}: median p90 quoted", told.length_s, "s", back.length_s),
    ]


def _row(name: str, value: float, unit: str, beside: float) -> Row:
    return Row(name, value, unit, beside, value / beside if beside else None)
