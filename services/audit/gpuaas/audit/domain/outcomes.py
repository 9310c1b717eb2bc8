"""How it ended, by an event's type. One law: read off the fact's last word, so that old events have one too."""

from __future__ import annotations

from typing import Final

OUTCOMES: Final = ("success", "failure", "unknown")
_FAILURES: Final = frozenset(
    {
        "contradicted",
        "denied",
        "expired",
        "failed",
        "found",
        "lost",
        "mismatched",
        "postponed",
        "refused",
        "rejected",
    }
)
"""Last words of facts that tell of something that did not work or was not allowed."""


def outcome_of(event_type: str | None) -> str:
    """`success`, `failure`, or `unknown` for bytes that are no readable event."""
    if event_type is None:
        return "unknown"
    fact = event_type.rpartition(".v")[0].rpartition(".")[2]
    return "failure" if fact.rpartition("-")[2] in _FAILURES else "success"
