"""Events against what audit has signed about them. One law: it needs only the events, and trusts none of them.

Every `epoch-sealed` event carries the signed head of the platform's tree; folded from the events themselves, that tree
must have the same root. With audit's key and map secret at hand, the newest epoch's map commits to every tree there is.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from gpuaas.audit.adapters.key_file import Ed25519Key, secret_in
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.domain.entries import PLATFORM_TREE, entry_of, read_header, tree_of
from gpuaas.audit.domain.maps import checkpoint_map
from gpuaas.audit.domain.merkle import Frontier, grown
from gpuaas.common.errors import Unreadable

SEALED: Final = "gpuaas.audit.epoch-sealed.v1"
PLATFORM_ORIGIN: Final = "/platform"


class StoredEvent(NamedTuple):
    """One message of the log: where it stands, and its very bytes."""

    position: int
    subject: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """What audit keeps outside the log: enough to say again, word for word, what it signed."""

    signing: bytes = field(repr=False)
    map_secret: bytes = field(repr=False)

    @classmethod
    def below(cls, folder: Path) -> Keys | None:
        """Audit's secrets in its state folder; None where they are not."""
        key, secret = folder / "audit-signing.key", folder / "audit-map.secret"
        if not (key.exists() and secret.exists()):
            return None
        return cls(secret_in(key, may_create=False), secret_in(secret, may_create=False))


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one sealed epoch says."""

    number: int
    last_position: int
    map_root: str
    log_name: str
    platform_size: int
    platform_root: bytes

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Epoch:
        origin, size, root, *_ = data["platform_checkpoint"].split("\n")
        return cls(
            number=data["epoch"],
            last_position=int(data["last_position"]),
            map_root=data["map_root"],
            log_name=origin.removesuffix(PLATFORM_ORIGIN),
            platform_size=int(size),
            platform_root=base64.b64decode(root),
        )


@dataclass(slots=True)
class Trees:
    """Every tree, folded from events in order."""

    position: int = 0
    by_name: defaultdict[str, Frontier] = field(default_factory=lambda: defaultdict(Frontier))

    def take(self, event: StoredEvent) -> str:
        """One more event; the tree it went into.

        Raises:
            Unreadable: it is not the one that follows.
        """
        if event.position != self.position + 1:
            raise Unreadable(f"position {event.position} follows {self.position}: events are missing or out of order")
        self.position = event.position
        tree = tree_of(event.subject)
        entry = entry_of(event.position, event.subject, read_header(event.payload), event.payload)
        self.by_name[tree] = grown(self.by_name[tree], [entry.hash()]).frontier
        return tree


def epochs_in(events: Iterable[StoredEvent]) -> tuple[int, list[Epoch]]:
    """The last position, and every epoch, each compared with the platform's tree as the events themselves make it.

    Raises:
        Unreadable: an event is missing, or an epoch was signed over other events; names the epoch.
    """
    trees, epochs = Trees(), list[Epoch]()
    roots: dict[int, bytes] = {}
    for event in events:
        if trees.take(event) != PLATFORM_TREE:
            continue
        platform = trees.by_name[PLATFORM_TREE]
        roots[platform.size] = platform.root()
        if not event.subject.startswith("events.audit.epoch."):
            continue
        envelope = json.loads(event.payload)
        if envelope["type"] == SEALED:
            epochs.append(epoch := Epoch.read(envelope["data"]))
            _compare(epoch, roots)
            roots = {size: root for size, root in roots.items() if size >= epoch.platform_size}
    return trees.position, epochs


def _compare(epoch: Epoch, roots: Mapping[int, bytes]) -> None:
    if epoch.platform_size and roots.get(epoch.platform_size) != epoch.platform_root:
        raise Unreadable(
            f"epoch {epoch.number} was signed over other events: up to position {epoch.last_position}, at least one of "
            "the platform's is not what audit saw"
        )


def same_whole(epoch: Epoch, events: Iterable[StoredEvent], keys: Keys) -> bool:
    """Whether every tree, tenants' too, is the one that the epoch's map commits to."""
    trees = Trees()
    for event in events:
        if event.position > epoch.last_position:
            break
        trees.take(event)
    signer = LogKey(epoch.log_name, Ed25519Key(keys.signing))
    heads = trees.by_name.items()
    notes = {tree: signer.checkpoint(tree, each.size, each.root()) for tree, each in heads if each.size}
    return checkpoint_map(keys.map_secret, notes).root().hex() == epoch.map_root
