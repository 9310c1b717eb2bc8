"""The whole log, folded by the drills' own hands. One law: it shares no decider's mistakes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gpuaas.cli.demo.world import World
from gpuaas.common.envelope import Recorded

from tests.drills.stage import open_log

Data = dict[str, Any]


@dataclass(slots=True)
class Reading:
    """What the log says.

    Attributes:
        last: the newest position.
        types: events by type.
        digests: position → SHA-256 of the stored bytes.
        event_ids: how often each CloudEvents id stands in the log.
        versions: subject → the entity's newest version.
        broken: histories whose versions are not 1, 2, 3, …, as `subject@position`.
        requested, started, released, metered: allocation → positions.
        held_twice: devices granted while they were held, as `device@position`.
        holders: device → who holds it at the end.
        books: currency → sum over all entries of all transfers.
        gpu_ms: sums over all usage records and over all invoice lines.
    """

    last: int = 0
    types: Counter[str] = field(default_factory=Counter)
    digests: dict[int, str] = field(default_factory=dict)
    event_ids: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    requested: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    started: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    released: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    metered: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    held_twice: list[str] = field(default_factory=list)
    holders: dict[str, str] = field(default_factory=dict)
    books: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    gpu_ms: Counter[str] = field(default_factory=Counter)

    @property
    def doubled_ids(self) -> list[str]:
        return [event_id for event_id, count in self.event_ids.items() if count > 1]

    def take(self, recorded: Recorded) -> None:
        """One more event, in order of the log."""
        folds: dict[str, Callable[[int, Data], None]] = {
            "allocation-requested": self._requested,
            "allocation-started": self._started,
            "allocation-released": self._released,
            "claim-granted": self._granted,
            "claim-returned": self._returned,
            "usage-metered": self._metered,
            "invoice-finalized": self._invoiced,
            "ledger-transfer-posted": self._posted,
        }
        envelope = json.loads(recorded.payload)
        self.last = recorded.position
        self.types[envelope["type"]] += 1
        self.digests[recorded.position] = hashlib.sha256(recorded.payload).hexdigest()
        self.event_ids[envelope["id"]] += 1
        self.versions[recorded.subject] += 1
        if int(envelope["sequence"]) != self.versions[recorded.subject]:
            self.broken.append(f"{recorded.subject}@{recorded.position}")
        fact = envelope["type"].split(".")[2]
        if (fold := folds.get(fact)) is not None:
            fold(recorded.position, envelope["data"])

    def _requested(self, position: int, data: Data) -> None:
        self.requested[data["allocation_id"]].append(position)

    def _started(self, position: int, data: Data) -> None:
        self.started[data["allocation_id"]].append(position)

    def _released(self, position: int, data: Data) -> None:
        self.released[data["allocation_id"]].append(position)

    def _granted(self, position: int, data: Data) -> None:
        for member in data["members"]:
            for device in member["device_ids"]:
                if device in self.holders:
                    self.held_twice.append(f"{device}@{position}")
                self.holders[device] = data["allocation_id"]

    def _returned(self, _: int, data: Data) -> None:
        for device in [device for device, holder in self.holders.items() if holder == data["allocation_id"]]:
            del self.holders[device]

    def _metered(self, position: int, data: Data) -> None:
        self.metered[data["allocation_id"]].append(position)
        self.gpu_ms["metered"] += int(data["gpu_ms"])

    def _invoiced(self, _: int, data: Data) -> None:
        self.gpu_ms["invoiced"] += sum(int(line["gpu_ms"]) for line in data["lines"])

    def _posted(self, _: int, data: Data) -> None:
        for entry in data["entries"]:
            self.books[data["currency"]] += Decimal(entry["amount"])


async def read_everything(world: World, then: Callable[[Recorded], None] = lambda _: None) -> Reading:
    """Fold the log from its first event to its last; every event is shown to `then` too."""
    reading = Reading()
    async with open_log(world) as log:
        last = await log.last_position()
        follower = log.follow(["events.>"], 0)
        async for batch in follower.batches():
            for recorded in batch.events:
                reading.take(recorded)
                then(recorded)
            if batch.seen >= last:
                break
        await follower.close()
    return reading


def everything_holds(reading: Reading) -> None:
    """What must be so in any log of this suite, whatever happened to the processes that wrote it."""
    assert reading.doubled_ids == [], "an event was appended twice"
    assert reading.broken == [], "a history has a gap or a repeat"
    assert reading.held_twice == [], "a GPU was held twice"
    twice = [name for name, positions in reading.requested.items() if len(positions) != 1]
    assert twice == [], "a request stands in the log more than once"
    ran = set(reading.started) & set(reading.released)
    unmetered = {name: reading.released[name] for name in ran - set(reading.metered)}
    assert unmetered == {}, "runs that are over have no usage record; where each was released"
    assert set(reading.metered) - ran == set(), "something was metered that is no run that is over"
    twice = [name for name, positions in reading.metered.items() if len(positions) != 1]
    assert twice == [], "a run was metered more than once"
    assert [currency for currency, total in reading.books.items() if total != 0] == [], "the ledger does not balance"
