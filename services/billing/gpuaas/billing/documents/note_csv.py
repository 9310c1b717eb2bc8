"""A credit note as plain CSV. One law: one row for each line it lessens, with the pointers of the note repeated."""

from __future__ import annotations

import csv
import io
from typing import Final

from gpuaas.billing.documents.facts import NoteFacts
from gpuaas.common.money import plain

MEDIA_TYPE: Final = "text/csv; charset=utf-8; header=present"
COLUMNS: Final = (
    *("number", "credit_note_id", "issued_at", "tenant_id", "currency", "reason", "detail", "invoice_number"),
    *("invoice_id", "run_id", "line_id", "project_id", "gpu_model", "billed", "amount", "net", "tax", "gross"),
    "content_sha256",
)


def as_csv_note(note: NoteFacts) -> str:
    """RFC 4180; `amount` is what is given back of the line, `billed` what it came to."""
    same = {
        **{name: getattr(note, name) for name in ("number", "credit_note_id", "tenant_id", "currency", "reason")},
        **{name: getattr(note, name) for name in ("detail", "invoice_id", "run_id", "content_sha256")},
        "issued_at": note.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "invoice_number": note.invoice.number,
        "net": plain(note.total),
        "tax": plain(note.tax),
        "gross": plain(note.gross),
    }
    written = io.StringIO()
    rows = csv.DictWriter(written, COLUMNS)
    rows.writeheader()
    for given in note.lines:
        own = {name: getattr(given.line, name) for name in ("line_id", "project_id", "gpu_model")}
        rows.writerow(same | own | {"billed": plain(given.line.amount), "amount": plain(given.amount)})
    return written.getvalue()
