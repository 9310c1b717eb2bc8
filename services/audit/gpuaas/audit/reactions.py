"""What the trail does by itself: it seals what came and watches that nothing changes. One law: it never seals a doubt.

Both run beside the readers, look, act and sleep. A look that fails is tried again; nothing here holds a state that a
restart would lose.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from gpuaas.audit.adapters.heads import Heads, SealedHead
from gpuaas.audit.adapters.witnesses import Witnesses
from gpuaas.audit.domain.certificates import statement
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.data_subjects import DATA_SUBJECTS, CertifyErasure, DataSubject, DataSubjectCommand
from gpuaas.audit.domain.disclosures import ACCESSES, EXPORTS, RecordAccess, RecordExport
from gpuaas.audit.domain.divergences import DIVERGENCES, DivergenceState, ReportDivergence
from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.audit.domain.epochs import EPOCH_LOG, EPOCHS, Sealed, SealEpoch
from gpuaas.audit.domain.log_keys import LOG_KEYS, LOG_KEYS_ID, Announced, AnnounceKey
from gpuaas.audit.domain.maps import CheckpointMap, checkpoint_map
from gpuaas.audit.domain.merkle import EMPTY_ROOT, Frontier
from gpuaas.audit.projections.person_events import personal_events
from gpuaas.audit.projections.trail_state import (
    Compared,
    TrailEnd,
    compared_rows,
    first_gap,
    known_log,
    trail_end,
    trail_position,
)
from gpuaas.audit.projections.tree_proofs import roots_at
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import PLATFORM, Fact, Recorded
from gpuaas.common.errors import Conflict, GpuaasError, Misconfigured, Rejected, Unavailable, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import derived_id
from gpuaas.common.log import EventLog
from gpuaas.common.reactions import Reaction
from gpuaas.common.tables import Database
from gpuaas.contracts.audit import (
    DivergenceFound,
    EpochSealed,
    ErasureCertified,
    ErasureOrdered,
    LegalHoldLifted,
    LegalHoldPlaced,
    LogKeyAnnounced,
    OperatorAccessRecorded,
    TrailExported,
)
from gpuaas.contracts.iam import PersonalDataErased

SERVICE: Final = "audit"
EPOCH: Final[Entity[Sealed, SealEpoch]] = Entity(SERVICE, "epoch", EPOCHS, Vocabulary(EpochSealed))
DIVERGENCE: Final[Entity[DivergenceState, ReportDivergence]] = Entity(
    SERVICE, "divergence", DIVERGENCES, Vocabulary(DivergenceFound)
)
LOG_KEY: Final[Entity[Announced, AnnounceKey]] = Entity(SERVICE, "log-key", LOG_KEYS, Vocabulary(LogKeyAnnounced))
EXPORT: Final[Entity[bool, RecordExport]] = Entity(SERVICE, "export", EXPORTS, Vocabulary(TrailExported))
ACCESS: Final[Entity[bool, RecordAccess]] = Entity(
    SERVICE, "operator-access", ACCESSES, Vocabulary(OperatorAccessRecorded)
)
DATA_SUBJECT: Final[Entity[DataSubject, DataSubjectCommand]] = Entity(
    SERVICE,
    "data-subject",
    DATA_SUBJECTS,
    Vocabulary(LegalHoldPlaced, LegalHoldLifted, ErasureOrdered, ErasureCertified),
)
TAIL: Final = 256
"""Newest positions compared at every look."""
READ_TIMEOUT_S: Final = 60.0
_log = logging.getLogger(__name__)


class Sealing:
    """Signs the trees that have grown, and commits to all of them once an epoch."""

    def __init__(
        self,
        database: Database,
        commands: Commands,
        heads: Heads,
        key: LogKey,
        map_secret: bytes,
        reader: str,
        witnesses: Witnesses | None = None,
    ) -> None:
        self._database = database
        self._reader = reader
        self._commands = commands
        self._heads = heads
        self._key = key
        self._map_secret = map_secret
        self._witnesses = witnesses or Witnesses(database, heads, (), quorum=0, timeout_s=0)
        self._notes: dict[str, str] | None = None

    async def seal(self) -> Sealed | None:
        """Sign every tree that has grown; seal an epoch if anything but our own events has come. The new epoch."""
        if await known_log(self._database, self._reader) is None:
            return None
        sealed, _ = await self._commands.state(EPOCH, PLATFORM, EPOCH_LOG)
        end = await trail_end(self._database, sealed.last_position)
        if self._notes is None:
            self._notes = {tree: head.note for tree, head in (await self._heads.all_newest()).items()}
        if end.grown:
            await self._check_continuity(end)
            heads = await asyncio.to_thread(self._signed, end)
            # Before they are given out: who demands a quorum is not shown a head that has yet to find it.
            await self._witnesses.cosign(heads)
            await self._heads.keep(heads, sealed.last_position)
            self._notes |= {head.tree: head.note for head in heads}
        await self._witnesses.offer_again()
        if not end.has_news:
            return None
        covering = await asyncio.to_thread(checkpoint_map, self._map_secret, dict(self._notes))
        platform = self._notes.get(PLATFORM_TREE) or self._key.checkpoint(PLATFORM_TREE, 0, EMPTY_ROOT)
        return await self._announce(sealed, end, covering, platform)

    def _signed(self, end: TrailEnd) -> list[SealedHead]:
        heads: list[SealedHead] = []
        for grown in end.grown:
            root = Frontier.decode(grown.size, grown.peaks).root()
            note = self._key.checkpoint(grown.tree, grown.size, root)
            heads.append(SealedHead(grown.tree, grown.size, root, end.position, note))
        return heads

    async def _check_continuity(self, end: TrailEnd) -> None:
        """A log never signs two histories: every tree must begin with the one that was signed before.

        Raises:
            Unreadable: a tree does not. It has been said on the log, and nothing more is signed.
            Unavailable: the trail is being folded anew and is not yet where it was.
        """
        if any(grown.size < grown.signed_size for grown in end.grown):
            raise Unavailable("the trail is being folded anew; it is signed again when it has caught up")
        sizes = {grown.tree: grown.signed_size for grown in end.grown if 0 < grown.signed_size < grown.size}
        roots = await roots_at(self._database, sizes)
        forked = [grown for grown in end.grown if grown.tree in roots and roots[grown.tree] != grown.signed_root]
        for grown in forked:
            detail = f"the tree {grown.tree} is not the one that was signed with {grown.signed_size} leaves"
            expected, found = grown.signed_root.hex(), roots[grown.tree].hex()
            finding = ReportDivergence("rewritten", grown.signed_position, expected, found, detail)
            await _report(self._commands, finding)
            raise Unreadable(f"{detail}: it is not signed again. Compare the log with its copies before anything else")

    async def _announce(
        self, sealed: Sealed, end: TrailEnd, covering: CheckpointMap, platform_checkpoint: str
    ) -> Sealed | None:
        order = SealEpoch(
            first_position=sealed.last_position + 1,
            last_position=end.position,
            leaf_count=end.leaves,
            gap_count=end.gaps,
            tree_count=len(covering.lines),
            map_root=covering.root(),
            platform_checkpoint=platform_checkpoint,
        )
        cause = _cause("seal", str(order.first_position), str(order.last_position))
        try:
            return (await self._commands.execute(EPOCH, PLATFORM, EPOCH_LOG, order, cause)).state
        except (Rejected, Conflict) as faster:
            _log.info("another instance has sealed: %s", faster.detail)
            return None


@dataclass(slots=True)
class Watching:
    """Compares the log with what the trail has seen of it: the newest events, and a window that walks through all.

    Attributes:
        projection: name of the trail's reader.
        window: positions compared per look.
        cursor: where the next window begins.
        standing: what the last look found; a log that was set back or made anew cannot tell of it to the trail.
    """

    log: EventLog
    database: Database
    commands: Commands
    projection: str
    window: int
    cursor: int = 0
    standing: tuple[ReportDivergence, ...] = ()

    async def look(self) -> list[ReportDivergence]:
        """One look; what it found is said, once each."""
        findings = await self._findings()
        self.standing = tuple(findings)
        for finding in findings:
            await _report(self.commands, finding)
        return findings

    async def _findings(self) -> list[ReportDivergence]:
        known = await known_log(self.database, self.projection)
        if known is None:
            return []
        if known != await self.log.incarnation():
            detail = f"the trail was folded from the log {known}; this log is another under the same name"
            return [ReportDivergence("recreated", 1, None, None, detail)]
        findings: list[ReportDivergence] = []
        if (gap := await first_gap(self.database)) is not None:
            findings.append(ReportDivergence("vanished", gap, None, None, f"position {gap} holds no event"))
        end = await trail_position(self.database)
        head = await self.log.last_position()
        if head < end:
            findings.append(await self._rewound(head, end))
        findings += await self._compare(max(0, min(head, end) - TAIL), min(head, end))
        if self.cursor >= end:
            self.cursor = 0
        upto = min(self.cursor + self.window, end, head)
        findings += await self._compare(self.cursor, upto)
        self.cursor = upto if upto > self.cursor else 0
        return findings

    async def _rewound(self, head: int, end: int) -> ReportDivergence:
        [lost] = await compared_rows(self.database, head, head + 1) or [Compared(head + 1, "", b"")]
        detail = f"the log ends at {head}; the trail has seen it up to {end}"
        return ReportDivergence("rewound", head + 1, lost.sha256.hex() or None, None, detail)

    async def _compare(self, after: int, upto: int) -> list[ReportDivergence]:
        """Positions (after, upto] of the log against the trail's rows."""
        if upto <= after:
            return []
        found = await self._read(after, upto)
        findings: list[ReportDivergence] = []
        for row in await compared_rows(self.database, after, upto):
            stored = found.get(row.position)
            if stored is None:
                detail = f"position {row.position} held {row.subject} and is empty"
                findings.append(ReportDivergence("vanished", row.position, row.sha256.hex(), None, detail))
            elif (digest := Compared.of(stored)) != row:
                detail = f"position {row.position} holds other bytes or another subject than {row.subject} had"
                findings.append(
                    ReportDivergence("rewritten", row.position, row.sha256.hex(), digest.sha256.hex(), detail)
                )
        return findings

    async def _read(self, after: int, upto: int) -> dict[int, Recorded]:
        follower = self.log.follow(["events.>"], after)
        found: dict[int, Recorded] = {}
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                async for batch in follower.batches():
                    found |= {event.position: event for event in batch.events if event.position <= upto}
                    if batch.seen >= upto or batch.caught_up:
                        break
        except TimeoutError:
            raise Unavailable(f"the log did not give the positions {after + 1} to {upto} in time") from None
        finally:
            await follower.close()
        return found


