"""A running iam with its first operator. One law: real broker, real database, real HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # tests of this folder import `iam_door` and `people`

import pytest
from gpuaas.common.apikeys import ApiKey, new_api_key
from gpuaas.common.testing.running import fresh_settings
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.settings import IamSettings
from iam_door import Iam, started


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[tuple[IamSettings, ApiKey]]:
    """Settings of a new installation, and its first operator's key."""
    key = new_api_key("dev", "first")
    given = {"iam_bootstrap_key_sha256": key.sha256, "iam_bootstrap_key_id": key.key_id}
    async with fresh_settings(stack, IamSettings, tmp_path, **given) as made:
        yield made, key


@pytest.fixture
async def iam(stack: TestStack, tmp_path: Path) -> AsyncIterator[Iam]:
    async with started(stack, tmp_path) as running_iam:
        yield running_iam
