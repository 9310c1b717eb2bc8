"""The catalogue of GPU models. One law: a model's name means the same device for ever; only its wording may improve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, TypeAlias

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.common.ids import is_name
from gpuaas.contracts.inventory import GpuModelDefined

CATALOGUE_FILE: Final = "gpu_models.v1.json"
MEMORY_MIB_MAX: Final = 16_777_216
WORDING_MAX: Final = 500
NAME_MAX: Final = 64

VOCABULARY: Final = Vocabulary(GpuModelDefined)


@dataclass(frozen=True, slots=True)
class Undefined:
    """No model has this name."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """One model of the catalogue.

    Attributes:
        memory_mib: memory of one GPU as its driver reports it.
        interconnect: how the GPUs of one machine are connected, such as `nvlink-4`.
    """

    gpu_model: str
    vendor: str
    memory_mib: int
    interconnect: str
    description: str


GpuModelState: TypeAlias = Undefined | GpuModel


@dataclass(frozen=True, slots=True)
class DefineGpuModel:
    model: GpuModel


GpuModelCommand: TypeAlias = DefineGpuModel


def decide(command: GpuModelCommand, state: GpuModelState) -> Sequence[Event]:
    match state, command:
        case Undefined(), DefineGpuModel() as order:
            return [_defined(_checked(order.model))]
        case GpuModel() as known, DefineGpuModel() as order if order.model == known:
            return []
        case GpuModel() as known, DefineGpuModel() as order if _same_device(known, order.model):
            return [_defined(_checked(order.model))]
        case GpuModel() as known, DefineGpuModel():
            raise Rejected(
                f"{known.gpu_model} is a {known.vendor} device with {known.memory_mib} MiB over "
                f"{known.interconnect}; define another device under another name"
            )
        case _:
            raise Rejected(f"a GPU model cannot {type(command).__name__}")


def evolve(state: GpuModelState, event: Event) -> GpuModelState:
    match event:
        case GpuModelDefined() as fact:
            return GpuModel(
                gpu_model=fact.gpu_model,
                vendor=fact.vendor,
                memory_mib=fact.memory_mib,
                interconnect=fact.interconnect,
                description=fact.description,
            )
        case _:
            raise Unreadable(f"{event.TYPE} does not belong to a GPU model's history")


GPU_MODEL: Final[Decider[GpuModelState, GpuModelCommand]] = Decider(initial=Undefined(), decide=decide, evolve=evolve)


def built_in() -> list[GpuModel]:
    """The models this version ships, from `gpu_models.v1.json` beside this file; sources are named there."""
    document = json.loads(files("gpuaas.inventory.domain").joinpath(CATALOGUE_FILE).read_text())
    return [
        GpuModel(
            gpu_model=entry["gpu_model"],
            vendor=entry["vendor"],
            memory_mib=entry["memory_mib"],
            interconnect=entry["interconnect"],
            description=entry["description"],
        )
        for entry in document["models"]
    ]


def _same_device(known: GpuModel, told: GpuModel) -> bool:
    return (known.gpu_model, known.vendor, known.memory_mib, known.interconnect) == (
        told.gpu_model,
        told.vendor,
        told.memory_mib,
        told.interconnect,
    )


def _checked(model: GpuModel) -> GpuModel:
    if not is_name(model.gpu_model):
        raise Invalid(f"gpu_model {model.gpu_model!r} is not a name; use 1–63 of a–z, 0–9 and inner hyphens")
    if not 1 <= model.memory_mib <= MEMORY_MIB_MAX:
        raise Invalid(f"memory_mib is {model.memory_mib}; a GPU has 1 to {MEMORY_MIB_MAX}")
    for name, text, most in (
        ("vendor", model.vendor, NAME_MAX),
        ("interconnect", model.interconnect, NAME_MAX),
        ("description", model.description, WORDING_MAX),
    ):
        if not 1 <= len(text) <= most:
            raise Invalid(f"{name} has {len(text)} characters; say it in 1 to {most}")
    return model


def _defined(model: GpuModel) -> Event:
    return GpuModelDefined(
        gpu_model=model.gpu_model,
        vendor=model.vendor,
        memory_mib=model.memory_mib,
        interconnect=model.interconnect,
        description=model.description,
    )
