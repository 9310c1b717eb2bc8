"""What the trail does by itself: it seals what came, and certifies erasures. One law: it never seals a doubt.

Sealing runs beside the readers, looks, acts and sleeps. A look that fails is tried again; nothing here holds a state
that a restart would lose.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from gpuaas.audit.adapters.heads import Heads, SealedHead
from gpuaas.audit.adapters.witnesses import Witnesses
from gpuaas.audit.domain.certificates import statement
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.data_subjects import CertifyErasure
from gpuaas.audit.domain.divergences import ReportDivergence
from gpuaas.audit.domain.entries import PLATFORM_TREE
from gpuaas.audit.domain.epochs import EPOCH_LOG, Sealed, SealEpoch
from gpuaas.audit.domain.log_keys import LOG_KEYS_ID, AnnounceKey
from gpuaas.audit.domain.maps import CheckpointMap, checkpoint_map
from gpuaas.audit.domain.merkle import EMPTY_ROOT, Frontier
from gpuaas.audit.entities import DATA_SUBJECT, EPOCH, LOG_KEY, SERVICE, own_cause
from gpuaas.audit.projections.person_events import personal_events
from gpuaas.audit.projections.trail_state import TrailEnd, known_log, trail_end, trail_position
from gpuaas.audit.projections.tree_proofs import roots_at
from gpuaas.audit.watching import Watching, report
from gpuaas.common.commands import Cause, Commands
from gpuaas.common.envelope import PLATFORM, Fact
from gpuaas.common.errors import Conflict, Misconfigured, Rejected, Unavailable, Unreadable
from gpuaas.common.events import Event
from gpuaas.common.reactions import Reaction
from gpuaas.common.tables import Database
from gpuaas.contracts.iam import PersonalDataErased

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
        watching: Watching,
        witnesses: Witnesses | None = None,
    ) -> None:
        self._database = database
        self._reader = reader
        self._watching = watching
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
            cosigned = await self._witnesses.cosign(heads)
            await self._heads.keep(heads, cosigned, sealed.last_position)
            self._notes |= {head.tree: head.note for head in heads}
        await self._witnesses.offer_again()
        if not end.has_news or not await self._watching.cleared():
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
            await report(self._commands, finding)
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
        cause = own_cause("seal", str(order.first_position), str(order.last_position))
        try:
            state = (await self._commands.execute(EPOCH, PLATFORM, EPOCH_LOG, order, cause)).state
        except (Rejected, Conflict) as faster:
            _log.info("another instance has sealed: %s", faster.detail)
            return None
        self._watching.wake.set()
        return state


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
        cause = own_cause("log-key", key.verifier_key(), key.previous_verifier_key() or "")
        said = await commands.execute(LOG_KEY, PLATFORM, LOG_KEYS_ID, AnnounceKey(key), cause)
    except Rejected as refused:
        raise Misconfigured(refused.detail) from refused
    if said.state[-1] != key.verifier_key():  # the answer to this cause in its day, and replaced since
        raise Misconfigured("this signing key was replaced by another: give the log the newest one")