class Certifying(Reaction):
    """Certifies an erasure when the data's owner says that the key is gone."""

    name = "certifying"
    reads: ClassVar[tuple[type[Event], ...]] = (PersonalDataErased,)

    def __init__(self, database: Database, commands: Commands, key: LogKey) -> None:
        self._database = database
        self._commands = commands
        self._key = key

    async def react(self, fact: Fact) -> None:
        assert isinstance(fact.event, PersonalDataErased)
        said = fact.event
        if await trail_position(self._database) < fact.position:
            raise Unavailable("the trail has not yet seen the erasure that is to be certified")
        sealed, clear = await personal_events(self._database, said.user_id, said.sealed_by, fact.position)
        order = CertifyErasure(
            subject_id=said.user_id,
            erasure_id=said.erasure_id,
            erased_event_id=fact.envelope.id,
            sealed_events=sealed,
            clear_events=clear,
            statement=statement(self._key, said.user_id, said.erasure_id, fact.envelope.id, sealed, clear),
        )
        try:
            await self._commands.execute(
                DATA_SUBJECT, PLATFORM, said.user_id, order, Cause.of(fact, actor=SERVICE, step="certify")
            )
        except Rejected as refused:
            _log.error("position %d tells of an erasure that nobody ordered: %s", fact.position, refused.detail)


