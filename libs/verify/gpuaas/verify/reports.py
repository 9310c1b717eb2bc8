"""What a verification found. One law: the verdict is the first refusal; what held before it is still said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

from gpuaas.verify.refusals import Refused, Refuted

Verdict = Literal["verified", "refuted", "unusable"]
EXIT_CODES: Final[dict[Verdict, int]] = {"verified": 0, "refuted": 1, "unusable": 2}


@dataclass(frozen=True, slots=True)
class Check:
    """One step that held."""

    name: str
    detail: str


@dataclass(slots=True)
class Report:
    """The answer to one question, such as "does this invoice follow from the log?".

    Attributes:
        checks: steps that held, in order.
        facts: what the reader wants to know, as text: tenant, total, sizes.
        reason, detail: the refusal; empty when verified.
    """

    what: str
    verdict: Verdict = "verified"
    checks: list[Check] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def held(self, name: str, detail: str) -> None:
        self.checks.append(Check(name, detail))

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Run a verification; a refusal inside becomes the verdict."""
        try:
            yield
        except Refused as refusal:
            self.verdict = "refuted" if isinstance(refusal, Refuted) else "unusable"
            self.reason, self.detail = refusal.reason, refusal.detail

    def as_json(self) -> str:
        document: dict[str, object] = {
            "what": self.what,
            "verdict": self.verdict,
            "checks": [{"name": check.name, "detail": check.detail} for check in self.checks],
            "facts": self.facts,
        }
        if self.reason:
            document |= {"reason": self.reason, "detail": self.detail}
        return json.dumps(document, indent=2, ensure_ascii=False)

    def as_text(self) -> str:
        lines = [f"  ok  {check.name}: {check.detail}" for check in self.checks]
        if self.reason:
            lines.append(f"  NO  {self.reason}: {self.detail}")
        lines += [f"      {name}: {value}" for name, value in self.facts.items()]
        return "\n".join([f"{self.what}: {self.verdict.upper()}", *lines])
