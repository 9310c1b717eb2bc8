"""What an export says that it was asked for. One law: decided by leaves alone, so that what was left out shows.

A leaf holds the event's type, id, time, subject and position; who did it and in which project stands in the event's
bytes only, so an export by those can be proved true row by row, and never complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpuaas.verify.fields import Fields
from gpuaas.verify.refusals import Unusable

SUBJECTS_MAX: Final = 64
_MEMBERS: Final = ("type", "subjects", "event", "since", "until", "after_position")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to the trail; None does not restrict.

    Attributes:
        type, event: the event's type and id, whole.
        subjects: one of these.
        since_ns, until_ns: [since, until) by the event's own time, in nanoseconds since 1970.
        after_position: behind it in the log.
        words: the same as it is shown to people.
    """

    type: str | None
    subjects: frozenset[str] | None
    event: str | None
    since_ns: int | None
    until_ns: int | None
    after_position: int | None
    words: str

    def wants(self, entry: Fields) -> bool:
        """Whether the answer has to hold the leaf with this entry."""
        return (
            self.type in (None, entry.raw.get("type"))
            and self.event in (None, entry.raw.get("id"))
            and (self.subjects is None or entry.text("subject") in self.subjects)
            and (self.after_position is None or entry.int64("position") > self.after_position)
            and self._in_time(entry)
        )

    def _in_time(self, entry: Fields) -> bool:
        if self.since_ns is None and self.until_ns is None:
            return True
        try:
            at_ns = entry.instant_ns("time")
        except Unusable:  # what is no event, or says no time, is in no span of time
            return False
        return (self.since_ns is None or at_ns >= self.since_ns) and (self.until_ns is None or at_ns < self.until_ns)


def read_asked(document: Fields) -> Asked:
    """The question in an export's `asked.json`.

    Raises:
        Unusable: malformed, or restricted by what no leaf holds.
    """
    document.only(*_MEMBERS)
    subjects = document.items("subjects") if document.raw.get("subjects") is not None else None
    if subjects is not None and (len(subjects) > SUBJECTS_MAX or not all(isinstance(each, str) for each in subjects)):
        raise Unusable("malformed", f"{document.what}.subjects is not a list of at most {SUBJECTS_MAX} texts")
    given = [
        f"{name}={' or '.join(value) if isinstance(value, list) else value}"
        for name, value in sorted(document.raw.items())
        if value is not None
    ]
    return Asked(
        type=document.optional_text("type"),
        subjects=None if subjects is None else frozenset(subjects),
        event=document.optional_text("event"),
        since_ns=document.instant_ns("since") if document.optional_text("since") else None,
        until_ns=document.instant_ns("until") if document.optional_text("until") else None,
        after_position=document.int64("after_position") if document.optional_text("after_position") else None,
        words=", ".join(given) or "everything",
    )
