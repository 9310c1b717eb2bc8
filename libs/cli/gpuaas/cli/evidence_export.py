"""A decision taken home. One law: the trail proves each record; what a bundle leaves out it cannot prove."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, Final

from gpuaas.cli.client import Suite
from gpuaas.common.errors import NotFound, Unavailable

TYPES: Final = (
    "requirement-published",
    "release-registered",
    "claim-opened",
    "claim-submitted",
    "claim-read-back",
    "waiver-requested",
    "waiver-approved",
    "controls-run",
    "gate-decided",
)
ATTEMPTS_MAX: Final = 40
PAUSE_S: Final = 0.5


async def export_decision(suite: Suite, subject: str, profile: str, gate: str, folder: Path) -> dict[str, Any]:
    """Write `rows.json` and `inputs.json` of the newest decision of `gate` about `subject`.

    Raises:
        NotFound: no such decision.
        Unavailable: the trail has not signed it yet.
    """
    told = await suite.get("evidence", f"/v1/releases/{subject}/status", profile=profile)
    decision = next((one for one in told["decisions"] if one["gate_id"] == gate), None)
    if decision is None:
        raise NotFound(f"the gate {gate} has not decided about this release in {profile}; ask it first")
    inputs = await suite.get_bytes("evidence", f"/v1/artefacts/{decision['inputs_sha256']}")
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            await asyncio.sleep(PAUSE_S)
        rows = await _rows(suite, subject, json.loads(inputs), int(decision["position"]))
        if rows and int(rows[0]["entry"]["position"]) == int(decision["position"]):
            break
    else:
        raise Unavailable("the trail has not signed this decision yet; try again in a few seconds")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inputs.json").write_bytes(inputs)
    (folder / "rows.json").write_text(json.dumps({"items": rows}), "utf-8")
    return {"folder": str(folder), "rows": len(rows), "inputs_bytes": len(inputs), "verdict": decision["verdict"]}


async def _rows(suite: Suite, subject: str, inputs: dict[str, Any], decided: int) -> list[dict[str, Any]]:
    """The decision's row, then those of everything quoted in its inputs and of every claim about the release."""
    quoted = {int(one["position"]) for name in ("requirements", "claims", "readbacks") for one in inputs[name]}
    quoted |= {int(one["opened_position"]) for one in inputs["claims"]}
    quoted |= {int(one["position"]) for one in (inputs.get("release"), inputs.get("controls")) if one}
    waivers = {one["requested"]["waiver_id"] for one in inputs["waivers"]}
    found: list[dict[str, Any]] = []
    for name in TYPES:
        async for row in suite.items("audit", "/v1/trail", type=f"gpuaas.evidence.{name}.v1", proof=1):
            position = int(row["entry"]["position"])
            data = json.loads(base64.b64decode(row["payload"]))["data"]
            mine = name == "claim-submitted" and data["subject_sha256"] == subject
            if position in quoted or position == decided or mine or data.get("waiver_id") in waivers:
                found.append(row)
    return sorted(found, key=lambda row: (int(row["entry"]["position"]) != decided, int(row["entry"]["position"])))
