"""What somebody may see, as SQL. One law: the condition is exactly where `check` would allow it, so pages are full.

A list asks for `scopes_where(reach, …)` and pages over what is left: nothing is fetched that is then left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpuaas.common.decisions import Reach
from sqlalchemy import ARRAY, ColumnElement, Text, any_, false, func, literal, or_, select, true, tuple_


def scopes_where(
    reach: Reach, tenant_id: ColumnElement[str], project_id: ColumnElement[str] | None = None
) -> ColumnElement[bool]:
    """The condition that a row of that tenant and project is within `reach`.

    Args:
        project_id: None: the rows are of tenants as a whole; who reaches single projects sees none of them.
    """
    if reach.everywhere:
        return true()
    parts: list[ColumnElement[bool]] = []
    if reach.tenants:
        parts.append(tenant_id == any_(_array(sorted(reach.tenants))))
    if reach.projects and project_id is not None:
        tenants, projects = zip(*sorted(reach.projects), strict=True)
        # Two arrays of any length, not two parameters a project: a statement takes 32,767 of them.
        pairs = select(func.unnest(_array(tenants)), func.unnest(_array(projects)))
        parts.append(tuple_(tenant_id, project_id).in_(pairs))
    return or_(*parts) if parts else false()


def _array(values: Iterable[str]) -> ColumnElement[list[str]]:
    return literal(list(values), ARRAY(Text))
