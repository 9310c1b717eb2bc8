"""Invoice bundles: what a tenant takes to a laptop. One law: nothing in a bundle is believed for being in it.

A bundle is one JSON document (`.json` or `.json.gz`, or a folder with `bundle.json[.gz]`): the signed checkpoints of
the tenant's and the platform's tree, and each event the invoice rests on as a leaf with its exact bytes and inclusion
proof. The key that the checkpoints must be signed with comes from the reader's policy.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from gpuaas.verify.fields import Fields
from gpuaas.verify.followups import (
    CORRECTION_ISSUED,
    CREDIT_NOTE_ISSUED,
    INVOICE_PAYMENT_RECORDED,
    check_followups,
)
from gpuaas.verify.invoices import (
    ALLOCATION_RELEASED,
    ALLOCATION_STARTED,
    BILLING_RUN_STARTED,
    INVOICE_FINALIZED,
    PRICE_AGREEMENT_ENDED,
    PRICE_AGREEMENT_MADE,
    PRICE_BOOK_PUBLISHED,
    USAGE_METERED,
    Account,
    check_content,
    check_lines,
    check_run,
    check_total,
    check_usage,
    plain,
)
from gpuaas.verify.leaves import Leaf, ProvedEvent, prove, read_event, read_leaf
from gpuaas.verify.policy import PLATFORM_TREE, Head, Policy, tenant_tree
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report
from gpuaas.verify.strict_json import parse_object

FORMAT: Final = "gpuaas-bundle/v1"
BUNDLE_BYTES_MAX: Final = 512 * 1024 * 1024
"""Largest bundle read, after decompression."""
_SECTIONS: Final = {
    "usages": {USAGE_METERED},
    "allocation_events": {ALLOCATION_STARTED, ALLOCATION_RELEASED},
    "price_books": {PRICE_BOOK_PUBLISHED},
    "earlier_invoices": {INVOICE_FINALIZED},
    "price_agreements": {PRICE_AGREEMENT_MADE},
    "price_agreement_ends": {PRICE_AGREEMENT_ENDED},
    "later_invoices": {INVOICE_FINALIZED},
    "followups": {CREDIT_NOTE_ISSUED, INVOICE_PAYMENT_RECORDED},
    "corrections": {CORRECTION_ISSUED},
}
_LATER_SECTIONS: Final = {
    *("price_agreements", "price_agreement_ends"),
    *("later_invoices", "followups", "corrections"),
}
"""Not in bundles of before there were agreements on prices, or before what followed was told."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A parsed bundle, nothing of it proved.

    Attributes:
        checkpoints: signed notes by tree name (`platform`, `tenants/<tenant>`).
        sections: leaves by section name.
        parts: usage ids by invoice line id.
    """

    tenant_id: str
    checkpoints: dict[str, str]
    invoice: Leaf
    run: Leaf
    sections: dict[str, list[Leaf]]
    parts: dict[str, list[str]]


def verify_bundle(path: str | Path, policy: Policy, tenant_id: str | None = None) -> Report:
    """Whether the invoice in the bundle at `path` follows from the trusted log.

    Args:
        tenant_id: refuse a bundle of any other tenant.

    Returns:
        A report; it never raises for anything the bundle contains.
    """
    report = Report(what=f"invoice bundle {Path(path).name}")
    with report.deciding():
        bundle = read_bundle(load(path))
        if tenant_id is not None and bundle.tenant_id != tenant_id:
            raise Refuted("foreign-tenant", f"the bundle is {bundle.tenant_id}'s, not {tenant_id}'s")
        _verify(bundle, policy, report)
    return report


def load(path: str | Path) -> bytes:
    """The bytes of a bundle file or folder, decompressed.

    Raises:
        Unusable: not there, too large, or broken compression.
    """
    file = _bundle_file(Path(path))
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content: bytes = stream.read(BUNDLE_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as broken:
        raise Unusable("unreadable", f"{file.name} cannot be read: {broken}") from broken
    if len(content) > BUNDLE_BYTES_MAX:
        raise Unusable("too-large", f"{file.name} holds more than {BUNDLE_BYTES_MAX:,} bytes")
    return content


def read_bundle(content: bytes) -> Bundle:
    """Parse a bundle.

    Raises:
        Unusable: malformed.
    """
    document = Fields(parse_object(content, "the bundle"), "the bundle")
    if document.text("format") != FORMAT:
        raise Unusable(
            "malformed", f"the bundle's format is {document.text('format')[:40]!r}; {FORMAT!r} is understood"
        )
    document.only("format", "tenant_id", "checkpoints", "invoice", "run", "lines", *_SECTIONS)
    notes = document.inner("checkpoints")
    parts = document.inner("lines")
    return Bundle(
        tenant_id=document.text("tenant_id"),
        checkpoints={tree: notes.text(tree) for tree in notes.raw},
        invoice=read_leaf(document.raw.get("invoice"), "the invoice"),
        run=read_leaf(document.raw.get("run"), "the billing run"),
        sections={name: _leaves(document, name) for name in _SECTIONS if _is_there(document, name)},
        parts={line_id: _usage_ids(parts, line_id) for line_id in parts.raw},
    )


def _verify(bundle: Bundle, policy: Policy, report: Report) -> None:
    heads = _heads(bundle, policy)
    for head in heads.values():
        report.held("checkpoint", f"{head.checkpoint.origin}, {head.checkpoint.size:,} leaves, signed")
    invoice = _proved(bundle.invoice, heads, {INVOICE_FINALIZED})
    run = _proved(bundle.run, heads, {BILLING_RUN_STARTED})
    events = {
        name: [_proved(leaf, heads, _SECTIONS[name]) for leaf in leaves] for name, leaves in bundle.sections.items()
    }
    leaves = [bundle.invoice, bundle.run, *(leaf for section in bundle.sections.values() for leaf in section)]
    _check_places(leaves)
    report.held("inclusion", f"{len(leaves):,} events are in the log, byte for byte")
    account = _account(bundle, invoice, run, events)
    _check_account(account, report)


def _heads(bundle: Bundle, policy: Policy) -> dict[str, Head]:
    """The accepted checkpoints by tree; of one log, and of no tree but this tenant's and the platform's."""
    allowed = {PLATFORM_TREE, tenant_tree(bundle.tenant_id)}
    heads: dict[str, Head] = {}
    for tree, note in bundle.checkpoints.items():
        head = policy.accept(note)
        if head.tree != tree or tree not in allowed:
            raise Refuted("wrong-tree", f"the checkpoint given for {tree[:80]!r} is of {head.checkpoint.origin}")
        heads[tree] = head
    if tenant_tree(bundle.tenant_id) not in heads:
        raise Unusable("malformed", f"the bundle has no checkpoint of {tenant_tree(bundle.tenant_id)}")
    if len({head.log.name for head in heads.values()}) > 1:
        raise Refuted("wrong-tree", "the checkpoints are of two different logs")
    return heads


def _proved(leaf: Leaf, heads: dict[str, Head], kinds: set[str]) -> ProvedEvent:
    head = heads.get(leaf.tree)
    if head is None:
        raise Refuted("wrong-tree", f"{leaf.entry.what}: {leaf.subject} is in a tree that the bundle may not rest on")
    prove(leaf, head)
    event = read_event(leaf)
    if event.type not in kinds:
        raise Refuted("other-event", f"{leaf.entry.what} is a {event.type}, which does not belong there")
    return event


def _check_places(leaves: Sequence[Leaf]) -> None:
    """One place, one event; and within a tree the order of leaves is the order of the log."""
    placed = sorted({(leaf.tree, leaf.index, leaf.position) for leaf in leaves})
    for before, after in pairwise(placed):
        if before[0] == after[0] and (before[1] == after[1] or before[2] >= after[2]):
            raise Refuted("wrong-order", f"leaf {after[1]} of {after[0]} is not in the order of the log")
    if len(placed) != len(leaves):
        raise Refuted("repeated", "an event stands in the bundle twice")


def _account(bundle: Bundle, invoice: ProvedEvent, run: ProvedEvent, events: dict[str, list[ProvedEvent]]) -> Account:
    usages = {usage.data.text("usage_id"): usage for usage in events["usages"]}
    books = {(book.data.text("price_book_id"), book.data.integer("version")): book for book in events["price_books"]}
    if len(usages) != len(events["usages"]) or len(books) != len(events["price_books"]):
        raise Refuted("repeated", "two events in the bundle have the same name")
    return Account(
        tenant_id=bundle.tenant_id,
        invoice=invoice,
        run=run,
        usages=usages,
        facts={fact.event_id: fact for fact in events["allocation_events"]},
        price_books=books,
        parts=bundle.parts,
        earlier=events["earlier_invoices"],
        agreements=events.get("price_agreements", []),
        agreement_ends=events.get("price_agreement_ends", []),
        later=events.get("later_invoices", []),
        followups=events.get("followups", []),
        corrections=events.get("corrections", []),
    )


def _check_account(account: Account, report: Report) -> None:
    data = account.invoice.data
    report.facts |= {
        "tenant": account.tenant_id,
        "invoice": f"{data.text('number')} ({data.text('invoice_id')})",
        "period": f"{data.text('period_start')} to {data.text('period_end')}",
    }
    report.held("content", f"content_sha256 {check_content(account)[:16]}… covers the invoice")
    report.held("run", f"billing run {data.text('run_id')} read the log up to position {check_run(account):,}")
    check_usage(account)
    report.held("usage", f"{len(account.usages):,} usages agree with the start and end of their allocations")
    report.held("lines", f"{check_lines(account):,} lines: usage set, quantity, published price and amount agree")
    check_total(account)
    report.held("total", f"the lines sum to {data.text('total')} {data.text('currency')}")
    _check_followups(account, report)
    billed = sum(Fields(line, "line").int64("gpu_ms") for line in data.items("lines"))
    report.facts |= {"gpu_ms": str(billed), "total": f"{data.text('total')} {data.text('currency')}"}


def _is_there(document: Fields, name: str) -> bool:
    return name in document.raw or name not in _LATER_SECTIONS


def _check_followups(account: Account, report: Report) -> None:
    stands = check_followups(account)
    if account.followups or account.corrections:
        counted = f"{stands.notes:,} credit notes, {stands.payments:,} payments, {stands.corrections:,} corrections"
        report.held("followups", f"{counted} of the period: lines, taxes, sums and prices agree")
    currency = account.invoice.data.text("currency")
    report.facts["owed"] = f"{plain(stands.owed)} {currency}"
    if stands.credited:
        report.facts["credited"] = f"{plain(stands.credited)} {currency}"


def _leaves(document: Fields, name: str) -> list[Leaf]:
    return [read_leaf(value, f"{name} {number}") for number, value in enumerate(document.items(name), 1)]


def _usage_ids(parts: Fields, line_id: str) -> list[str]:
    ids: list[Any] = parts.items(line_id)
    if not all(isinstance(usage_id, str) for usage_id in ids) or len(set(ids)) != len(ids):
        raise Unusable("malformed", f"the usages of line {line_id[:80]!r} are not a set of ids")
    return ids


def _bundle_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in ("bundle.json.gz", "bundle.json"):
        if (path / name).is_file():
            return path / name
    raise Unusable("unreadable", f"the folder {path.name} holds no bundle.json or bundle.json.gz")
