"""Shared by the evidence tests. One law: what is shared beside this file is imported by its own name."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gpuaas.common.testing.neighbours import Identities
from gpuaas.common.testing.running import fresh_settings, running
from gpuaas.common.testing.stack import TestStack
from gpuaas.evidence.app import build
from gpuaas.evidence.settings import EvidenceSettings

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("store_contract", "claims_made", "evidence_house")

from evidence_house import House  # noqa: E402 - the path to it is made above


@pytest.fixture
async def settings(stack: TestStack, tmp_path: Path) -> AsyncIterator[EvidenceSettings]:
    async with fresh_settings(stack, EvidenceSettings, tmp_path, evidence_artefact_bytes_max=4_000_000) as given:
        yield given


@pytest.fixture
async def house(settings: EvidenceSettings) -> AsyncIterator[House]:
    service = build(settings)
    async with running(service) as client:
        identities = await Identities.on(service.log)
        yield House(service, client, await identities.operator(), settings.state_dir, await identities.operator())
