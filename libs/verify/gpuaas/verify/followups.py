"""What followed an invoice: credit notes, voids, payments, corrections. One law: each cent of them is computed again.

Pure, over events that are proved to be in the log. An invoice's own history says in which order: its events are
numbered there, so a note that is left out between two others is missed. Tax is a difference of rounded sums: all notes
of an invoice together are taxed as one would be.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from gpuaas.verify.fields import Fields
from gpuaas.verify.invoices import MINOR_DIGITS, Account, plain, quantity_us, rounded, unit_us
from gpuaas.verify.leaves import ProvedEvent
from gpuaas.verify.refusals import Refuted
from gpuaas.verify.strict_json import canonical
from gpuaas.verify.tariffs import key_of

CREDIT_NOTE_ISSUED: Final = "gpuaas.billing.credit-note-issued.v1"
INVOICE_PAYMENT_RECORDED: Final = "gpuaas.billing.invoice-payment-recorded.v1"
CORRECTION_ISSUED: Final = "gpuaas.billing.correction-issued.v1"
GOODWILL: Final = "goodwill"
VOID: Final = "void"
Kind = tuple[str, str, str, int, str]
"""project, GPU model, price book, its version, what made the price: lines of one kind are rated together."""


@dataclass(slots=True)
class Standing:
    """An invoice and what is left of it while its history is read.

    Attributes:
        given: by line id, what notes gave back; `gifts`: the goodwill in it.
        net, tax: of the notes together.
        paid: what payments settled.
        notes: by id, what each gave back by line id.
    """

    event: ProvedEvent
    given: defaultdict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    gifts: defaultdict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    net: Fraction = Fraction(0)
    tax: Fraction = Fraction(0)
    paid: Fraction = Fraction(0)
    notes: dict[str, Mapping[str, Fraction]] = field(default_factory=dict)

    @property
    def data(self) -> Fields:
        return self.event.data

    @property
    def lines(self) -> dict[str, Fields]:
        """By line id."""
        what = self.data.what
        return {each.text("line_id"): each for each in (Fields(v, f"{what}, a line") for v in self.data.items("lines"))}

    @property
    def gross(self) -> Fraction:
        """What it asked for."""
        return self.data.decimal("gross" if "gross" in self.data.raw else "total")

    @property
    def owed(self) -> Fraction:
        """What is left to be paid, before prepaid credit."""
        return self.gross - self.net - self.tax - self.paid

    def left(self, line_id: str) -> Fraction:
        """What a line has that can still be given back."""
        return self.lines[line_id].decimal("amount") - self.given[line_id]


@dataclass(frozen=True, slots=True)
class Followed:
    """How an invoice stands after everything that followed it."""

    notes: int
    payments: int
    corrections: int
    credited: Fraction
    paid: Fraction
    owed: Fraction


def check_followups(account: Account) -> Followed:
    """Every note, payment and correction of the invoice's period, in the order of the log.

    Raises:
        Refuted: one of them does not follow, or one is missing.
    """
    invoices = [account.invoice, *account.earlier, *account.later]
    standing: dict[str, Standing] = {}
    events = sorted([*invoices, *account.followups, *account.corrections], key=lambda event: event.position)
    _check_complete([*invoices, *account.followups])
    corrections: list[tuple[ProvedEvent, dict[Kind, Fields]]] = []
    due: dict[str, dict[Kind, Fraction]] = {}
    for event in events:
        if event.type == CORRECTION_ISSUED:
            due[event.data.text("correction_id")] = _check_correction(account, event, standing)
            corrections.append((event, _changes(event)))
        elif event.type in (CREDIT_NOTE_ISSUED, INVOICE_PAYMENT_RECORDED):
            invoice = _invoice_of(event, standing)
            (_note if event.type == CREDIT_NOTE_ISSUED else _pay)(account, event, invoice)
        else:
            standing[event.data.text("invoice_id")] = Standing(event)
    for correction, changes in corrections:
        _check_documents(correction, changes, due[correction.data.text("correction_id")], standing)
    _check_causes(standing, {event.data.text("correction_id"): event for event, _ in corrections}, account)
    own = standing[account.invoice.data.text("invoice_id")]
    payments = sum(
        event.type == INVOICE_PAYMENT_RECORDED and _is_of(event, own.data.text("invoice_id"))
        for event in account.followups
    )
    return Followed(len(own.notes), payments, len(corrections), own.net + own.tax, own.paid, own.owed)


def _is_of(event: ProvedEvent, invoice_id: str) -> bool:
    return event.data.text("invoice_id") == invoice_id


def _check_complete(events: Iterable[ProvedEvent]) -> None:
    """The events of each invoice are numbered from 1 without a gap."""
    found: dict[str, list[int]] = {}
    for event in events:
        if event.sequence:
            found.setdefault(event.entity_id, []).append(event.sequence)
    for invoice_id, numbers in found.items():
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            raise Refuted(
                "incomplete", f"the history of invoice {invoice_id} is here with the numbers {sorted(numbers)}"
            )


def _invoice_of(event: ProvedEvent, standing: Mapping[str, Standing]) -> Standing:
    invoice = standing.get(event.data.text("invoice_id"))
    if invoice is None or event.entity_id != event.data.text("invoice_id"):
        raise Refuted("missing-event", f"{event.data.what} is of an invoice that is not here, or came before it")
    return invoice


def _note(account: Account, event: ProvedEvent, invoice: Standing) -> None:
    note = event.data
    for member, theirs in (("tenant_id", "tenant_id"), ("currency", "currency"), ("run_id", "run_id")):
        if note.text(member) != invoice.data.text(theirs):
            raise Refuted("wrong-invoice", f"{note.what}: its {member} is not that of its invoice")
    if note.text("invoice_number") != invoice.data.text("number"):
        raise Refuted("wrong-invoice", f"{note.what}: its invoice is printed {invoice.data.text('number')}")
    content = {name: value for name, value in note.raw.items() if name != "content_sha256"}
    if hashlib.sha256(canonical(content)).hexdigest() != note.text("content_sha256"):
        raise Refuted("content-differs", f"{note.what}: content_sha256 is not the digest of its content")
    if note.text("credit_note_id") in invoice.notes:
        raise Refuted("repeated", f"{note.what}: the credit note stands there twice")
    _check_void(note, invoice)
    given = _given(note, invoice)
    _check_sums(note, invoice, sum(given.values(), Fraction(0)))
    invoice.notes[note.text("credit_note_id")] = given
    for line_id, amount in given.items():
        invoice.given[line_id] += amount
        if note.text("reason") == GOODWILL:
            invoice.gifts[line_id] += amount


def _given(note: Fields, invoice: Standing) -> dict[str, Fraction]:
    """What the note gives back by line, each no more than the line has left."""
    step = Fraction(1, 10 ** MINOR_DIGITS.get(note.text("currency"), 0))
    lines = invoice.lines
    given: dict[str, Fraction] = {}
    for number, value in enumerate(note.items("lines"), 1):
        line = Fields(value, f"{note.what}, line {number}")
        line_id, amount = line.text("line_id"), line.decimal("amount")
        if line_id not in lines or line_id in given:
            raise Refuted("wrong-line", f"{line.what} names {line_id}, which its invoice has not, or twice")
        if amount <= 0 or amount % step:
            raise Refuted("wrong-amount", f"{line.what} gives {line.text('amount')} back")
        if amount > invoice.left(line_id):
            told = f"{line.what} gives {line.text('amount')} back; {line_id} has {plain(invoice.left(line_id))} left"
            raise Refuted("over-credited", told)
        given[line_id] = amount
    return given


def _check_void(note: Fields, invoice: Standing) -> None:
    """A void gives back all that is left of an invoice that nobody paid."""
    if note.text("reason") != VOID:
        return
    named = {
        Fields(each, note.what).text("line_id"): Fields(each, note.what).decimal("amount")
        for each in note.items("lines")
    }
    left = {line_id: invoice.left(line_id) for line_id in invoice.lines if invoice.left(line_id) > 0}
    if named != left or invoice.paid:
        raise Refuted("wrong-void", f"{note.what} makes an invoice void that was paid, or leaves something of it")


def _check_sums(note: Fields, invoice: Standing, net: Fraction) -> None:
    """Net, tax by the invoice's own rate on all notes so far less what they took, and gross."""
    rates = {(each.text("category"), each.decimal("percent")) for each in _groups(invoice.data)}
    groups = _groups(note)
    if {(each.text("category"), each.decimal("percent")) for each in groups} != rates:
        raise Refuted("wrong-tax", f"{note.what} is taxed otherwise than its invoice")
    percent = next((rate for _, rate in rates), Fraction(0))
    tax = rounded((invoice.net + net) * percent / 100, note.text("currency")) - invoice.tax
    if any(each.decimal("net") != net or each.decimal("tax") != tax for each in groups):
        raise Refuted("wrong-tax", f"{note.what}: the tax on {plain(net)} comes to {plain(tax)}")
    if note.decimal("net") != net or note.decimal("gross") != net + tax:
        raise Refuted("wrong-total", f"{note.what}: its lines are {plain(net)}, with tax {plain(net + tax)}")
    invoice.net += net
    invoice.tax += tax


