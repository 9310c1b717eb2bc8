"""Exact lists in SQL. One law: a row is shown where `check` would allow it, and nowhere else."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from gpuaas.common.access import Access, Principal, Scope
from gpuaas.common.decisions import Reach
from gpuaas.common.reaching import scopes_where
from gpuaas.common.tables import Database
from gpuaas.common.testing.identity import Identity
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts import iam
from sqlalchemy import Column, MetaData, Table, Text, select

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
READ = "allocations.allocation.read"
PLACES: list[tuple[str, str | None]] = [
    (tenant, project) for tenant in ("acme", "rival", "third") for project in ("vision", "speech", None)
]
ROWS = Table("rows_v1", MetaData(), Column("tenant_id", Text), Column("project_id", Text))


def robot() -> Principal:
    return Principal("robot", "service-account", "acme", "robot-key", "", "s", NOW + timedelta(minutes=5))


def some_world(dice: random.Random) -> Access:
    world = Identity("dev", NOW)
    for name in ("acme", "rival", "third"):
        world.tenant(name, "vision", "speech")
    world.role("viewer", "*.*.read")
    world.service_account("robot", "acme")
    scopes: list[tuple[str | None, str | None]] = [(None, None), *PLACES]
    for tenant, project in dice.sample(scopes, dice.randrange(4)):
        world.bind("robot", "viewer", *([tenant] if tenant else []), *([project] if project else []))
    for number, (tenant, project) in enumerate(dice.sample(scopes[1:], dice.randrange(3))):
        banned = {"tenant_id": tenant} | ({"project_id": project} if project else {})
        event = iam.ProhibitionPlaced(
            prohibition_id=f"p-{number}",
            holder_id="robot",
            holder_kind="service-account",
            permissions=("allocations.*.*",),
            reason="for a test",
            **banned,
        )
        world.say(event, str(tenant), f"p-{number}")
    access = Access("dev")
    for fact in world.facts:
        access.apply(fact)
    return access


@pytest.fixture(scope="module")
def worlds() -> list[Access]:
    dice = random.Random(7)
    return [some_world(dice) for _ in range(60)]


async def test_a_list_shows_exactly_what_check_allows(stack: TestStack, worlds: list[Access]) -> None:
    async with stack.fresh_database() as dsn:
        database = Database(dsn, 2)
        await database.open()
        async with database.writing() as rows:
            await rows.execute("CREATE TABLE rows_v1 (tenant_id text, project_id text)")
            await rows.executemany("INSERT INTO rows_v1 VALUES ($1, $2)", PLACES)
        for access in worlds:
            reach = access.reach(robot(), READ, NOW)
            query = select(ROWS).where(scopes_where(reach, ROWS.c.tenant_id, ROWS.c.project_id))
            shown = {(row["tenant_id"], row["project_id"]) for row in await database.fetch(query)}
            allowed = {place for place in PLACES if access.check(robot(), READ, Scope(*place), NOW).allowed}
            # Where something inside a tenant is prohibited, what is the tenant's and no project's is left out.
            assert shown == allowed - {place for place in allowed - shown if place[1] is None}
            assert {place for place in allowed if place[1]} <= shown
        await database.close()


async def test_more_places_than_a_statement_takes_parameters(stack: TestStack) -> None:
    many = frozenset(("acme", f"project-{number}") for number in range(40_000)) | {("rival", "vision")}
    async with stack.fresh_database() as dsn:
        database = Database(dsn, 2)
        await database.open()
        async with database.writing() as rows:
            await rows.execute("CREATE TABLE rows_v1 (tenant_id text, project_id text)")
            await rows.executemany("INSERT INTO rows_v1 VALUES ($1, $2)", PLACES)
        reach = Reach(False, frozenset(), many)
        query = select(ROWS).where(scopes_where(reach, ROWS.c.tenant_id, ROWS.c.project_id))
        assert [tuple(row) for row in await database.fetch(query)] == [("rival", "vision")]
        await database.close()


def test_in_part_is_yes_exactly_where_something_below_is(worlds: list[Access]) -> None:
    for access in worlds:
        for tenant in ("acme", "rival", "third"):
            places = [place for place in PLACES if place[0] == tenant]
            any_below = any(access.check(robot(), READ, Scope(*place), NOW).allowed for place in places)
            assert access.check_in_part(robot(), READ, Scope(tenant), NOW).allowed is any_below
            for place in places[:2]:
                asked = robot(), READ, Scope(*place), NOW
                assert access.check_in_part(*asked) == access.check(*asked), "a project has no parts"
