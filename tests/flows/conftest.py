"""The stage of the flows: one whole running suite for all of them. One law: real servers, real services, real doors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from gpuaas.cli.demo.world import World, beating, running_world

from tests.drills.stage import SMALL_FLEET, nodes_file, state_folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world() -> AsyncIterator[World]:
    """A running suite in the demo profile, with its node agent; nothing is in it yet."""
    with state_folder() as folder:
        async with running_world(folder, lambda _: None) as world, beating(world, nodes_file(folder, SMALL_FLEET)):
            yield world