def _groups(paper: Fields) -> list[Fields]:
    found = paper.items("taxes") if paper.raw.get("taxes") is not None else []
    return [Fields(each, f"{paper.what}, a tax") for each in found]


def _pay(account: Account, event: ProvedEvent, invoice: Standing) -> None:
    paid = event.data
    if paid.text("tenant_id") != account.tenant_id or paid.text("currency") != invoice.data.text("currency"):
        raise Refuted("wrong-invoice", f"{paid.what} is of another tenant or currency than its invoice")
    amount = rounded(paid.decimal("paid_amount") * paid.decimal("rate"), paid.text("currency"))
    if amount != paid.decimal("amount"):
        raise Refuted("wrong-amount", f"{paid.what} settles {paid.text('amount')}; it comes to {plain(amount)}")
    if not 0 < amount <= invoice.owed:
        raise Refuted("over-paid", f"{paid.what} settles {plain(amount)} of {plain(invoice.owed)}")
    invoice.paid += amount


def _changes(event: ProvedEvent) -> dict[Kind, Fields]:
    found = [Fields(each, f"{event.data.what}, a change") for each in event.data.items("changes")]
    changes = {key_of(each): each for each in found}
    if len(changes) != len(found):
        raise Refuted("repeated", f"{event.data.what} changes the same lines twice")
    return changes


