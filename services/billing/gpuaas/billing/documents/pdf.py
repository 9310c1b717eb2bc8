"""An invoice or credit note as PDF. One law: the same paper is the same file, byte for byte; no amount is computed."""

from __future__ import annotations

import unicodedata
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import FontFace
from fpdf.table import Table
from gpuaas.billing.documents.facts import InvoiceFacts, LineFacts, NoteFacts, PaperFacts
from gpuaas.billing.domain.invoice_party import Party
from gpuaas.billing.domain.metering import MS_PER_HOUR
from gpuaas.billing.domain.rating import US_PER_MS
from gpuaas.common.errors import Rejected
from gpuaas.common.money import plain

MEDIA_TYPE: Final = "application/pdf"
_FONT: Final = "Helvetica"
_ENCODING: Final = "cp1252"
_SMALL, _NORMAL, _LARGE = 8, 10, 18
_LINE_MM: Final = 5
_HOURS_STEP: Final = Decimal("0.001")
_WIDTHS: Final = (38, 62, 30, 28, 32)
_NOTE_WIDTHS: Final = (18, 42, 62, 34, 34)


class _Paper(FPDF):
    """A4 with the invoice's number and the page on the foot of each page."""

    def __init__(self, foot: str) -> None:
        super().__init__(format="A4")
        self._foot = foot
        self.set_margins(10, 12, 10)
        self.set_auto_page_break(True, margin=18)

    def footer(self) -> None:
        """Called by the library at the end of each page."""
        self.set_y(-13)
        self.set_font(_FONT, size=_SMALL)
        self.cell(0, _LINE_MM, f"{self._foot} - page {self.page_no()} of {{nb}}", align="C")


def as_pdf(invoice: InvoiceFacts) -> bytes:
    """The file.

    Raises:
        Rejected: a name has letters that the file's font has not, and no plain form of them.
    """
    paper = _begun(invoice, f"Invoice {invoice.number}", _due(invoice))
    _table(paper, invoice)
    _totals(paper, invoice, "To pay")
    _notes(paper, invoice)
    return bytes(paper.output())


def as_pdf_note(note: NoteFacts) -> bytes:
    """A credit note's file.

    Raises:
        Rejected: as for an invoice.
    """
    about = f"for invoice {note.invoice.number} of {_day(note.invoice.issued_at)}"
    paper = _begun(note, f"Credit note {note.number}", about)
    _say(paper, f"Why ({note.reason}): {note.detail}")
    paper.ln(2)
    _table_given_back(paper, note)
    _totals(paper, note, "Given back")
    if not note.tax:
        _say(paper, note.untaxed_reason)
    _say(paper, f"The invoice was written by billing run {note.run_id}; its id is {note.invoice_id}.", _SMALL)
    _say(paper, f"SHA-256 of the credit note's content: {note.content_sha256}", _SMALL)
    return bytes(paper.output())


def _begun(facts: PaperFacts, title: str, about: str) -> FPDF:
    paper = _Paper(facts.number)
    paper.set_creation_date(facts.issued_at)
    paper.set_title(title)
    paper.set_lang("en")
    paper.add_page()
    _head(paper, facts, title, about)
    return paper


def printable(text: str) -> str:
    """`text` in the letters of the font: one that is not among them stands without its accents.

    Raises:
        Rejected: a letter has no such form.
    """
    found = []
    for letter in unicodedata.normalize("NFC", text):
        plainer = letter
        if not _has(letter):
            plainer = "".join(part for part in unicodedata.normalize("NFKD", letter) if _has(part))
        if not plainer:
            raise Rejected(f"the PDF's font has no {letter!r} of {text[:60]!r}; take the UBL document instead")
        found.append(plainer)
    return "".join(found)


def _has(letter: str) -> bool:
    return letter.encode(_ENCODING, "ignore") != b""


def _head(paper: FPDF, invoice: PaperFacts, title: str, about: str) -> None:
    _say(paper, title, _LARGE, "B")
    paper.ln(2)
    top = paper.get_y()
    _address(paper, "From", invoice.seller, 10)
    left = paper.get_y()
    paper.set_y(top)
    _address(paper, "To", invoice.buyer, 110)
    paper.set_y(max(left, paper.get_y()) + 3)
    _say(paper, f"Issued {_day(invoice.issued_at)}; {about}")
    last = invoice.period_end - timedelta(microseconds=1)
    _say(paper, f"For {_day(invoice.period_start)} to {_day(last)} (UTC), account {invoice.tenant_id}")
    if invoice.buyer.buyer_reference:
        _say(paper, f"Your reference: {invoice.buyer.buyer_reference}")
    paper.ln(3)


