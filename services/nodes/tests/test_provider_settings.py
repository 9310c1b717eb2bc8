"""Which provider the settings name, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.errors import Misconfigured
from gpuaas.nodes.adapters.ironic import IronicProvider
from gpuaas.nodes.adapters.sim import SimulatedProvider
from gpuaas.nodes.settings import NodesSettings

ENROLMENT = '{"n-1": {"driver": "redfish", "gpu_model": "nvidia-t4-16gb", "gpus": []}}'


def settings(tmp_path: Path, **given: object) -> NodesSettings:
    return NodesSettings.model_validate({"profile": "dev", "state_dir": tmp_path, **given})


def test_machines_are_simulated_unless_a_provider_is_named(tmp_path: Path) -> None:
    assert isinstance(settings(tmp_path).provider(WallClock()), SimulatedProvider)


def test_ironic_needs_its_address_and_its_machines(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set ironic_url"):
        settings(tmp_path, machine_provider="ironic")
    kept = tmp_path / "machines.json"
    kept.write_text(ENROLMENT)
    named = {"machine_provider": "ironic", "ironic_url": "http://127.0.0.1:6385", "ironic_machines": kept}
    assert isinstance(settings(tmp_path, **named).provider(WallClock()), IronicProvider)
    for text in ("[]", '{"n-1": {"colour": "blue"}}', "no json"):
        kept.write_text(text)
        with pytest.raises(Misconfigured, match="IRONIC_MACHINES"):
            settings(tmp_path, **named).provider(WallClock())
