"""The poisoned packages that every gate must be seen to refuse. One law: a run that leaves one out shows nothing.

Names as in `controls`, and the one word for which each has to be refused. The offline verifier has this list too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DEMANDED: Final[Mapping[str, str]] = {
    "flipped byte in the statement": "statement-altered",
    "claim about another subject": "wrong-subject",
    "expired at this very instant": "expired",
    "claim of another profile": "wrong-profile",
    "unsigned statement": "unsigned",
    "statement of the wrong signer": "wrong-signer",
    "missing artefact": "missing-artefact",
    "skipped tests counted as passed": "contradicted",
    "nothing is required": "no-requirement",
    "9 of 10 covered": "not-covered",
    "claim older than the requirement": "older-requirement",
    "replayed decision": "replayed",
    "truncated log": "truncated-log",
    "duplicate key in the statement": "duplicate-key",
    "waiver of one person": "waiver-one-person",
}
