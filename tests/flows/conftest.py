"""The stage of the flows: one whole running suite for all of them. One law: real servers, real services, real doors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from gpuaas.cli.demo.world import World, beating, running_world

from tests.drills.stage import SMALL_FLEET, nodes_file, state_folder, unheard
from tests.flows.main_job import Played, main_job


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world() -> AsyncIterator[World]:
    """A running suite in the demo profile, with its node agent."""
    with state_folder() as folder:
        async with running_world(folder, unheard) as world, beating(world, nodes_file(folder, SMALL_FLEET)):
            yield world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def played(world: World) -> AsyncIterator[Played]:
    """The main job, done in `world`."""
    done = await main_job(world)
    yield done
    for tenant in done.tenants.values():
        await tenant.client.close()
