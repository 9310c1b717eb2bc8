"""Requests that go on while things break. One law: what was acknowledged is remembered, and what was not is sent again.

Every request has an idempotency key of its own, and is sent with it until somebody acknowledges it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from gpuaas.cli.client import Refused, Suite, Unreachable
from gpuaas.cli.demo import play
from gpuaas.cli.demo.world import World

TENANTS: Final = ("vc-red", "vc-green", "vc-blue")
SUBMITTERS: Final = 8
PAUSE_S: Final = (0.05, 0.5)
"""Between two requests of one submitter."""
RUN_S: Final = 600
"""World seconds that a job runs at most."""
SHAPES: Final = ((1, 1), (1, 1), (1, 2), (1, 4), (2, 2), (1, 8), (2, 8), (3, 1))
"""(replicas, GPUs each)."""
LEASE_S: Final = 30 * 86_400
ENDLESS: Final = 0.15
"""Share of the jobs that run until they are given back."""
TWICE: Final = 0.3
"""Share of the requests that are made again after they were acknowledged."""


@dataclass(slots=True)
class Load:
    """Requests made while everything dies.

    Attributes:
        name: what its idempotency keys begin with.
        acknowledged: idempotency key → (allocation, position) as the door said it.
        repeats: requests made again after they were acknowledged.
        refusals: answers that were not an acknowledgement and were followed by another try.
        longest_wait_s: the longest time from the first try of a request to its acknowledgement.
    """

    tenants: Mapping[str, play.Tenant]
    chance: random.Random
    name: str = "job"
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    repeats: int = 0
    refusals: int = 0
    released: int = 0
    longest_wait_s: float = 0.0
    stopped: bool = False
    _count: int = 0

    async def submit_for_ever(self) -> None:
        """One submitter: ask, sometimes ask the same again, sometimes give back; until `stopped`."""
        while not self.stopped:
            self._count += 1
            key, tenant = f"{self.name}-{self._count:05d}", self.chance.choice(TENANTS)
            place = f"/v1/tenants/{tenant}/projects/{self.chance.choice(play.PROJECTS)}/allocations"
            endless, twice = self.chance.random() < ENDLESS, self.chance.random() < TWICE
            client, ask = self.tenants[tenant].client, self._ask(endless)
            told = await self._until_acknowledged(client, place, ask, key)
            self.acknowledged[key] = (told["id"], told["position"])
            if twice:
                again = await self._until_acknowledged(client, place, ask, key)
                self.repeats += 1
                assert again == told | {"repeated": True}, f"{key} was answered {told} and then {again}"
            if endless:
                await asyncio.sleep(self.chance.uniform(*PAUSE_S))
                await self._until_acknowledged(client, f"{place}/{told['id']}/release", None, f"{key}-back")
                self.released += 1
            await asyncio.sleep(self.chance.uniform(*PAUSE_S))

    async def until(self, requests: int) -> None:
        """Return when that many requests were acknowledged."""
        while len(self.acknowledged) < requests:
            await asyncio.sleep(PAUSE_S[0])

    def _ask(self, endless: bool) -> dict[str, Any]:
        replicas, each = self.chance.choice(SHAPES)
        return {
            "pool_id": play.POOL,
            "gpu_model": self.chance.choice([play.GPU_MODEL, None]),
            "replicas": replicas,
            "gpus_per_replica": each,
            "lease_s": LEASE_S,
            "image": "philly",
            "command": [] if endless else ["sleep", str(self.chance.randrange(RUN_S))],
        }

    async def _until_acknowledged(self, client: Suite, path: str, body: Any, key: str) -> dict[str, Any]:
        """Send it with one key until somebody acknowledges it. A refusal for good is the drill's failure."""
        began = monotonic()
        while True:
            try:
                told: dict[str, Any] = await client.post("allocations", path, body, key=key)
            except (Unreachable, Refused) as refused:
                if isinstance(refused, Refused) and refused.status < 500 and refused.status not in (401, 429):
                    raise
                self.refusals += 1
                continue
            self.longest_wait_s = max(self.longest_wait_s, monotonic() - began)
            return told

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Submit while the block runs; every request under way is acknowledged before it ends."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SUBMITTERS):
                group.create_task(self.submit_for_ever())
            try:
                yield
            finally:
                self.stopped = True


async def all_ended(world: World, requests: int, within_s: float = 60.0) -> dict[str, int]:
    """Wait until `requests` allocations have come and ended; allocations by state."""
    counts: dict[str, int] = {}
    try:
        async with asyncio.timeout(within_s):
            while counts.get("released", 0) + counts.get("rejected", 0) < requests:
                await asyncio.sleep(play.POLL_S)
                counts = await world.operator.get("allocations", "/v1/allocation-counts", at_least=0)
    except TimeoutError:
        raise AssertionError(f"{requests} were asked for, and they do not end: {counts}") from None
    return counts
