"""What the nodes service is told from outside. One law: what changes behaviour is a setting with a limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from gpuaas.common.clock import Clock
from gpuaas.common.errors import Misconfigured
from gpuaas.common.settings import Settings
from gpuaas.nodes.adapters.ironic import IPA_LOADS, IronicProvider, WipePlan, enrolments, loads_with
from gpuaas.nodes.adapters.sim import Script, SimulatedProvider
from gpuaas.nodes.domain.automation import Guard
from gpuaas.nodes.domain.burn_in import BurnInPolicy, usual_policy
from gpuaas.nodes.domain.expectations import Expectations, usual
from gpuaas.nodes.domain.heartbeats import Patience
from gpuaas.nodes.domain.proofs import RemedyPolicy
from gpuaas.nodes.ports import BurnsMachinesIn, MachineProvider
from pydantic import Field, SecretStr, model_validator


class NodesSettings(Settings):
    """Settings of this service.

    Attributes:
        machine_provider: which provider owns the machines; `sim` makes them up, `ironic` is OpenStack Ironic.
        ironic_url: Ironic's API, without `/v1`; over https outside a machine's own network.
        ironic_token: sent as `X-Auth-Token`, where Ironic asks for one.
        ironic_machines: JSON file, node id → how Ironic reaches it (`adapters.ironic.Enrolment`).
        ironic_wipe_steps: JSON list of the manual clean steps that a wipe is; absent: `deploy.erase_devices`.
        ironic_burn_in_steps: JSON object, load → clean steps that put it on a machine; beside or instead of those of
            Ironic's own agent, which loads no GPUs.
        ironic_cell: keeps installations that share one Ironic apart.
        simulated_machines_allowed: let the production profile run on `sim`, for a rehearsal.
        sim_script: JSON file with what the simulation does besides behaving well (`adapters.sim.Script`).
        provider_timeout_s: longest wait for one answer of the provider.
        provider_attempts_max: tries of one machine before it is put down as unusable.
        provider_pause_s: real seconds before the second try; doubles each time.
        enrol_concurrency: machines that are being adopted at once.
        heartbeat_silence_s: real seconds without a heartbeat after which a node is lost.
        heartbeat_grace_s: real seconds after a start, or after a node joined, in which nothing is declared lost.
        heartbeat_tick_s: real seconds between two looks at who is silent.
        upkeep_tick_s: real seconds between two rounds over machines that are drained, unclean or in a window.
        upkeep_wait_s: longest wait in a round for the pools' claims to be folded, real seconds.
        state_automation: whether the steps for machines that stay too long in a state are carried out, or only named.
        state_expectations: JSON file that takes the place of `domain/expectations.v1.json`.
        burn_in: JSON file that takes the place of `domain/burn_in.v1.json`.
        burn_in_gpus: false: the plan `host` is run in place of plans that load GPUs, for a provider that cannot.
        remedy_automation: whether resets and reboots that verdicts order are carried out, or only named.
        remedy_timeout_s: real seconds after which one that has not reported counts as failed.
        health_automation: whether unhealthy machines are closed by the platform itself; else it only says so.
        withdrawal_retry_s: real seconds between two looks at withdrawals that were withheld.
        promise_horizon_s: world seconds that a machine which is withdrawn or drained is counted out for, when it is
            asked whether what was promised to tenants could be kept without it.
        drain_budget_share: share of a pool's machines in service that may be closed automatically; at least one.
        breaker_burst_max: automatic closings within `breaker_burst_s` world seconds that are believed.
        breaker_burst_s: see above.
    """

    machine_provider: Literal["sim", "ironic"] = "sim"
    ironic_url: str | None = None
    ironic_token: SecretStr | None = None
    ironic_machines: Path | None = None
    ironic_wipe_steps: str | None = Field(default=None, max_length=10_000)
    ironic_burn_in_steps: str | None = Field(default=None, max_length=10_000)
    ironic_cell: str = Field(default="gpuaas", min_length=1, max_length=40)
    simulated_machines_allowed: bool = False
    sim_script: Path | None = None
    provider_timeout_s: float = Field(default=10.0, gt=0, le=600)
    provider_attempts_max: int = Field(default=5, ge=1, le=20)
    provider_pause_s: float = Field(default=0.2, ge=0, le=60)
    enrol_concurrency: int = Field(default=32, ge=1, le=256)
    heartbeat_silence_s: float = Field(default=30.0, gt=0, le=3600)
    heartbeat_grace_s: float = Field(default=45.0, ge=0, le=3600)
    heartbeat_tick_s: float = Field(default=2.0, gt=0, le=60)
    upkeep_tick_s: float = Field(default=1.0, gt=0, le=600)
    upkeep_wait_s: float = Field(default=5.0, gt=0, le=60)
    state_automation: bool = True
    state_expectations: Path | None = None
    burn_in: Path | None = None
    burn_in_gpus: bool = True
    remedy_automation: bool = True
    remedy_timeout_s: float = Field(default=1_800.0, gt=0, le=86_400)
    health_automation: bool = True
    withdrawal_retry_s: float = Field(default=5.0, gt=0, le=3600)
    promise_horizon_s: float = Field(default=86_400.0, ge=0, le=90 * 86_400)
    drain_budget_share: float = Field(default=0.1, gt=0, le=1)
    breaker_burst_max: int = Field(default=20, ge=1, le=900)
    breaker_burst_s: float = Field(default=600.0, gt=0, le=86_400)

    @model_validator(mode="after")
    def _real_machines_in_production(self) -> Self:
        if self.profile == "production" and self.machine_provider == "sim" and not self.simulated_machines_allowed:
            raise ValueError(
                "production does not sell simulated machines; set machine_provider, or for a rehearsal "
                "simulated_machines_allowed"
            )
        return self

    @model_validator(mode="after")
    def _ironic_is_reachable(self) -> Self:
        if self.machine_provider == "ironic" and (self.ironic_url is None or self.ironic_machines is None):
            raise ValueError("machine_provider is ironic; set ironic_url and ironic_machines too")
        return self

    def provider(self, clock: Clock) -> MachineProvider:
        """The provider these settings name.

        Raises:
            Misconfigured: a file or list it needs is missing or not readable.
        """
        if self.machine_provider == "sim" or self.ironic_url is None or self.ironic_machines is None:
            return SimulatedProvider(clock, self.script(), self.state_dir / "simulated-machines.jsonl")
        try:
            machines = enrolments(self.ironic_machines.read_text("utf-8"))
            wipe = WipePlan(json.loads(self.ironic_wipe_steps), "clean-steps") if self.ironic_wipe_steps else None
        except (OSError, ValueError, TypeError) as wrong:
            raise Misconfigured(f"GPUAAS_IRONIC_MACHINES or GPUAAS_IRONIC_WIPE_STEPS: {wrong}") from None
        try:
            loads = loads_with(self.ironic_burn_in_steps) if self.ironic_burn_in_steps else IPA_LOADS
        except (ValueError, TypeError) as wrong:
            raise Misconfigured(f"GPUAAS_IRONIC_BURN_IN_STEPS: {wrong}") from None
        token = self.ironic_token.get_secret_value() if self.ironic_token else None
        return IronicProvider(
            self.ironic_url,
            machines,
            clock,
            cell=self.ironic_cell,
            token=token,
            wipe=wipe,
            loads=loads,
            timeout_s=self.provider_timeout_s,
        )

    def patience(self) -> Patience:
        """How long silence is borne. Two beats closer than a hundredth of that count as one."""
        beat_min_s = min(0.5, self.heartbeat_silence_s / 100)
        return Patience(self.heartbeat_silence_s, self.heartbeat_grace_s, beat_min_s)

    def guard(self) -> Guard:
        """What keeps automation from emptying a pool."""
        return Guard(self.health_automation, self.drain_budget_share, self.breaker_burst_max, self.breaker_burst_s)

    def remedy_policy(self) -> RemedyPolicy:
        """Whether the ladder's own steps are taken here, and how long each may take."""
        return RemedyPolicy(self.remedy_automation, self.remedy_timeout_s)

    def burn_in_policy(self, provider: BurnsMachinesIn) -> BurnInPolicy:
        """What machines run before they are available.

        Raises:
            Misconfigured: the file is missing or is none, or the policy asks for what the provider cannot do: nothing
                would ever become available.
        """
        try:
            policy = (
                usual_policy(self.profile)
                if self.burn_in is None
                else BurnInPolicy.read(self.burn_in.read_text("utf-8"), self.profile)
            )
            policy = policy if self.burn_in_gpus else policy.without_gpus()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise Misconfigured(f"GPUAAS_BURN_IN: {self.burn_in}: {wrong}") from None
        for plan, missing in policy.beyond(provider.loads).items():
            raise Misconfigured(
                f"the burn-in plan {plan} loads {', '.join(sorted(missing))}, which the provider "
                f"{self.machine_provider} cannot: set GPUAAS_BURN_IN_GPUS=false for the plan host instead"
                + (", or name the steps in GPUAAS_IRONIC_BURN_IN_STEPS" if self.machine_provider == "ironic" else "")
            )
        return policy

    def expectations(self) -> Expectations:
        """How long machines may stay where they are. Raises Misconfigured: the file is missing or is none."""
        if self.state_expectations is None:
            return usual()
        try:
            return Expectations.read(self.state_expectations.read_text("utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as wrong:
            raise Misconfigured(f"GPUAAS_STATE_EXPECTATIONS: {self.state_expectations}: {wrong}") from None

    def script(self) -> Script:
        """The simulation's script; an empty one without a file.

        Raises:
            Misconfigured: the file is missing or is no script.
        """
        if self.sim_script is None:
            return Script()
        try:
            return Script.read(self.sim_script.read_text("utf-8"))
        except (OSError, ValueError, TypeError) as wrong:
            raise Misconfigured(f"GPUAAS_SIM_SCRIPT: {self.sim_script} is not a script: {wrong}") from None
