"""A certificate that a person's data was erased. One law: every word of it is an event that is in the log, unchanged.

One JSON document, `gpuaas-erasure/v1`: `orders`, the whole history of legal holds and orders for the person; `person`,
the person's own history and every other event that the destroyed key had sealed; and the checkpoints these are under.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from gpuaas.verify.bundles import load
from gpuaas.verify.fields import Fields
from gpuaas.verify.leaves import Leaf, ProvedEvent, prove, read_event, read_leaf
from gpuaas.verify.notes import read_note
from gpuaas.verify.policy import Head, Policy
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.strict_json import parse_object

FORMAT: Final = "gpuaas-erasure/v1"
_PLACED: Final = "gpuaas.audit.legal-hold-placed.v1"
_LIFTED: Final = "gpuaas.audit.legal-hold-lifted.v1"
_ORDERED: Final = "gpuaas.audit.erasure-ordered.v1"
_CERTIFIED: Final = "gpuaas.audit.erasure-certified.v1"
_ERASED: Final = "gpuaas.iam.personal-data-erased.v1"


@dataclass(frozen=True, slots=True)
class _Told:
    """A proved event with the members of its envelope that matter here."""

    event: ProvedEvent
    version: int
    sealed: bool
    sealed_by: str | None

    @property
    def history(self) -> tuple[str, str, str]:
        return self.event.service, self.event.entity, self.event.entity_id


@dataclass(frozen=True, slots=True)
class _Orders:
    """What the history of orders says, once it was found to be whole."""

    ordered: ProvedEvent
    certified: ProvedEvent
    holds: int


def verify_erasure(path: str | Path, policy: Policy) -> Report:
    """Whether the certificate at `path` shows an erasure, ordered while no legal hold stood, and carried out."""
    report = Report(what=f"erasure certificate {Path(path).name}")
    with report.deciding():
        document = Fields(parse_object(load(path), "the certificate"), "the certificate")
        document.only("format", "subject_id", "checkpoints", "orders", "person")
        if document.text("format") != FORMAT:
            raise Unusable("malformed", f"its format is {document.text('format')[:40]!r}; {FORMAT!r} is understood")
        _verify(document, policy, report)
    return report


def _verify(document: Fields, policy: Policy, report: Report) -> None:
    subject_id = document.text("subject_id")
    heads = _heads(document.inner("checkpoints"), policy)
    orders, person = (_told(document, name, heads) for name in ("orders", "person"))
    for head in heads.values():
        report.held("checkpoint", f"{head.checkpoint.origin}, {head.checkpoint.size:,} leaves, signed")
    report.held("inclusion", f"{len(orders) + len(person):,} events are in the log, byte for byte")
    found = _check_orders(orders, subject_id)
    erasure_id = found.ordered.data.text("erasure_id")
    report.held("holds", f"{found.holds} legal holds were placed, and none stood when {erasure_id} was ordered")
    erased = _check_erased(person, subject_id, found)
    by = erased.data.text("sealed_by")
    report.held("key", f"{erased.service} says that the key {by} was destroyed, after the order")
    sealed = _check_sealed(person, by, found.certified)
    report.held("sealed", f"{sealed} events carry data that only that key opened; their bytes are what was logged")
    _check_statement(found.certified, policy)
    report.held("statement", "the log's key has signed the same")
    report.facts |= {
        "person": subject_id,
        "erasure": erasure_id,
        "basis": found.ordered.data.text("basis"),
        "events sealed": str(sealed),
        "events in the clear": str(found.certified.data.integer("clear_events")),
        "cannot be shown": "that nobody kept a copy of the key; backups of the vault are the owner's to destroy",
    }


def _heads(notes: Fields, policy: Policy) -> dict[str, Head]:
    heads: dict[str, Head] = {}
    for tree in notes.raw:
        head = policy.accept(notes.text(tree))
        if head.tree != tree:
            raise Refuted("wrong-tree", f"the checkpoint given for {tree[:80]!r} is of {head.checkpoint.origin}")
        heads[tree] = head
    if len({head.log.name for head in heads.values()}) > 1:
        raise Refuted("wrong-tree", "the checkpoints are of different logs")
    return heads


def _told(document: Fields, name: str, heads: dict[str, Head]) -> list[_Told]:
    told: list[_Told] = []
    for number, value in enumerate(document.items(name), 1):
        leaf = read_leaf(value, f"{name} {number}")
        head = heads.get(leaf.tree)
        if head is None:
            raise Refuted("wrong-tree", f"{leaf.entry.what}: there is no checkpoint of {leaf.tree}")
        prove(leaf, head)
        told.append(_with_envelope(leaf))
    positions = [each.event.position for each in told]
    if any(after <= before for before, after in pairwise(positions)):
        raise Refuted("wrong-order", f"{name} are not in the order of the log, or one stands there twice")
    return told


def _with_envelope(leaf: Leaf) -> _Told:
    envelope = Fields(parse_object(leaf.payload, leaf.entry.what), leaf.entry.what)
    version = envelope.text("sequence")
    if not version.isascii() or not version.isdecimal():
        raise Unusable("malformed", f"{leaf.entry.what}: its sequence is no number")
    sealed = envelope.optional_text("sealed") is not None
    return _Told(read_event(leaf), int(version), sealed, envelope.optional_text("sealedby"))


def _check_orders(told: Sequence[_Told], subject_id: str) -> _Orders:
    """The history is whole from its beginning, and lawful."""
    _check_dense(told, ("audit", "data-subject", subject_id))
    holds: set[str] = set()
    placed = 0
    ordered: ProvedEvent | None = None
    for event in (each.event for each in told):
        match event.type:
            case kind if kind == _PLACED:
                holds.add(event.data.text("hold_id"))
                placed += 1
            case kind if kind == _LIFTED:
                holds.discard(event.data.text("hold_id"))
            case kind if kind == _ORDERED:
                if holds:
                    raise Refuted("held", f"the legal hold {min(holds)[:80]} stood when the erasure was ordered")
                ordered = event
            case kind if kind == _CERTIFIED and ordered is not None:
                if event.data.text("erasure_id") != ordered.data.text("erasure_id"):
                    raise Refuted("other-event", "another erasure was certified than the one that was ordered")
                return _Orders(ordered, event, placed)
    raise Refuted("not-erased", f"no erasure of {subject_id[:80]} was ordered and certified")


def _check_erased(person: Sequence[_Told], subject_id: str, orders: _Orders) -> ProvedEvent:
    own = [each for each in person if each.history == ("iam", "user", subject_id)]
    _check_dense(own, ("iam", "user", subject_id))
    for event in (each.event for each in own if each.event.type == _ERASED):
        if event.event_id != orders.certified.data.text("erased_event_id"):
            continue
        if event.data.text("erasure_id") != orders.ordered.data.text("erasure_id"):
            raise Refuted("other-event", "the key was destroyed for another order")
        if not orders.ordered.position < event.position < orders.certified.position:
            raise Refuted("wrong-order", "the key's end does not stand between the order and its certificate")
        return event
    raise Refuted("not-erased", "no event says that the key was destroyed")


def _check_sealed(person: Sequence[_Told], by: str, certified: ProvedEvent) -> int:
    mine = [each for each in person if each.sealed_by == by]
    if not all(each.sealed for each in mine):
        raise Refuted("other-event", f"an event names the key {by[:80]} and holds nothing sealed")
    if len(mine) != certified.data.integer("sealed_events"):
        raise Refuted(
            "incomplete", f"{len(mine)} events sealed by {by[:80]} are shown and another number was certified"
        )
    return len(mine)


def _check_dense(told: Sequence[_Told], history: tuple[str, str, str]) -> None:
    if [each.version for each in told] != list(range(1, len(told) + 1)) or {each.history for each in told} - {history}:
        raise Refuted("incomplete", f"the history of {'/'.join(history)[:120]} is not shown whole from its beginning")


def _check_statement(certified: ProvedEvent, policy: Policy) -> None:
    data = certified.data
    note = read_note(data.text("statement"))
    wanted = [data.text(name) for name in ("subject_id", "erasure_id", "erased_event_id")]
    wanted += [str(data.integer(name)) for name in ("sealed_events", "clear_events")]
    lines = note.text.split("\n")
    if lines[:1] != [FORMAT] or lines[2:] != [*wanted, ""]:
        raise Refuted("other-event", "the signed statement does not say what the event says")
    if not note.signers([key for key in policy.logs if key.name == lines[1]]):
        raise Refuted("unsigned", "the statement is not signed by a trusted key of its log")
