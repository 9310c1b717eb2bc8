"""The keys that signed for the log, one after another. One law: a new key is named by the one before, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.common.decider import Decider
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Event
from gpuaas.contracts.audit import LogKeyAnnounced

LOG_KEYS_ID: Final = "log"
Announced: TypeAlias = tuple[str, ...]
"""Verifier keys in order; the last one signs."""


@dataclass(frozen=True, slots=True)
class AnnounceKey:
    """Order that the log is signed with this key from here on; `key.previous` is the one before."""

    key: LogKey


def decide(command: AnnounceKey, announced: Announced) -> list[Event]:
    """Nothing for the key that signs already; the first key alone; any other with its handover."""
    key, new = command.key, command.key.verifier_key()
    if announced[-1:] == (new,):
        return []
    if not announced:
        return [LogKeyAnnounced(log=key.log, verifier_key=new)]
    if new in announced:
        raise Rejected("this key has signed for the log before and was replaced: give the log a new one")
    if key.previous is None or key.previous_verifier_key() != announced[-1]:
        raise Rejected(
            "the signing key is not the one that was announced, and the one that was is not at hand: put it into "
            "AUDIT_PREVIOUS_SIGNING_KEY, so that it can name the new one"
        )
    return [
        LogKeyAnnounced(log=key.log, verifier_key=new, previous_verifier_key=announced[-1], handover=key.handover())
    ]


def evolve(announced: Announced, event: Event) -> Announced:
    """With one more key."""
    match event:
        case LogKeyAnnounced() as said:
            return (*announced, said.verifier_key)
        case _:
            raise AssertionError(f"{type(event).__name__} tells of no key")


LOG_KEYS: Final[Decider[Announced, AnnounceKey]] = Decider(initial=(), decide=decide, evolve=evolve)
