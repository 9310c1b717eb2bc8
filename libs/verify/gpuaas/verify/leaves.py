"""One event in a tree: its exact bytes, its entry, its place. One law: the entry is recomputed from the bytes.

A leaf's data is the RFC 8785 form of
`{"v":1,"position":"<int64>","subject":…,"type":…,"id":…,"time":…,"sha256":"<hex of the stored bytes>"}`.
`type`, `id` and `time` are those of the CloudEvent; all three are null where the bytes are no readable event.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from gpuaas.verify.encodings import base64_bytes, hash_bytes, uint64
from gpuaas.verify.fields import Fields
from gpuaas.verify.policy import PLATFORM_TREE, Head, tenant_tree
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.strict_json import canonical, parse_object
from gpuaas.verify.tree import check_inclusion, leaf_hash

_SUBJECT = re.compile(r"events\.([a-z0-9-]+)\.([a-z0-9-]+)\.([a-z0-9-]+)\.([a-z0-9-]+)", re.ASCII)
_ENTRY = ("v", "position", "subject", "type", "id", "time", "sha256")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf as evidence carries it, not yet proved.

    Attributes:
        entry: the members of the entry.
        payload: the exact stored bytes of the event.
        path: its inclusion proof.
    """

    index: int
    position: int
    subject: str
    entry: Fields
    payload: bytes
    path: tuple[bytes, ...]

    @property
    def tree(self) -> str:
        """The tree its subject puts it in."""
        parts = _SUBJECT.fullmatch(self.subject)
        owner = parts.group(3) if parts else PLATFORM_TREE
        return PLATFORM_TREE if owner == PLATFORM_TREE else tenant_tree(owner)

    def hash(self) -> bytes:
        """Its leaf hash."""
        return leaf_hash(canonical(dict(self.entry.raw)))


@dataclass(frozen=True, slots=True)
class ProvedEvent:
    """An event that is in a trusted tree.

    Attributes:
        entity, entity_id: from the subject, such as `invoice`.
        data: the event's own members.
        sequence: its number in the history of its subject, from 1; 0: the event does not say.
    """

    position: int
    index: int
    event_id: str
    type: str
    service: str
    entity: str
    entity_id: str
    data: Fields
    sequence: int = 0


def read_leaf(value: Any, what: str) -> Leaf:
    """Parse a leaf out of a bundle or a trail row.

    Raises:
        Unusable: malformed.
    """
    fields = Fields(value, what).only("index", "entry", "payload", "proof")
    entry = fields.inner("entry").only(*_ENTRY)
    if entry.integer("v") != 1:
        raise Unusable("malformed", f"{what}: entries of version {entry.integer('v')} are not understood; 1 is")
    path = fields.items("proof")
    if len(path) > 63 or not all(isinstance(step, str) for step in path):
        raise Unusable("malformed", f"{what}.proof is not a list of at most 63 hashes")
    return Leaf(
        index=uint64(fields.text("index"), f"{what}.index"),
        position=entry.int64("position"),
        subject=entry.text("subject"),
        entry=entry,
        payload=base64_bytes(fields.text("payload"), f"{what}.payload"),
        path=tuple(hash_bytes(step, f"{what}.proof") for step in path),
    )


def check_bytes(leaf: Leaf) -> None:
    """The entry speaks of exactly these bytes.

    Raises:
        Refuted: other bytes, or an entry that names another event than the bytes hold.
    """
    what = leaf.entry.what
    if hashlib.sha256(leaf.payload).hexdigest() != leaf.entry.text("sha256"):
        raise Refuted("other-bytes", f"{what}: the event's bytes are not those that were logged")
    if leaf.entry.raw.get("type") is None and leaf.entry.raw.get("id") is None and leaf.entry.raw.get("time") is None:
        return
    envelope = Fields(parse_object(leaf.payload, what), what)
    for name in ("type", "id", "time"):
        if leaf.entry.text(name) != envelope.text(name):
            raise Refuted("other-event", f"{what}: the entry's {name} is not the event's")


def prove(leaf: Leaf, head: Head) -> None:
    """The leaf is in the tree of `head`, which is the tree its subject belongs to.

    Raises:
        Refuted: another tenant's tree, other bytes, or not included.
    """
    if leaf.tree != head.tree:
        raise Refuted("wrong-tree", f"{leaf.entry.what}: {leaf.subject} does not belong in the tree {head.tree}")
    check_bytes(leaf)
    check_inclusion(leaf.hash(), leaf.index, head.checkpoint.size, leaf.path, head.checkpoint.root)


def read_event(leaf: Leaf) -> ProvedEvent:
    """The event in a leaf that has been proved.

    Raises:
        Refuted: its envelope and its subject disagree.
        Unusable: its bytes are no event.
    """
    what = leaf.entry.what
    envelope = Fields(parse_object(leaf.payload, what), what)
    parts = _SUBJECT.fullmatch(leaf.subject)
    if parts is None:
        raise Unusable("malformed", f"{what}: {leaf.subject!r} is not an event's subject")
    service, entity, owner, entity_id = parts.groups()
    if envelope.text("tenantid") != owner or envelope.text("subject") != f"{entity}/{owner}/{entity_id}":
        raise Refuted("other-event", f"{what}: the event's subject and tenant are not those it was logged under")
    if not envelope.text("type").startswith(f"gpuaas.{service}."):
        raise Refuted("other-event", f"{what}: {envelope.text('type')} is not an event of the service {service}")
    return ProvedEvent(
        position=leaf.position,
        index=leaf.index,
        event_id=envelope.text("id"),
        type=envelope.text("type"),
        service=service,
        entity=entity,
        entity_id=entity_id,
        data=envelope.inner("data"),
        sequence=_sequence(envelope),
    )


def _sequence(envelope: Fields) -> int:
    told = envelope.optional_text("sequence")
    if told is not None and not (told.isascii() and told.isdigit()):
        raise Unusable("malformed", f"{envelope.what}: its sequence is no number")
    return int(told or 0)
