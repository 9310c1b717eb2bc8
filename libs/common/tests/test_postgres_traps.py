"""Traps of PostgreSQL that isolation has fallen into elsewhere. One law: none of our isolation rests on any of them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Final

import pytest
from gpuaas.common.projections import Database, Projection

ROOT: Final = Path(__file__).parents[3]
SERVICES: Final = ("iam", "nodes", "inventory", "allocations", "billing", "audit", "evidence")
NAMED_BY_TENANTS: Final = {"projects_v1", "groups_v1", "budgets_v1"}
"""Tables whose ids a tenant chooses freely: taken in one tenant must mean nothing in another."""
FORBIDDEN: Final = re.compile(
    r"\b(ROW LEVEL SECURITY|CREATE (?:OR REPLACE )?(?:VIEW|MATERIALIZED VIEW|FUNCTION|TRIGGER)|SECURITY DEFINER"
    r"|current_setting|set_config)\b",
    re.IGNORECASE,
)


async def test_a_session_setting_does_not_leak_through_the_pool(database_dsn: str) -> None:
    database = Database(database_dsn, pool_max=2)
    await database.open()
    try:
        held = [await database.pool.acquire() for _ in range(2)]
        for connection in held:
            await connection.execute("SET application_name TO 'acme'; SET search_path TO nowhere")
            await connection.execute("SET SESSION statement_timeout TO 12345")
        for connection in held:
            await database.pool.release(connection)
        for _ in range(4):
            async with database.reading() as rows:
                assert await rows.fetchval("SHOW application_name") != "acme"
                assert await rows.fetchval("SHOW search_path") == "live"
                assert await rows.fetchval("SHOW statement_timeout") != "12345ms"
    finally:
        await database.close()


async def test_a_local_setting_leaves_no_empty_text_behind_that_could_pass_for_a_tenant(database_dsn: str) -> None:
    database = Database(database_dsn, pool_max=2)
    await database.open()
    try:
        async with database.writing() as rows:
            await rows.execute("SET LOCAL trap.tenant TO 'acme'")
        for _ in range(3):
            async with database.reading() as rows:
                # PostgreSQL itself leaves '' where there was nothing; giving the connection back must remove that.
                assert await rows.fetchval("SELECT current_setting('trap.tenant', true)") in (None, "")
    finally:
        await database.close()


def test_no_right_rests_on_a_setting_a_view_or_a_function() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group(0)}"
        for folder in ("libs/common/gpuaas/common", *(f"services/{name}/gpuaas" for name in SERVICES))
        for path in (ROOT / folder).rglob("*.py")
        for match in FORBIDDEN.finditer(path.read_text("utf-8"))
    ]
    assert found == []


def test_what_a_tenant_names_is_keyed_by_tenant_first() -> None:
    for name in SERVICES:
        package = importlib.import_module(f"gpuaas.{name}.projections")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    tables = {table.name: table for kind in _below(Projection) for table in getattr(kind, "tables", ())}
    assert set(tables) >= NAMED_BY_TENANTS
    for name in NAMED_BY_TENANTS:
        assert next(iter(tables[name].primary_key.columns)).name == "tenant_id", name
    for table in tables.values():
        assert [index.name for index in table.indexes if index.unique and "tenant_id" in table.columns] == []


def _below(kind: type[Projection]) -> list[type[Projection]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *_below(sub))]


@pytest.mark.parametrize("wrong", ["CREATE VIEW v AS SELECT 1", "ALTER TABLE t ENABLE ROW LEVEL SECURITY"])
def test_the_search_for_traps_can_find_one(wrong: str) -> None:
    assert FORBIDDEN.search(wrong)
