"""Every record as a signed statement. One law: the statement says what the event says, in one spelling, and nothing
more.

The in-toto predicate type names the event's schema; the predicate is the event's data without `statement_sha256`, so
that anybody who has the event can build the statement again and compare it byte for byte. Claims have a shape of
their own (`attestation`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gpuaas.common.events import Event
from gpuaas.evidence.domain import dsse, statement
from gpuaas.evidence.domain.strict_json import write_json

UNSIGNED: Final = "0" * 64
"""Stands for the statement's digest in an event that is only drafted."""


def said_by(event: Event) -> dict[str, Any]:
    """The event's data as JSON values, without the digest of its statement and without what is absent."""
    return event.model_dump(mode="json", exclude={"statement_sha256"}, exclude_none=True)


def predicate_type(event: Event) -> str:
    """Such as `gpuaas:evidence/waiver-approved.v1`."""
    return f"gpuaas:{event.SCHEMA.removesuffix('.json')}"


def statement_of(event: Event, subjects: Sequence[str] = ()) -> bytes:
    """The in-toto statement that says what `event` says.

    Args:
        subjects: digests that it is about; without any it is about its own data.
    """
    said = said_by(event)
    about = subjects or [hashlib.sha256(write_json(said)).hexdigest()]
    return statement.encode(
        statement.Statement(
            subjects=tuple(statement.Subject(sha256=digest) for digest in about),
            predicate_type=predicate_type(event),
            predicate=said,
        )
    )


def signed(event: Event, subjects: Sequence[str], signers: Mapping[str, dsse.Sign]) -> bytes:
    """The DSSE envelope around the event's statement: what is stored by digest."""
    return dsse.encode(dsse.sign(statement.PAYLOAD_TYPE, statement_of(event, subjects), signers))
