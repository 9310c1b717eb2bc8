"""The test stack as pytest fixtures. One law: a server starts when the first test asks for it.

The root `conftest.py` names this module in `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from gpuaas.common.testing.stack import LogAddress, TestStack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[TestStack]:
    """The servers of this run; `stack.fresh_log()` and `stack.fresh_database()` where one is not enough."""
    with running_stack() as running:
        yield running


@pytest_asyncio.fixture
async def log_address(stack: TestStack) -> AsyncIterator[LogAddress]:
    """An empty EVENTS log that only this test sees."""
    async with stack.fresh_log() as address:
        yield address


@pytest_asyncio.fixture
async def database_dsn(stack: TestStack) -> AsyncIterator[str]:
    """The URL of an empty database that only this test sees."""
    async with stack.fresh_database() as dsn:
        yield dsn
