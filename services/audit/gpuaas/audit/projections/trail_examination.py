"""Is the trail whole? One law: what it finds is computed from the stored events, never remembered.

A divergence is shown with the bytes that the trail holds; what the log holds now is the door's to add.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from gpuaas.audit.domain.divergences import DIVERGENCES, ReportDivergence
from gpuaas.audit.projections.audit_trail import GAPS, PAYLOADS, TRAIL
from gpuaas.audit.projections.trail_search import payloads_at
from gpuaas.common.envelope import decode
from gpuaas.common.tables import Database
from gpuaas.contracts.audit import DivergenceFound, EpochSealed
from sqlalchemy import select

EPOCHS_MAX: Final = 1_000
FOUND_MAX: Final = 50
"""Newest of each that are looked at."""


async def examined(db: Database, standing: Sequence[ReportDivergence] = ()) -> dict[str, Any]:
    """The newest epochs' balances, the log's gaps, and every divergence with the trail's version.

    Args:
        standing: what is found now, whether or not the log could be told of it.
    """
    epochs = [EpochSealed.model_validate_json(data) for data in await _said(db, EpochSealed.TYPE, EPOCHS_MAX)][::-1]
    wrong = [
        epoch.epoch
        for epoch in epochs
        if epoch.leaf_count + epoch.gap_count != epoch.last_position - epoch.first_position + 1
    ]
    holes = [
        after.epoch
        for before, after in pairwise(epochs)
        if (after.epoch, after.first_position) != (before.epoch + 1, before.last_position + 1)
    ]
    gaps = await db.fetch(select(GAPS).order_by(GAPS.c.first_position.desc()).limit(FOUND_MAX))
    return {
        "epochs_examined": len(epochs),
        "last_position": str(epochs[-1].last_position) if epochs else None,
        "leaves": sum(epoch.leaf_count for epoch in epochs),
        "gaps": [dict(gap) for gap in gaps],
        "unbalanced_epochs": wrong,
        "epochs_that_do_not_join": holes,
        "divergences": await _divergences(db, standing),
    }


async def _divergences(db: Database, standing: Sequence[ReportDivergence]) -> list[dict[str, Any]]:
    found = [DivergenceFound.model_validate_json(data) for data in await _said(db, DivergenceFound.TYPE, FOUND_MAX)]
    known = {(each.kind, each.position) for each in found}
    for finding in standing:
        if (finding.kind, finding.position) not in known:
            [told] = DIVERGENCES.decide(finding, DIVERGENCES.initial)
            assert isinstance(told, DivergenceFound)
            found.append(told)
    kept = await payloads_at(db, [each.position for each in found])
    return [
        each.model_dump(mode="json")
        | {"trail_holds": base64.b64encode(kept[each.position]).decode() if each.position in kept else None}
        for each in found
    ]


async def _said(db: Database, kind: str, limit: int) -> list[bytes]:
    """The data of the newest events of one type, newest first."""
    query = select(PAYLOADS.c.payload).join(TRAIL, TRAIL.c.position == PAYLOADS.c.position)
    rows = await db.fetch(query.where(TRAIL.c.type == kind).order_by(TRAIL.c.position.desc()).limit(limit))
    return [bytes(decode(row["payload"]).data) for row in rows]
