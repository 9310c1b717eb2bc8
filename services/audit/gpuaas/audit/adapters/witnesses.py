"""The log's witnesses, asked together. One law: one that is down, slow or lying costs a cosignature and nothing else.

Every answer is checked before it counts. A witness that failed is left alone for a while, and what it missed is offered
again later; one that remembers a larger tree than we have says that our past was taken back, and people must look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gpuaas.audit.adapters.heads import Cosigned, Heads, SealedHead
from gpuaas.audit.adapters.key_file import verifies
from gpuaas.audit.domain.witnessing import COSIGNATURE, cosigner_id, good_line, request_body
from gpuaas.audit.ports import Witness
from gpuaas.audit.projections.tree_proofs import consistency_proof
from gpuaas.common.errors import Unavailable
from gpuaas.common.tables import Database

SIDE_BY_SIDE: Final = 8
LAGGING_MAX: Final = 500
LEFT_ALONE_S: Final = 30.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Standing:
    """How one witness does.

    Attributes:
        state: unasked, well, down, slow, lying (its cosignature is not one), ahead (it remembers a larger tree than
            we have) or declining (it refuses what we signed).
        detail: the last thing that went wrong.
        ask_again_s: monotonic time before which it is left alone.
    """

    state: str = "unasked"
    detail: str = ""
    cosigned: int = 0
    failed: int = 0
    lagging: bool = True
    ask_again_s: float = 0.0


class _Unwell(Exception):
    """The witness did not cosign; `state` says how."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state


@dataclass(slots=True)
class Witnesses:
    """All witnesses of one log.

    Attributes:
        quorum: cosignatures that a head needs to be trusted by the policy we hand out.
        timeout_s: longest wait for one witness at one sealing.
    """

    database: Database
    heads: Heads
    members: Sequence[Witness]
    quorum: int
    timeout_s: float
    standings: dict[str, Standing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.standings |= {witness.name: Standing() for witness in self.members}

    async def cosign(self, heads: Sequence[SealedHead]) -> list[Cosigned]:
        """Offer new heads, already checked to continue the old ones, to every witness that does well.

        What comes of it is to be kept with the heads, in one go: the old heads are given out with theirs until then.
        """
        due = [member for member in self.members if time.monotonic() >= self.standings[member.name].ask_again_s]
        for member in self.members:
            self.standings[member.name].lagging |= member not in due
        return await asyncio.gather(*(self._offer(member, heads) for member in due))

    async def offer_again(self) -> None:
        """Offer the newest heads to the witnesses that missed them."""
        for member in self.members:
            standing = self.standings[member.name]
            if standing.lagging and time.monotonic() >= standing.ask_again_s:
                missed = await self.heads.lagging(member.name, LAGGING_MAX)
                standing.lagging = len(missed) == LAGGING_MAX
                await self.heads.keep_cosignatures(await self._offer(member, missed))

    def policy(self) -> str:
        """The policy's lines for witnesses and quorum (C2SP tlog-policy)."""
        if not self.members:
            return "quorum none\n"
        names = [f"w{number}" for number, _ in enumerate(self.members, 1)]
        lines = [
            f"witness {name} {verifier_key(member)} {member.url}".rstrip()
            for name, member in zip(names, self.members, strict=True)
        ]
        return "\n".join([*lines, f"group witnesses {self.quorum} {' '.join(names)}", "quorum witnesses"]) + "\n"

    def told(self) -> list[dict[str, Any]]:
        """How each witness does, for people."""
        return [
            {
                "witness": member.name,
                "verifier_key": verifier_key(member),
                "url": member.url or None,
                "state": (standing := self.standings[member.name]).state,
                "detail": standing.detail,
                "cosigned": standing.cosigned,
                "failed": standing.failed,
            }
            for member in self.members
        ]

    async def _offer(self, witness: Witness, heads: Sequence[SealedHead]) -> Cosigned:
        standing = self.standings[witness.name]
        found: list[tuple[str, int, str]] = []
        troubles: list[_Unwell] = []
        known = await self.heads.witnessed(witness.name, [head.tree for head in heads])
        free = asyncio.Semaphore(SIDE_BY_SIDE)

        async def one(head: SealedHead) -> None:
            async with free:
                if any(trouble.state == "down" for trouble in troubles):
                    return
                try:
                    found.append((head.tree, head.size, await self._line(witness, head, known.get(head.tree, 0))))
                except _Unwell as trouble:
                    troubles.append(trouble)

        try:
            async with asyncio.timeout(self.timeout_s):
                await asyncio.gather(*map(one, heads))
        except TimeoutError:
            troubles.append(_Unwell("slow", f"not everything was answered within {self.timeout_s} s"))
        if troubles:
            self._unwell(witness, troubles[0])
        elif heads:
            standing.state, standing.detail = "well", ""
        standing.cosigned += len(found)
        return Cosigned(witness.name, tuple(found))

    def _unwell(self, witness: Witness, trouble: _Unwell) -> None:
        standing = self.standings[witness.name]
        standing.state, standing.detail, standing.lagging = trouble.state, str(trouble)[:500], True
        standing.failed += 1
        standing.ask_again_s = time.monotonic() + LEFT_ALONE_S
        _log.warning("the witness %s is %s: %s", witness.name, standing.state, standing.detail)

    async def _line(self, witness: Witness, head: SealedHead, known: int) -> str:
        """Its true cosignature of the head. Raises _Unwell."""
        for attempt in range(2):
            path = await self._path(head, known)
            try:
                answer = await witness.add_checkpoint(request_body(known, path, head.note))
            except Unavailable as lost:
                raise _Unwell("down", lost.detail) from lost
            if answer.status == 200:
                text = head.note.rpartition("\n\n")[0] + "\n"
                line = good_line(answer.body, witness.name, witness.public_key, text, verifies)
                if line is None:
                    raise _Unwell("lying", f"its answer for {head.tree} holds no cosignature by its key")
                return line
            size = answer.body.strip()
            if answer.status != 409 or attempt or not (size.isascii() and size.isdecimal() and len(size) < 19):
                break
            known = int(size)
            if known > head.size:
                raise _Unwell("ahead", f"it says it has seen {known} leaves of {head.tree}, which has {head.size}")
        raise _Unwell("declining", f"{answer.status} for {head.tree} at {head.size}: {answer.body.strip()[:200]}")

    async def _path(self, head: SealedHead, known: int) -> list[bytes]:
        if known > head.size:
            raise _Unwell("ahead", f"it has cosigned {known} leaves of {head.tree}, which has {head.size}")
        return [] if known in (0, head.size) else await consistency_proof(self.database, head.tree, known, head.size)


def verifier_key(witness: Witness) -> str:
    """`name+id+key` of a witness."""
    material = b64encode(COSIGNATURE + witness.public_key).decode()
    return f"{witness.name}+{cosigner_id(witness.name, witness.public_key).hex()}+{material}"
