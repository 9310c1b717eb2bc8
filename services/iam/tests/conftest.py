"""A running iam with its first operator. One law: real broker, real database, real HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # tests of this folder import `iam_door` and `people`

import pytest
from gpuaas.common.apikeys import ApiKey, new_api_key
from gpuaas.common.testing.running import fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.iam.app import build
from gpuaas.iam.settings import IamSettings
from iam_door import Iam


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[tuple[IamSettings, ApiKey]]:
    """Settings of a new installation, and its first operator's key."""
    key = new_api_key("dev", "first")
    given = {"iam_bootstrap_key_sha256": key.sha256, "iam_bootstrap_key_id": key.key_id}
    async with fresh_settings(stack, IamSettings, tmp_path, **given) as made:
        yield made, key


@pytest.fixture
async def iam(settings: tuple[IamSettings, ApiKey]) -> AsyncIterator[Iam]:
    service = build(settings[0])
    async with running(service) as client:
        yield Iam(service, client, settings[1])
