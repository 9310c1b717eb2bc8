"""The door of the audit service. One law: a tenant's trail is shown to it alone; `routes` has a file a use."""

from __future__ import annotations

from fastapi import APIRouter
from gpuaas.audit.desk import Desk
from gpuaas.audit.routes.data_subjects import data_subject_routes
from gpuaas.audit.routes.evidence import bundle_routes, examination_routes
from gpuaas.audit.routes.exports import export_routes
from gpuaas.audit.routes.search import search_routes
from gpuaas.audit.routes.trees import epoch_routes, tree_routes


def router(desk: Desk) -> APIRouter:
    """All routes."""
    routes = APIRouter()
    for add in (
        search_routes,
        export_routes,
        examination_routes,
        tree_routes,
        bundle_routes,
        epoch_routes,
        data_subject_routes,
    ):
        add(routes, desk)
    return routes
