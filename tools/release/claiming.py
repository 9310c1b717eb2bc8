"""Evidence as claims, the same in every profile. One law: opened before the run, submitted or given up after it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

from gpuaas.cli.client import Refused, Suite
from gpuaas.common.clock import rfc3339
from gpuaas.evidence.domain.claim import REASON_CHARS_MAX
from gpuaas.evidence.domain.rederivation import LIVE_STATE

from tools.release.collecting import COLLECTORS, Collected, Collector, collected
from tools.release.journal import Entry, Journal
from tools.release.programs import GaveNothing, Tell

VALID: Final = timedelta(days=7)
LIVE: Final = "live-state"
OBSERVING: Final = "observe every service, its interface, its source, its readers and the rights in force"
TOTALS: Final = ("services", "reachable", "ready", "readers", "readers_behind", "readers_stopped")
PINNED: Final = ("profile", "openapi_sha256", "permissions_sha256", "source_sha256")
WHAT: Final = (*COLLECTORS, LIVE)
"""Every requirement that something can be collected for, in the order in which that is done."""
PLAYED: Final = "main-job-end-to-end"
"""Shown by a play on an installation of its own, which says nothing about one that serves tenants."""
SERVING: Final = frozenset({"staging", "production"})
CAUGHT_UP_S: Final = 30.0
"""Longest wait for every service to be ready and caught up before it is observed."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is claimed about, where, and the folder for what is made."""

    subject_sha256: str
    profile: str
    out: Path


class Claimer:
    """Collects evidence and claims it at a running suite, as one principal."""

    def __init__(self, suite: Suite, release: Release, journal: Journal, tell: Callable[[str], None]) -> None:
        self._suite = suite
        self._release = release
        self._journal = journal
        self._tell = tell

    async def claim(self, required: Mapping[str, Any]) -> Entry:
        """Open a claim (or go on with the one that is open), run, submit or give up, and read back."""
        name = required["requirement_id"]
        told: Tell = lambda line: self._tell(f"{name}: {line}")  # noqa: E731 - one word for many lines
        collector = self._collector(name)
        said = self._said(required, collector)
        entry = self._journal.entries.get(name)
        if entry is None or entry.state != "opened" or not await self._still_open(entry.claim_id, said):
            entry = await self._opened(name, said)
        told(collector.procedure)
        began = monotonic()
        try:
            found = await collector.run(self._release.out, told)
        except GaveNothing as nothing:
            entry.state, entry.why = "gave-nothing", str(nothing)[:REASON_CHARS_MAX]
            await self._suite.post(
                "evidence", f"/v1/claims/{entry.claim_id}/abandonment", {"reason": entry.why or "no reason was given"}
            )
        else:
            entry.why = await self._submit(entry.claim_id, said, found)
            entry.state = "passed" if found.passed and not entry.why else "failed"
        entry.took_s = round(monotonic() - began, 1)
        self._journal.write(name, entry)
        told(f"{entry.state} after {entry.took_s:,} s{': ' if entry.why else ''}{entry.why}")
        return entry

    async def _still_open(self, claim_id: str, said: Mapping[str, Any]) -> bool:
        """Whether the run that broke off can begin again under its claim: nothing was said under it, or otherwise."""
        async for one in self._suite.items("evidence", "/v1/openings"):
            if one["claim_id"] == claim_id:
                return bool(one["procedure"] == said["procedure"] and one["scope"] == said["scope"])
        return False

    def _said(self, required: Mapping[str, Any], collector: Collector) -> dict[str, Any]:
        return {
            "requirement_id": required["requirement_id"],
            "subject_sha256": self._release.subject_sha256,
            "profile": self._release.profile,
            "procedure": collector.procedure,
            "scope": list(collector.covers) or [required["requirement_id"]],
        }

    async def _opened(self, name: str, said: Mapping[str, Any]) -> Entry:
        now = datetime.now(UTC)
        entry = Entry(f"{name}-{now:%Y%m%d%H%M%S}")
        closes = {"closes_at": rfc3339(now + VALID)}
        await self._suite.post("evidence", f"/v1/claims/{entry.claim_id}/opening", {**said, **closes})
        self._journal.write(name, entry)
        return entry

    async def _submit(self, claim_id: str, said: Mapping[str, Any], found: Collected) -> str:
        """Submit and read back; what the reading found to be wrong, or nothing."""
        digest = hashlib.sha256(found.content).hexdigest()
        await self._suite.put_bytes("evidence", f"/v1/artefacts/{digest}", found.content, found.media_type)
        named = {"name": "report", "sha256": digest, "size_bytes": len(found.content), "media_type": found.media_type}
        facts = [
            {"name": name, "value": value, "artefact": "report", "pointer": pointer}
            for name, (value, pointer) in found.facts.items()
        ]
        claim = {
            **said,
            "claim_id": claim_id,
            "result": "passed" if found.passed else "failed",
            "artefacts": [named],
            "facts": facts,
            "expires_at": rfc3339(datetime.now(UTC) + VALID),
        }
        await self._suite.post("evidence", "/v1/claims", claim)
        level = "R4" if found.media_type == LIVE_STATE else "R2"
        try:
            told = await self._suite.post("evidence", f"/v1/claims/{claim_id}/readbacks", {"level": level})
        except Refused as contradicted:
            # The service has read it back by itself already, and has found otherwise.
            return str(contradicted)[:REASON_CHARS_MAX]
        wrong = [one["detail"] for one in told["readbacks"] if one["outcome"] == "contradicted"]
        return str(wrong[0])[:REASON_CHARS_MAX] if wrong else ""

    def _collector(self, name: str) -> Collector:
        if name == LIVE:
            return self._observer()
        if name == PLAYED and self._release.profile in SERVING:
            return Collector("run the main job on the installation itself", _not_played)
        return COLLECTORS[name]

    def _observer(self) -> Collector:
        """What runs now, each service with its interface and its source; R4 will look again and compare."""

        async def observed(_: Path, tell: Tell) -> Collected:
            content = await self._calm(tell)
            pointers = {name: f"/totals/{name}" for name in TOTALS}
            for service, seen in sorted(json.loads(content)["services"].items()):
                pointers |= {f"{service}_{name}": f"/services/{service}/{name}" for name in PINNED if name in seen}
            return collected(content, LIVE_STATE, pointers, passed=True)

        return Collector(OBSERVING, observed)

    async def _calm(self, tell: Tell) -> bytes:
        """The live state once nobody is behind, or as it is when that takes too long."""
        began = monotonic()
        while True:
            content = await self._suite.get_bytes("evidence", "/v1/live-state")
            totals = json.loads(content)["totals"]
            if totals["ready"] == totals["services"] or monotonic() - began > CAUGHT_UP_S:
                return content
            tell(f"{totals['ready']} of {totals['services']} services are ready")
            await asyncio.sleep(1)


async def _not_played(_: Path, tell: Tell) -> Collected:
    tell("what the demo plays elsewhere says nothing about this installation")
    raise GaveNothing("it has to be run on this installation and claimed by hand: gpuaas evidence open and submit")
