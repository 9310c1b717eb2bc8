"""What a claim says, as a signed statement. One law: the statement and the event say the same, or neither counts.

The statement is built from the claim alone and in one spelling, so anybody who has the event can build it again and
compare it byte for byte with what was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from gpuaas.common.events import Part
from gpuaas.common.wire import Moment
from gpuaas.contracts.evidence import Artefact, ClaimedFact, ClaimResult, ClaimSubmitted, Label, Profile, Sha256
from gpuaas.evidence.domain import dsse, statement
from pydantic import Field

PREDICATE_TYPE: Final = "gpuaas:evidence/claim.v1"
"""The in-toto predicate type of a claim's statement."""


class Assertion(Part):
    """Everything a claim says; the fields are those of the event `claim-submitted`, without the statement's digest."""

    claim_id: Label
    requirement_id: Label
    subject_sha256: Sha256
    profile: Profile
    result: ClaimResult
    procedure: Annotated[str, Field(min_length=1, max_length=1000)]
    scope: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=256)]
    artefacts: Annotated[tuple[Artefact, ...], Field(max_length=64)]
    facts: Annotated[tuple[ClaimedFact, ...], Field(max_length=256)]
    procedure_id: Label | None = None
    expires_at: Moment


class Fault(Part):
    """Why a claim's statement proves nothing: a closed word, and a sentence."""

    why: str
    detail: str


def assertion_of(claim: ClaimSubmitted) -> Assertion:
    """What the event says, without the digest of its statement."""
    return Assertion.model_validate(claim.model_dump(exclude={"statement_sha256"}))


def statement_of(assertion: Assertion) -> bytes:
    """The in-toto statement that says the same, in its one spelling."""
    said: dict[str, Any] = assertion.model_dump(mode="json", exclude={"subject_sha256"}, exclude_none=True)
    return statement.encode(
        statement.Statement(
            subjects=(statement.Subject(sha256=assertion.subject_sha256),),
            predicate_type=PREDICATE_TYPE,
            predicate=said,
        )
    )


def signed(assertion: Assertion, signers: Mapping[str, dsse.Sign]) -> bytes:
    """The DSSE envelope that carries the assertion: what is stored by digest."""
    return dsse.encode(dsse.sign(statement.PAYLOAD_TYPE, statement_of(assertion), signers))


def inspect(claim: ClaimSubmitted, envelope: bytes | None, trusted: Mapping[str, dsse.Check]) -> Fault | None:
    """What is wrong with the stored statement of `claim`; None when it is whole, ours and says what the event says.

    Args:
        envelope: the bytes stored under the claim's `statement_sha256`, or None if there are none.
        trusted: key id → check of every key whose signature counts.
    """
    if envelope is None:
        return Fault(why="statement-missing", detail="its signed statement is not in the store")
    if hashlib.sha256(envelope).hexdigest() != claim.statement_sha256:
        return Fault(why="statement-altered", detail="its signed statement no longer has the recorded digest")
    try:
        verified = dsse.verify(envelope, trusted, statement.PAYLOAD_TYPE)
        said = statement.decode(verified.payload)
    except dsse.Refused as refused:
        return Fault(why=refused.why, detail=refused.detail)
    if claim.subject_sha256 not in {subject.sha256 for subject in said.subjects}:
        return Fault(why="statement-wrong-subject", detail="its signed statement is about another subject")
    if verified.payload != statement_of(assertion_of(claim)):
        return Fault(why="statement-differs", detail="its signed statement says something else than the claim")
    return None


def lasts(assertion: Assertion, now: datetime) -> bool:
    """Whether the claim still counts at `now`: its expiry is the first instant at which it does not."""
    return now < assertion.expires_at
