"""Which provider the settings name, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpuaas.common.clock import WallClock
from gpuaas.common.errors import Misconfigured
from gpuaas.nodes.adapters.ironic import IronicProvider
from gpuaas.nodes.adapters.sim import SimulatedProvider
from gpuaas.nodes.domain.burn_in import BurnInPolicy, usual_policy
from gpuaas.nodes.domain.proofs import Load, Occasion, Plan
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


def on_ironic(tmp_path: Path, **given: object) -> NodesSettings:
    kept = tmp_path / "machines.json"
    kept.write_text(ENROLMENT)
    named = {"machine_provider": "ironic", "ironic_url": "https://ironic.example:6385", "ironic_machines": kept}
    return settings(tmp_path, **{"profile": "production", **named, **given})


def policy_of(told: NodesSettings) -> BurnInPolicy:
    return told.burn_in_policy(told.provider(WallClock()))


def test_a_burn_in_that_the_provider_cannot_do_is_refused_before_any_machine_waits_for_it(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"quick loads gpu-memory, which the provider ironic cannot.*BURN_IN_GPUS"):
        policy_of(on_ironic(tmp_path))
    rehearsal = settings(tmp_path, profile="production", simulated_machines_allowed=True)
    assert policy_of(rehearsal).plan_for("p", Occasion.NEW) == rehearsed(rehearsal, "standard")


def rehearsed(told: NodesSettings, plan: str) -> Plan:
    return usual_policy(told.profile).plans[plan]


def test_on_hosts_alone_the_same_occasions_run_what_the_provider_can(tmp_path: Path) -> None:
    told = on_ironic(tmp_path, burn_in_gpus=False)
    policy = policy_of(told)
    host = rehearsed(told, "host")
    assert {each: policy.plan_for("p", each) for each in Occasion} == {
        Occasion.NEW: host,
        Occasion.REPAIRED: host,
        Occasion.REMEDIED: host,
        Occasion.SERVICED: host,
        Occasion.RETURNED: None,
    }
    kept = tmp_path / "policy.json"
    kept.write_text('{"version": "x", "plans": {}, "usual": {"production": {}}}')
    hostless = on_ironic(tmp_path, burn_in=kept, burn_in_gpus=False)
    with pytest.raises(Misconfigured, match="GPUAAS_BURN_IN"):
        policy_of(hostless)


def test_a_ramdisk_of_ones_own_loads_gpus_by_the_steps_that_are_named(tmp_path: Path) -> None:
    steps = {
        load: [{"interface": "deploy", "step": f"burnin_{load.replace('-', '_')}"}]
        for load in ("gpu-memory", "gpu-compute", "gpu-link")
    }
    told = on_ironic(tmp_path, ironic_burn_in_steps=json.dumps(steps))
    assert told.provider(WallClock()).loads == frozenset(Load)
    assert policy_of(told).plan_for("p", Occasion.NEW) == rehearsed(told, "standard")
    for wrong in ("[]", '{"gpu-soup": [{"step": "x"}]}', '{"cpu": []}', '{"cpu": ["x"]}', "{"):
        with pytest.raises(Misconfigured, match="GPUAAS_IRONIC_BURN_IN_STEPS"):
            on_ironic(tmp_path, ironic_burn_in_steps=wrong).provider(WallClock())