def _address(paper: FPDF, title: str, party: Party, x: int) -> None:
    numbers = [party.vat_id and f"VAT {party.vat_id}", party.registration_id and f"Reg. {party.registration_id}"]
    place = f"{party.country}-{party.postal_code} {party.city}"
    for text, style in (
        (title, "B"),
        (party.legal_name, ""),
        (party.street, ""),
        (place, ""),
        *((n, "") for n in numbers),
    ):
        if text:
            paper.set_x(x)
            paper.set_font(_FONT, style, _NORMAL)
            paper.multi_cell(90, _LINE_MM, printable(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")


def _table(paper: FPDF, invoice: InvoiceFacts) -> None:
    with _ruled(paper, _WIDTHS, ("LEFT", "LEFT", "RIGHT", "RIGHT", "RIGHT")) as rows:
        rows.row(["Project", "GPU model", "GPU-hours", "per GPU-hour", f"Amount {invoice.currency}"])
        for line in invoice.lines:
            hours = (Decimal(line.gpu_us) / (MS_PER_HOUR * US_PER_MS)).quantize(_HOURS_STEP, ROUND_HALF_UP)
            shown = "correction" if line.is_correction else f"{hours:,f}"
            price, amount = plain(line.unit_price), f"{line.amount:,f}"
            rows.row([line.project_id, printable(_model(line)), shown, price, amount])
    paper.ln(2)


def _model(line: LineFacts) -> str:
    """The model, and below it how its price came about where it is not the published one."""
    if not line.steps:
        return line.gpu_model
    published = "" if line.published is None else f"published: {plain(line.published)}"
    return "\n".join(filter(None, [line.gpu_model, published, *(step.told for step in line.steps)]))


def _table_given_back(paper: FPDF, note: NoteFacts) -> None:
    with _ruled(paper, _NOTE_WIDTHS, ("LEFT", "LEFT", "LEFT", "RIGHT", "RIGHT")) as rows:
        rows.row(["Line", "Project", "GPU model", "was billed", f"given back {note.currency}"])
        for given in note.lines:
            line = given.line
            rows.row([line.line_id, line.project_id, line.gpu_model, f"{line.amount:,f}", f"{given.amount:,f}"])
    paper.ln(2)


def _ruled(paper: FPDF, widths: tuple[int, ...], sides: tuple[str, ...]) -> AbstractContextManager[Table]:
    paper.set_font(_FONT, size=_SMALL)
    heading = FontFace(emphasis="BOLD", fill_color=(235, 235, 235))
    return paper.table(col_widths=widths, text_align=sides, headings_style=heading, borders_layout="HORIZONTAL_LINES")


def _totals(paper: FPDF, invoice: PaperFacts, title: str) -> None:
    rows = [("Net", invoice.total)]
    rows += [(f"VAT {plain(each.percent)} % ({each.category}) on {each.net:,f}", each.tax) for each in invoice.taxes]
    for what, amount in rows:
        _sum(paper, what, amount, invoice.currency)
    _sum(paper, title, invoice.gross, invoice.currency, "B")
    paper.ln(3)


def _sum(paper: FPDF, title: str, amount: Decimal, currency: str, style: str = "") -> None:
    paper.set_font(_FONT, style, _NORMAL)
    paper.cell(140, _LINE_MM + 1, title, align="R")
    paper.cell(50, _LINE_MM + 1, f"{amount:,f} {currency}", align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _notes(paper: FPDF, invoice: InvoiceFacts) -> None:
    if not invoice.tax:
        _say(paper, invoice.untaxed_reason)
    if invoice.seller.iban:
        _say(paper, f"Pay to IBAN {invoice.seller.iban}, reference {invoice.number}")
    _say(paper, "GPU-hours are shown to a thousandth; amounts are computed from whole GPU-microseconds.", _SMALL)
    _say(paper, f"SHA-256 of the invoice's content: {invoice.content_sha256}", _SMALL)


def _say(paper: FPDF, text: str, size: int = _NORMAL, style: str = "") -> None:
    paper.set_font(_FONT, style, size)
    paper.multi_cell(0, size / 2, printable(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")


def _due(invoice: InvoiceFacts) -> str:
    return "payable on receipt" if invoice.due_at is None else f"due {_day(invoice.due_at)}"


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
