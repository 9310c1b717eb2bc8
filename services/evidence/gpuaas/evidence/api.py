"""The door of evidence. One law: what is asked for is recorded, what is answered was looked up, nothing is believed.

Digests are SHA-256 in lower-case hex. Times are UTC. Each thing has its routes in a file below `routes`.
"""

from __future__ import annotations

from fastapi import APIRouter
from gpuaas.evidence.routes.artefacts import ARTEFACTS_PATH, open_artefacts
from gpuaas.evidence.routes.claims import open_claims
from gpuaas.evidence.routes.desk import Desk
from gpuaas.evidence.routes.gates import open_gates
from gpuaas.evidence.routes.releases import open_releases
from gpuaas.evidence.routes.requirements import open_requirements
from gpuaas.evidence.routes.waivers import open_waivers

__all__ = ["ARTEFACTS_PATH", "Desk", "router"]


def router(desk: Desk) -> APIRouter:
    """Every route of this service."""
    routes = APIRouter(prefix="/v1")
    for open_some in (open_artefacts, open_requirements, open_claims, open_waivers, open_gates, open_releases):
        open_some(routes, desk)
    return routes
