"""A decision taken home. One law: each record comes with its proof, and the tree with all of them.

Also what the gate took back since: a pass that no longer stands must not look like one on a laptop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.client import Refused, Suite
from gpuaas.cli.mirroring import mirror_tree
from gpuaas.common.errors import NotFound, Unavailable

DECIDED: Final = "gate-decided"
REVOKED: Final = "gate-revoked"
TYPES: Final = (
    "requirement-published",
    "release-registered",
    "claim-opened",
    "claim-abandoned",
    "claim-submitted",
    "claim-read-back",
    "waiver-requested",
    "waiver-approved",
    "waiver-withdrawn",
    "controls-run",
    DECIDED,
    REVOKED,
)
ATTEMPTS_MAX: Final = 40
PAUSE_S: Final = 0.5


async def export_decision(
    suite: Suite, subject: str, profile: str, gate: str, folder: Path, position: int | None = None
) -> dict[str, Any]:
    """Write `rows.json`, `tree/`, `artefacts/` and `inputs.json` of a decision of `gate` about `subject`.

    Args:
        position: where in the log the decision is; None: the newest one.

    Raises:
        NotFound: no such decision.
        Unavailable: the trail has not signed it yet.
    """
    decision = await _decision(suite, subject, profile, gate, position)
    inputs = await suite.get_bytes("evidence", f"/v1/artefacts/{decision['inputs_sha256']}")
    await _signed_rows(suite, json.loads(inputs), int(decision["position"]))
    # Tiles of another installation that lie there would be taken for this one's.
    shutil.rmtree(folder / "tree", ignore_errors=True)
    shutil.rmtree(folder / "artefacts", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inputs.json").write_bytes(inputs)
    leaves = await mirror_tree(suite, "/v1/platform", folder / "tree")
    # After the tree: whatever that lists is among them.
    rows = await _signed_rows(suite, json.loads(inputs), int(decision["position"]))
    files = await _artefacts(suite, rows, json.loads(inputs), folder / "artefacts")
    (folder / "rows.json").write_text(json.dumps({"items": rows}), "utf-8")
    return {
        "folder": str(folder),
        "rows": len(rows),
        "leaves": leaves,
        "artefacts": files,
        "inputs_bytes": len(inputs),
        "verdict": decision["verdict"],
    }


async def _decision(suite: Suite, subject: str, profile: str, gate: str, position: int | None) -> dict[str, Any]:
    async for row in suite.items("evidence", "/v1/gates", gate_id=gate):
        said: dict[str, Any] = {**row["said"], "position": row["position"]}
        about = (said["subject_sha256"], said["profile"])
        if about == (subject, profile) and position in (None, int(row["position"])):
            return said
    where = "" if position is None else f" at position {position}"
    raise NotFound(f"the gate {gate} has not decided about this release in {profile}{where}; ask it first")


async def _signed_rows(suite: Suite, inputs: dict[str, Any], decided: int) -> list[dict[str, Any]]:
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            await asyncio.sleep(PAUSE_S)
        if (rows := await _rows(suite, inputs, decided)) is not None:
            return rows
    raise Unavailable("the trail has not signed this decision yet; try again in a few seconds")


async def _rows(suite: Suite, inputs: dict[str, Any], decided: int) -> list[dict[str, Any]] | None:
    """The decision's row, then every evidence record up to it that can move a verdict, and every revocation.

    None while one of them is not in a signed tree yet.
    """
    found: dict[int, dict[str, Any]] = {}
    for name in TYPES:
        async for row in suite.items("audit", "/v1/trail", type=f"gpuaas.evidence.{name}.v1", proof=1):
            position = int(row["position"])
            before = name != DECIDED and position <= int(inputs["log_position"])
            if position != decided and not before and name != REVOKED:
                continue
            if not row.get("proof"):
                return None
            found[position] = row
    return [found.pop(decided), *(found[position] for position in sorted(found))] if decided in found else None


async def _artefacts(suite: Suite, rows: list[dict[str, Any]], inputs: dict[str, Any], folder: Path) -> int:
    """Fetch every record's signed statement and everything the judged claims rest on; how many files."""
    wanted = {one["sha256"] for claim in inputs["claims"] for one in claim["claim"]["artefacts"]}
    for row in rows:
        data = json.loads(base64.b64decode(row["payload"]))["data"]
        wanted |= {data["statement_sha256"]} if "statement_sha256" in data else set()
    folder.mkdir(parents=True, exist_ok=True)
    found = 0
    for digest in sorted(wanted):
        try:
            content = await suite.get_bytes("evidence", f"/v1/artefacts/{digest}")
        except Refused:
            # Lost or damaged there; the verifier will name it.
            continue
        (folder / digest).write_bytes(content)
        found += 1
    return found
