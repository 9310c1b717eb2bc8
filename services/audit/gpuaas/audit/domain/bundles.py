"""Evidence as documents: leaves, trail rows with proofs, invoice bundles. One law: bytes go out as they were stored.

Formats: `gpuaas-bundle/v1` and the trail row, both judged by `gpuaas-verify`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.audit.domain.checkpoints import proof_file
from gpuaas.audit.domain.entries import PLATFORM_TREE, Entry

FORMAT: Final = "gpuaas-bundle/v1"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One event with its place in its tree; `path` is the inclusion proof in the tree's newest checkpoint."""

    tree: str
    index: int
    entry: Entry
    payload: bytes
    path: Sequence[bytes] = ()

    def leaf(self) -> dict[str, Any]:
        """As a leaf of a bundle."""
        return {
            "index": str(self.index),
            "entry": self.entry.members(),
            "payload": base64.b64encode(self.payload).decode(),
            "proof": [base64.b64encode(step).decode() for step in self.path],
        }

    def row(self, checkpoint: str) -> dict[str, Any]:
        """As the provable part of a trail row, with a proof file of its own."""
        return {
            "entry": self.entry.members(),
            "payload": base64.b64encode(self.payload).decode(),
            "proof": proof_file(self.index, self.path, checkpoint),
        }


@dataclass(frozen=True, slots=True)
class InvoiceEvidence:
    """Everything one invoice rests on.

    Attributes:
        run: the start of the billing run that wrote it.
        parts: usage ids by line id.
        earlier_invoices: of the same tenant and period, which this one continues.
        price_agreements: contracts and campaigns that the run knew; `price_agreement_ends`: where they were ended.
        later_invoices: of the same, which came after.
        followups: credit notes and payments of all these invoices.
        corrections: of their period.
    """

    tenant_id: str
    invoice: Evidence
    run: Evidence
    parts: Mapping[str, Sequence[str]]
    usages: Sequence[Evidence]
    allocation_events: Sequence[Evidence]
    price_books: Sequence[Evidence]
    earlier_invoices: Sequence[Evidence]
    price_agreements: Sequence[Evidence] = ()
    price_agreement_ends: Sequence[Evidence] = ()
    later_invoices: Sequence[Evidence] = ()
    followups: Sequence[Evidence] = ()
    corrections: Sequence[Evidence] = ()

    def all(self) -> list[Evidence]:
        """Every event, each once."""
        return [
            self.invoice,
            self.run,
            *self.usages,
            *self.allocation_events,
            *self.price_books,
            *self.earlier_invoices,
            *self.price_agreements,
            *self.price_agreement_ends,
            *self.later_invoices,
            *self.followups,
            *self.corrections,
        ]

    def proved_by(self, evidence: Sequence[Evidence]) -> InvoiceEvidence:
        """The same with `evidence` (all of it, in the order of `all()`) in place of what is here."""
        left = iter(evidence)
        return InvoiceEvidence(
            tenant_id=self.tenant_id,
            invoice=next(left),
            run=next(left),
            parts=self.parts,
            usages=[next(left) for _ in self.usages],
            allocation_events=[next(left) for _ in self.allocation_events],
            price_books=[next(left) for _ in self.price_books],
            earlier_invoices=[next(left) for _ in self.earlier_invoices],
            price_agreements=[next(left) for _ in self.price_agreements],
            price_agreement_ends=[next(left) for _ in self.price_agreement_ends],
            later_invoices=[next(left) for _ in self.later_invoices],
            followups=[next(left) for _ in self.followups],
            corrections=[next(left) for _ in self.corrections],
        )

    def document(self, checkpoints: Mapping[str, str]) -> dict[str, Any]:
        """The bundle; `checkpoints` are signed notes by tree."""
        return {
            "format": FORMAT,
            "tenant_id": self.tenant_id,
            "checkpoints": {tree_name(tree): note for tree, note in checkpoints.items()},
            "invoice": self.invoice.leaf(),
            "run": self.run.leaf(),
            "lines": {line_id: list(usage_ids) for line_id, usage_ids in self.parts.items()},
            "usages": [each.leaf() for each in self.usages],
            "allocation_events": [each.leaf() for each in self.allocation_events],
            "price_books": [each.leaf() for each in self.price_books],
            "earlier_invoices": [each.leaf() for each in self.earlier_invoices],
            "price_agreements": [each.leaf() for each in self.price_agreements],
            "price_agreement_ends": [each.leaf() for each in self.price_agreement_ends],
            "later_invoices": [each.leaf() for each in self.later_invoices],
            "followups": [each.leaf() for each in self.followups],
            "corrections": [each.leaf() for each in self.corrections],
        }


def tree_name(tree: str) -> str:
    """The tree's name below its log."""
    return tree if tree == PLATFORM_TREE else f"tenants/{tree}"