def _check_correction(account: Account, event: ProvedEvent, standing: Mapping[str, Standing]) -> dict[Kind, Fraction]:
    """A correction's figures against what stood then; what its notes then give back, by kind."""
    correction = event.data
    for member in ("tenant_id", "currency", "period_start", "period_end"):
        if correction.text(member) != account.invoice.data.text(member):
            raise Refuted("wrong-period", f"{correction.what} is of another {member}")
    difference = Fraction(0)
    back: dict[Kind, Fraction] = {}
    for kind, change in _changes(event).items():
        stood = [
            (invoice, line) for invoice in standing.values() for line in invoice.lines.values() if key_of(line) == kind
        ]
        if quantity_us(change) != sum(quantity_us(line) for _, line in stood):
            raise Refuted("wrong-quantity", f"{change.what}: the lines that stood have another quantity")
        before = sum((line.decimal("amount") - _credited(invoice, line) for invoice, line in stood), Fraction(0))
        if before != change.decimal("before"):
            raise Refuted("wrong-before", f"{change.what} says {change.text('before')} stood; it was {plain(before)}")
        after = rounded(
            change.decimal("unit_price") * quantity_us(change) / unit_us("gpu-hour"), correction.text("currency")
        )
        if after != change.decimal("after"):
            raise Refuted("wrong-amount", f"{change.what} says {change.text('after')}; it comes to {plain(after)}")
        difference += after - before
        left = sum((invoice.left(line.text("line_id")) for invoice, line in stood), Fraction(0))
        back[kind] = min(max(before - after, Fraction(0)), left)
    if difference != correction.decimal("difference"):
        raise Refuted("wrong-total", f"{correction.what}: its changes come to {plain(difference)}")
    return back


