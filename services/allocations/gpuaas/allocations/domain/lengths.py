"""How long work really runs. One law: what has run so long already is compared with what ran at least as long.

Kinds from narrow to wide: the tenant's own with as many GPUs, anybody's with as many, anybody's. The narrowest with
enough ended runs counts. What still runs counts as well, as longer than it has run so far (Kaplan and Meier, 1958):
else a forecast would know short work only, for long work is seldom over. Beyond all that was seen stands the lease.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gpuaas.allocations.domain.survival import survival

KIND_MIN: Final = 20
"""Ended runs that make a kind worth listening to."""
RUNS_MAX: Final = 1_000
"""Newest ended runs that are looked at."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Work alike: whose, and how many GPUs."""

    tenant_id: str
    gpu_count: int


class Lengths:
    """Work by kind: how long it ran, and how long that which still runs has run so far."""

    def __init__(self, ended: Sequence[tuple[Kind, timedelta]], running: Iterable[tuple[Kind, timedelta]] = ()) -> None:
        self.observed = len(ended)
        found: defaultdict[Kind | int | None, list[tuple[float, bool]]] = defaultdict(list)
        for runs, over in ((ended, True), (running, False)):
            for kind, ran in runs:
                for key in (kind, kind.gpu_count, None):
                    found[key].append((ran.total_seconds(), over))
        enough = {key: runs for key, runs in found.items() if sum(over for _, over in runs) >= KIND_MIN or key is None}
        self._of = {key: survival(runs) for key, runs in enough.items()}

    def draw(self, kind: Kind, ran: timedelta, latest: timedelta | None, chance: float) -> timedelta | None:
        """A length for work that has run for `ran` already; None: nobody knows when it will end.

        Args:
            latest: it ends then at the latest.
            chance: of [0, 1): the share of those that are possible that are shorter.
        """
        known = next((self._of[key] for key in (kind, kind.gpu_count, None) if key in self._of), None)
        ran_s = ran.total_seconds()
        length_s = known.first_with(known.share_beyond(ran_s) * (1 - chance)) if known is not None else None
        if length_s is None or length_s <= ran_s:
            if latest is not None or not self.observed:
                return latest
            # Without a lease, what has outlived all that was seen is as likely as not to run as long again.
            return timedelta(seconds=max(ran_s * 2, self._of[None].values[-1]))
        length = timedelta(seconds=length_s)
        return length if latest is None else min(length, latest)
