"""In-toto statements. One law: a statement without a subject digest is about nothing and is refused.

in-toto attestation framework, Statement v1 (https://in-toto.io/Statement/v1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpuaas.evidence.domain.dsse import Refused
from gpuaas.evidence.domain.strict_json import Ambiguous, read_json, write_json

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""The DSSE payload type of a statement."""
SUBJECTS_MAX: Final = 1_000
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a statement is about: a digest, and a name that only people read."""

    sha256: str
    name: str = "_"


@dataclass(frozen=True, slots=True)
class Statement:
    """`predicate` holds only objects, arrays, text, integers, booleans and null."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]


def encode(statement: Statement) -> bytes:
    """The statement in one spelling: equal statements give equal bytes."""
    return write_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": one.name, "digest": {"sha256": one.sha256}} for one in statement.subjects],
            "predicateType": statement.predicate_type,
            "predicate": statement.predicate,
        }
    )


def decode(payload: bytes) -> Statement:
    """The statement in `payload`; unknown members are ignored, as in-toto asks.

    Raises:
        Refused: malformed or duplicate-key.
    """
    try:
        document = read_json(payload)
    except Ambiguous as refused:
        raise Refused(refused.why, f"the statement is unreadable: {refused.detail}") from refused
    match document:
        case {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [_, *_] as subjects,
            "predicateType": str(predicate_type),
            "predicate": dict(predicate),
        } if len(subjects) <= SUBJECTS_MAX:
            return Statement(
                subjects=tuple(_subject(one) for one in subjects),
                predicate_type=predicate_type,
                predicate=predicate,
            )
        case _:
            raise Refused("malformed", f"not an in-toto statement ({STATEMENT_TYPE}) with subject and predicate")


def _subject(entry: Any) -> Subject:
    match entry:
        case {"digest": {"sha256": str(sha256)}} if _SHA256.fullmatch(sha256):
            name = entry.get("name", "_")
            if isinstance(name, str):
                return Subject(sha256=sha256, name=name)
    raise Refused("malformed", "every subject of a statement needs a SHA-256 digest in lower-case hex")
