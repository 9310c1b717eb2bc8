"""The kinds of histories this service keeps. One law: a kind is named once, for door, reactions and tests."""

from __future__ import annotations

from typing import Final

from gpuaas.common.commands import Entity
from gpuaas.inventory.domain import gpu_model, machine, partitioning, sku
from gpuaas.inventory.domain.gpu_model import GPU_MODEL, GpuModelCommand, GpuModelState
from gpuaas.inventory.domain.machine import MACHINE, MachineCommand, MachineState
from gpuaas.inventory.domain.partitioning import PARTITIONING, Partitioning, PublishPartitioning
from gpuaas.inventory.domain.plan import (
    CLAIM,
    CLAIM_VOCABULARY,
    PLAN,
    PLAN_VOCABULARY,
    Claim,
    ClaimCommand,
    PlanCommand,
    PlanState,
)
from gpuaas.inventory.domain.sku import SKU, Sku, SkuCommand

MACHINE_ENTITY: Final[Entity[MachineState, MachineCommand]] = Entity(
    "inventory", "machine", MACHINE, machine.VOCABULARY
)
GPU_MODEL_ENTITY: Final[Entity[GpuModelState, GpuModelCommand]] = Entity(
    "inventory", "gpu-model", GPU_MODEL, gpu_model.VOCABULARY
)
SKU_ENTITY: Final[Entity[Sku, SkuCommand]] = Entity("inventory", "sku", SKU, sku.VOCABULARY)
PLAN_ENTITY: Final[Entity[PlanState, PlanCommand]] = Entity("inventory", "machine-plan", PLAN, PLAN_VOCABULARY)
CLAIM_ENTITY: Final[Entity[Claim, ClaimCommand]] = Entity("inventory", "plan-claim", CLAIM, CLAIM_VOCABULARY)
PARTITIONING_ENTITY: Final[Entity[Partitioning, PublishPartitioning]] = Entity(
    "inventory", "partitioning", PARTITIONING, partitioning.VOCABULARY
)