def _credited(invoice: Standing, line: Fields) -> Fraction:
    """What notes took from a line, gifts apart."""
    line_id = line.text("line_id")
    return invoice.given[line_id] - invoice.gifts[line_id]


def _check_documents(
    event: ProvedEvent, changes: Mapping[Kind, Fields], back: Mapping[Kind, Fraction], standing: Mapping[str, Standing]
) -> None:
    """The notes and the invoice that a correction names tell exactly its changes, at its prices."""
    correction = event.data
    named = [str(each) for each in correction.items("credit_note_ids")]
    given: defaultdict[Kind, Fraction] = defaultdict(Fraction)
    for note_id in named:
        holder = next((each for each in standing.values() if note_id in each.notes), None)
        if holder is None:
            raise Refuted("missing-event", f"{correction.what} names the credit note {note_id}, which is not here")
        for line_id, amount in holder.notes[note_id].items():
            given[key_of(holder.lines[line_id])] += amount
    if {kind: amount for kind, amount in given.items() if amount} != {
        kind: part for kind, part in back.items() if part
    }:
        raise Refuted("wrong-correction", f"{correction.what}: its credit notes give back other than its changes say")
    missing = {kind: change for kind, change in changes.items() if change.decimal("after") > change.decimal("before")}
    _check_extra(correction, missing, standing)


def _check_extra(correction: Fields, missing: Mapping[Kind, Fields], standing: Mapping[str, Standing]) -> None:
    invoice_id = correction.optional_text("invoice_id")
    if invoice_id is None:
        if missing:
            raise Refuted("wrong-correction", f"{correction.what}: something is missing and on no invoice")
        return
    extra = standing.get(invoice_id)
    if extra is None:
        raise Refuted("missing-event", f"{correction.what} names the invoice {invoice_id}, which is not here")
    lines = {key_of(line): line for line in extra.lines.values()}
    if lines.keys() != missing.keys() or len(lines) != len(extra.lines):
        raise Refuted("wrong-correction", f"{correction.what}: its invoice has other lines than its changes")
    for kind, change in missing.items():
        if lines[kind].decimal("unit_price") != change.decimal("unit_price"):
            raise Refuted("wrong-price", f"{lines[kind].what} is not at the price of its correction")
        if lines[kind].decimal("amount") != change.decimal("after") - change.decimal("before"):
            raise Refuted("wrong-correction", f"{lines[kind].what} is not what {change.what} says is missing")


def _check_causes(standing: Mapping[str, Standing], corrections: Mapping[str, ProvedEvent], account: Account) -> None:
    """What says that a correction caused it is named by that correction."""
    for event in account.followups:
        cause = event.data.optional_text("cause") if event.type == CREDIT_NOTE_ISSUED else None
        if cause is not None:
            named = corrections[cause].data.items("credit_note_ids") if cause in corrections else []
            if event.data.text("credit_note_id") not in named:
                raise Refuted(
                    "missing-event", f"{event.data.what} is of the correction {cause}, which does not name it"
                )
    ordered = {event.data.optional_text("invoice_id") for event in corrections.values()}
    for invoice_id, each in standing.items():
        if any(line.raw.get("corrects") is not None for line in each.lines.values()) and invoice_id not in ordered:
            raise Refuted(
                "missing-event", f"{each.data.what} corrects lines, and the correction that says so is not here"
            )
