"""Reading a claim's facts back. One law: the bytes decide; what cannot be read is neither a yes nor a no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpuaas.common.errors import Invalid
from gpuaas.contracts.evidence import Artefact, ClaimedFact, ClaimSubmitted, ReadbackLevel, ReadbackOutcome
from gpuaas.evidence.domain.predicate import NotEvaluable, as_number, read_predicate
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


def compare_with_fresh(
    level: ReadbackLevel, claim: ClaimSubmitted, made: Mapping[str, bytes], predicate: str
) -> Reading:
    """What artefacts made just now say about `claim`.

    Words (digests, versions, names) must be the same; numbers may have moved as long as `predicate` still holds.

    Args:
        made: bytes of fresh artefacts by name; only facts that point into these are compared.
    """
    facts = {fact.name: fact.value for fact in claim.facts}
    media_types = {artefact.name: artefact.media_type for artefact in claim.artefacts}
    pointed = [fact for fact in claim.facts if fact.artefact in made]
    if not pointed:
        return Reading(level, "unreadable", "no fact of the claim points into what was made anew")
    for fact in pointed:
        try:
            found = fact_at(document_in(media_types[fact.artefact], made[fact.artefact]), fact.pointer)
        except Underivable as refused:
            return Reading(level, "contradicted", f"{fact.name} is not there any more: {refused.detail}")
        if as_number(found) is None and not same_fact(fact.value, found):
            now, then = found[:SHOWN_CHARS_MAX], fact.value[:SHOWN_CHARS_MAX]
            return Reading(level, "contradicted", f"{fact.name} is {now!r} now, not {then!r} as claimed")
        facts[fact.name] = found
    try:
        held = read_predicate(predicate).holds(facts)
    except (NotEvaluable, Invalid):
        held = False
    if not held:
        shown = read_predicate(predicate).shown(facts)
        return Reading(level, "contradicted", f"now {shown}; {predicate} is demanded")
    return Reading(level, "confirmed", f"{len(pointed)} facts found again in what was made anew; {predicate} holds")
