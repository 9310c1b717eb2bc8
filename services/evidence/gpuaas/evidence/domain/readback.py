"""Reading a claim's facts back. One law: the bytes decide; what cannot be read is neither a yes nor a no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpuaas.contracts.evidence import Artefact, ClaimedFact, ReadbackLevel, ReadbackOutcome
from gpuaas.evidence.domain.rederivation import DERIVABLE_BYTES_MAX, Underivable, document_in, fact_at, same_fact

SHOWN_CHARS_MAX = 200
"""Of a value, in a sentence."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading back at `level` gave."""

    level: ReadbackLevel
    outcome: ReadbackOutcome
    detail: str


def reread(artefact: Artefact, data: bytes, facts: Sequence[ClaimedFact]) -> Reading:
    """What `data`, the artefact's bytes, says about the facts that point into it, at R2.

    Bytes that cannot be read as their media type are unreadable; a document that says something else than the claim,
    or nothing at all at a pointer, contradicts it.
    """
    if artefact.size_bytes > DERIVABLE_BYTES_MAX:
        return Reading("R2", "unreadable", f"{artefact.name} is too large to derive facts from")
    try:
        document = document_in(artefact.media_type, data)
    except Underivable as refused:
        return Reading("R2", "unreadable", f"{artefact.name}: {refused.detail}")
    for fact in facts:
        try:
            derived = fact_at(document, fact.pointer)
        except Underivable as refused:
            return Reading("R2", "contradicted", f"{fact.name}: {artefact.name}: {refused.detail}")
        if not same_fact(fact.value, derived):
            found, said = derived[:SHOWN_CHARS_MAX], fact.value[:SHOWN_CHARS_MAX]
            return Reading(
                "R2", "contradicted", f"{fact.name} is {found!r} in {artefact.name}, not {said!r} as claimed"
            )
    return Reading("R2", "confirmed", f"{len(facts)} facts of {artefact.name} derived again")