async def announce_key(commands: Commands, key: LogKey) -> None:
    """Have the log say which key signs it from here on. Raises Misconfigured: not one that the key before has named."""
    try:
        cause = _cause("log-key", key.verifier_key(), key.previous_verifier_key() or "")
        said = await commands.execute(LOG_KEY, PLATFORM, LOG_KEYS_ID, AnnounceKey(key), cause)
    except Rejected as refused:
        raise Misconfigured(refused.detail) from refused
    if said.state[-1] != key.verifier_key():  # the answer to this cause in its day, and replaced since
        raise Misconfigured("this signing key was replaced by another: give the log the newest one")


async def _report(commands: Commands, finding: ReportDivergence) -> None:
    """Say a finding on the log, once."""
    cause = _cause("divergence", finding.divergence_id, finding.found_sha256 or "")
    said = await commands.execute(DIVERGENCE, PLATFORM, finding.divergence_id, finding, cause)
    if said.events and not said.repeated:
        _log.error("the log is not what was sealed: %s", finding.detail)


async def forever(work: Callable[[], Awaitable[object]], interval_s: float) -> None:
    """Do it, sleep, and again; a failure is said and tried again."""
    while True:
        try:
            await work()
        except GpuaasError as failure:
            _log.warning("%s waits: %s", getattr(work, "__qualname__", work), failure.detail)
        await asyncio.sleep(interval_s)


def _cause(step: str, *facts: str) -> Cause:
    return Cause(id=derived_id(f"audit-{step}", *facts), actor=SERVICE, actor_kind="service", step=step)
