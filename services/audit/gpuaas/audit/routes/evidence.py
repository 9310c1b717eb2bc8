"""Whether the trail is whole, and what an invoice rests on. One law: both versions are shown, none is preferred."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from gpuaas.audit.desk import Desk
from gpuaas.audit.projections.invoice_evidence import invoice_evidence
from gpuaas.audit.projections.trail_examination import examined
from gpuaas.common.errors import Unavailable
from gpuaas.common.http import Caller, fresh, permit

BundleReader = Annotated[Caller, Depends(permit("audit.bundle.read", told=True))]


def examination_routes(routes: APIRouter, desk: Desk) -> None:
    @routes.get(
        "/v1/examination",
        summary="Is the trail whole: epochs' balances, gaps, divergences with both versions, witnesses.",
        dependencies=[Depends(permit("audit.trail.read"))],
    )
    async def examination() -> dict[str, Any]:
        told = await examined(desk.database, desk.watching.standing)
        for each in told["divergences"]:
            now = await desk.log.at(int(each["position"]))
            each["log_holds"] = None if now is None else base64.b64encode(now.payload).decode()
        told["compared"] = await desk.watching.told()
        return told | {"witnesses": desk.witnesses.told(), "quorum": desk.witnesses.quorum}


def bundle_routes(routes: APIRouter, desk: Desk) -> None:
    seen = Depends(fresh(desk.trail))

    @routes.get(
        "/v1/tenants/{tenant_id}/bundles/invoices/{invoice_id}",
        summary="Everything an invoice rests on, to be verified offline with gpuaas-verify.",
        dependencies=[seen],
        response_class=Response,
        responses={200: {"content": {"application/json": {}}}},
    )
    async def invoice_bundle(tenant_id: str, invoice_id: str, caller: BundleReader) -> Response:
        await desk.looked(tenant_id, caller)
        found = await invoice_evidence(desk.database, tenant_id, invoice_id)
        events, heads = await desk.proved(found.all())
        if len(events) < len(found.all()):
            raise Unavailable("the newest of the invoice's events are not sealed yet; ask again", retry_after_s=3)
        document = found.proved_by(events).document({tree: head.cosigned for tree, head in heads.items()})
        content = await asyncio.to_thread(lambda: json.dumps(document, ensure_ascii=False).encode())
        name = f'attachment; filename="{invoice_id}.bundle.json"'
        return Response(content, media_type="application/json", headers={"Content-Disposition": name})
