"""How far a release's evidence is. One law: written after each step, so that a run that broke off goes on there.

A claim that was opened and not submitted is still open in the installation's log; its run may begin again under it. A
journal of another release or profile is begun anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

State = Literal["opened", "passed", "failed", "gave-nothing"]


@dataclass(slots=True)
class Entry:
    """One requirement's claim: how far it is, how long its run took (seconds), and why it gave nothing."""

    claim_id: str
    state: State = "opened"
    took_s: float = 0.0
    why: str = ""


@dataclass(slots=True)
class Journal:
    """The newest claim of each requirement for one release in one profile."""

    path: Path
    subject_sha256: str
    profile: str
    entries: dict[str, Entry] = field(default_factory=dict)

    def write(self, name: str, entry: Entry) -> None:
        """Remember how far `name` is; whole or not at all."""
        self.entries[name] = entry
        said = {"subject_sha256": self.subject_sha256, "profile": self.profile}
        whole = {**said, "entries": {name: asdict(entry) for name, entry in self.entries.items()}}
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(whole, indent=1), "utf-8")
        os.replace(unfinished, self.path)

    def done(self, name: str) -> bool:
        """Whether a claim that passed was submitted for it."""
        return name in self.entries and self.entries[name].state == "passed"


def read_journal(path: Path, subject_sha256: str, profile: str) -> Journal:
    """What is written there about this release in this profile; nothing if it is about another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(path, subject_sha256, profile)
    try:
        found = json.loads(path.read_bytes())
        entries = {name: Entry(**entry) for name, entry in found["entries"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return journal
    if (found.get("subject_sha256"), found.get("profile")) == (subject_sha256, profile):
        journal.entries = entries
    return journal
