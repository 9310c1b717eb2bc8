"""The columns of a node's row about proofs. One law: they follow the decider's own fields, name by name.

A column that an event does not concern is not in the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gpuaas.common.envelope import Fact
from gpuaas.contracts.nodes import (
    NodeBecameAvailable,
    NodeBurnInStarted,
    NodeBurnInStepEnded,
    NodeHardwareObserved,
    NodeMaintenanceStarted,
    NodeRemedyEnded,
    NodeRemedyStarted,
    NodeSanitizingStarted,
    NodeValidationFailed,
)
from gpuaas.nodes.domain.burn_in import PASSED
from gpuaas.nodes.domain.proofs import Occasion, weightier


def proof_after(row: Mapping[str, Any], fact: Fact) -> dict[str, Any]:
    """What changes in a row by one more event."""
    match fact.event:
        case NodeValidationFailed():
            return {"remedy": {}, "burn_in": _failed(row), **_due(row, Occasion.REPAIRED)}
        case NodeRemedyStarted() as event:
            remedy = event.model_dump(mode="json", exclude={"node_id"}) | {"outcome": None}
            return {"remedy": remedy, "burn_in": {}, **_due(row, Occasion.REMEDIED)}
        case NodeRemedyEnded() as event:
            ended = row["remedy"] | event.model_dump(mode="json", include={"outcome", "detail", "ended_at"})
            return {"remedy": ended, "remedied": {**row["remedied"], event.component_id: ended}}
        case NodeMaintenanceStarted():
            return {"remedy": {}, "burn_in": {}, **_due(row, Occasion.SERVICED)}
        case NodeSanitizingStarted():
            return {"burn_in": {}, **_due(row, Occasion.RETURNED)}
        case NodeHardwareObserved():
            return {"remedy": {}, "burn_in": {}}
        case NodeBurnInStarted() as event:
            told = event.model_dump(mode="json", exclude={"node_id"})
            return {"burn_in": told | {"since": told["started_at"], "ended": []}}
        case NodeBurnInStepEnded() as event:
            told = event.model_dump(mode="json", exclude={"node_id", "expected_s"})
            burn_in = row["burn_in"]
            return {"burn_in": {**burn_in, "since": told["ended_at"], "ended": [*burn_in["ended"], told]}}
        case NodeBecameAvailable():
            began = row["burn_in"].get("started_at")
            proved = {"burned_in_at": datetime.fromisoformat(began)} if began else {}
            return {"burn_in": row["burn_in"], "proof_due": None, **proved}
        case _:
            return {}


def _due(row: Mapping[str, Any], occasion: Occasion) -> dict[str, str]:
    standing = Occasion(row["proof_due"]) if row["proof_due"] else None
    return {"proof_due": weightier(standing, occasion).value}


def _failed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A burn-in that failed is still shown; one that was cut short by something else is not."""
    ended = row["burn_in"].get("ended", [])
    shown: dict[str, Any] = row["burn_in"] if ended and ended[-1]["outcome"] != PASSED else {}
    return shown
