"""What GPUs do, out of the TELEMETRY stream (`schemas/telemetry/node-utilisation.v1.json`). One law: what cannot be
read, or speaks for another machine, was not seen.

Kept in this process alone: of every machine the newest samples of each GPU since anybody asked. A sample counts from
when it was received, by this service's clock; what the machine's own clock says is not trusted. Which slot a GPU sits
in is inventory's word.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from faststream.nats import NatsBroker
from gpuaas.allocations.domain.idleness import COVERS, Sample
from gpuaas.allocations.ports import Run
from gpuaas.common.clock import Clock
from gpuaas.common.events import Vocabulary
from gpuaas.common.ids import new_id
from gpuaas.common.log import Batch, EventLog, Follower
from gpuaas.common.projections import decoded
from gpuaas.common.readers import Reader
from gpuaas.contracts.allocations import IdlenessSource
from gpuaas.contracts.inventory import MachineAccepted, MachineRemoved
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import Error as StreamError

STREAM: Final = "TELEMETRY"
SUBJECT: Final = "telemetry.nodes.*.utilisation"
PAYLOAD_BYTES_MAX: Final = 32_768
KEPT_MAX: Final = 64
"""Samples of one machine that nobody has asked for yet; more than a look's worth."""
LOOK_S: Final = 1.0
INACTIVE_S: Final = 60.0
_WORDS: Final = Vocabulary(MachineAccepted, MachineRemoved)
_log = logging.getLogger(__name__)


class _Gpu(msgspec.Struct, frozen=True):
    slot: Annotated[int, msgspec.Meta(ge=0, le=63)]
    gpu_percent: Annotated[int, msgspec.Meta(ge=0, le=100)]


class _Sample(msgspec.Struct, frozen=True):
    node_id: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    gpus: Annotated[tuple[_Gpu, ...], msgspec.Meta(max_length=64)]


_DECODER: Final = msgspec.json.Decoder(_Sample)


class Slots(Reader):
    """Machine → GPU → slot, up to the log."""

    def __init__(self, log: EventLog) -> None:
        super().__init__("slots", log)
        self.of: dict[str, dict[str, int]] = {}

    async def _begin(self) -> int:
        self.of.clear()
        return 0

    def _follow(self, after: int) -> Follower:
        return self._log.follow(_WORDS.subjects(), after)

    async def _apply(self, batch: Batch, after: int) -> None:
        for fact in decoded(_WORDS, batch.events):
            match fact.event:
                case MachineAccepted() as machine:
                    self.of[machine.machine_id] = {each.device_id: each.slot for each in machine.devices}
                case MachineRemoved() as gone:
                    self.of.pop(gone.machine_id, None)


class TelemetryGauges:
    """`Meters` by what the machines' agents say."""

    source: IdlenessSource = "telemetry"

    def __init__(self, slots: Slots, clock: Clock) -> None:
        self._slots = slots
        self._clock = clock
        self._kept: dict[str, deque[tuple[datetime, dict[int, int]]]] = {}

    def take(self, sender: str, payload: bytes) -> bool:
        """One message on the subject of `sender`; whether it could be used."""
        if len(payload) > PAYLOAD_BYTES_MAX:
            return False
        try:
            sample = _DECODER.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if sample.node_id != sender:
            return False
        kept = self._kept.setdefault(sender, deque(maxlen=KEPT_MAX))
        kept.append((self._clock.now(), {gpu.slot: gpu.gpu_percent for gpu in sample.gpus}))
        return True

    def samples(self, run: Run, started_at: datetime, after: datetime, until: datetime) -> Sequence[Sample]:
        """At each time at which a machine of the gang spoke: the busiest GPU, where all are known."""
        wanted = [(member.node_id, slot) for member in run.members for slot in self._slots_of(member)]
        if not wanted or any(slot is None for _, slot in wanted):
            return ()
        return list(self._together([(node, slot) for node, slot in wanted if slot is not None], after, until))

    def _slots_of(self, member: Any) -> list[int | None]:
        known = self._slots.of.get(member.node_id, {})
        return [known.get(device_id) for device_id in member.device_ids]

    def _together(self, gpus: list[tuple[str, int]], after: datetime, until: datetime) -> Iterator[Sample]:
        nodes = {node for node, _ in gpus}
        told = sorted(
            ((at, node, percent) for node in nodes for at, percent in self._kept.get(node, ()) if at <= until),
            key=lambda each: each[0],
        )
        newest: dict[str, tuple[datetime, dict[int, int]]] = {}
        for at, node, percent in told:
            newest[node] = (at, percent)
            fresh = len(newest) == len(nodes) and all(at - seen <= COVERS for seen, _ in newest.values())
            if at <= after or not fresh:
                continue
            used = [newest[each][1].get(slot) for each, slot in gpus]
            if all(each is not None for each in used):
                yield Sample(at, max(each for each in used if each is not None))


class Listening:
    """Feeds the gauges from the stream."""

    def __init__(self, gauges: TelemetryGauges, broker: NatsBroker) -> None:
        self._gauges = gauges
        self._broker = broker

    async def listen(self) -> None:
        """For ever; a stream that is away is tried again, and what was missed was not seen."""
        while True:
            try:
                await self._listen_once(self._broker.connection)
            except (NatsError, StreamError, OSError, TimeoutError) as away:
                _log.info("samples are not heard: %s", away)
            await asyncio.sleep(LOOK_S)

    async def _listen_once(self, client: Client) -> None:
        config = api.ConsumerConfig(
            # A name of its own: without one the client asks on a subject that no service may use.
            name=f"allocations-utilisation-{new_id()}",
            ack_policy=api.AckPolicy.NONE,
            deliver_policy=api.DeliverPolicy.NEW,
            mem_storage=True,
            num_replicas=1,
            inactive_threshold=INACTIVE_S,
        )
        subscription = await client.jetstream().subscribe(SUBJECT, stream=STREAM, config=config)
        try:
            while client.is_connected:
                try:
                    message = await subscription.next_msg(timeout=LOOK_S)
                except TimeoutError:
                    continue
                if not self._gauges.take(message.subject.split(".")[2], message.data):
                    _log.warning("a sample on the subject of %s was refused", message.subject.split(".")[2][:80])
        finally:
            await subscription.unsubscribe()
