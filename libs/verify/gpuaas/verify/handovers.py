"""A log's new key, named by the one before. One law: who trusts no earlier key learns nothing here.

A handover is a signed note: `gpuaas-log-key/v1`, the log's name, the new verifier key; signed by the key before and by
the new one, both under the log's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gpuaas.verify.keys import read_verifier_key
from gpuaas.verify.notes import NOTE_BYTES_MAX, read_note
from gpuaas.verify.policy import Policy
from gpuaas.verify.refusals import Refuted, Unusable
from gpuaas.verify.reports import Report

HEADER: Final = "gpuaas-log-key/v1"


def verify_handover(path: str | Path, policy: Policy) -> Report:
    """Whether a key that the policy trusts names a new key for the same log."""
    report = Report(what=f"handover {Path(path).name}")
    with report.deciding():
        try:
            with Path(path).open("rb") as stream:
                note = read_note(stream.read(NOTE_BYTES_MAX + 1))
        except OSError as broken:
            raise Unusable("unreadable", f"{Path(path).name} cannot be read: {broken.strerror}") from broken
        match note.text.split("\n"):
            case [header, log, vkey, ""] if header == HEADER:
                new = read_verifier_key(vkey)
            case _:
                raise Unusable("malformed", f"a handover is {HEADER!r}, the log's name and its new key")
        before = [key for key in policy.logs if key.name == log]
        if not before:
            raise Refuted("unknown-origin", f"no key of {log[:120]!r} is trusted")
        if new.name != log or not note.signers([new]):
            raise Refuted("unsigned", "the new key has not signed that it takes over")
        if not note.signers([key for key in before if key != new]):
            raise Refuted("unsigned", f"no trusted key of {log} has signed the handover")
        report.held("handover", f"{log} is signed with a new key from here on")
        report.facts["verifier_key"] = vkey
    return report
