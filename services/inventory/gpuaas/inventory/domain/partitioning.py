"""How one GPU can be cut into instances. One law: whatever fits on a GPU never counts for more than the whole of it.

An instance takes consecutive memory slices, beginning where its profile allows, and compute slices wherever they are.
Its share, by which it is claimed and billed, is its part of the memory: of every combination that fits, the shares add
up to the whole GPU at most.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from gpuaas.common.decider import Decider
from gpuaas.common.errors import Invalid, Rejected, Unreadable
from gpuaas.common.events import Event, Vocabulary
from gpuaas.contracts.inventory import PartitioningPublished, PartitionProfile

PARTITIONS_FILE: Final = "partitions.v1.json"
COMPUTE_SLICES: Final = 7
MEMORY_SLICES: Final = 8
SHARE_OF_A_SLICE: Final = 125
VOCABULARY: Final = Vocabulary(PartitioningPublished)


@dataclass(frozen=True, slots=True)
class Partitioning:
    """The profiles of one model, the smallest first; version 0: it is not partitioned."""

    version: int = 0
    scheme: str = ""
    source: str = ""
    profiles: tuple[PartitionProfile, ...] = ()

    def profile(self, name: str) -> PartitionProfile | None:
        return next((profile for profile in self.profiles if profile.profile == name), None)


@dataclass(frozen=True, slots=True)
class PublishPartitioning:
    """The next version, or nothing when the newest says the same."""

    gpu_model: str
    scheme: str
    source: str
    profiles: tuple[PartitionProfile, ...]


def decide(command: PublishPartitioning, state: Partitioning) -> Sequence[Event]:
    if (state.scheme, state.source, state.profiles) == (command.scheme, command.source, command.profiles):
        return []
    names = [profile.profile for profile in command.profiles]
    if len(set(names)) != len(names):
        raise Invalid(f"two profiles of {command.gpu_model} have one name; give each its own")
    for profile in command.profiles:
        if profile.share_milli != profile.memory_slices * SHARE_OF_A_SLICE:
            raise Invalid(f"{profile.profile} has {profile.memory_slices} slices, so its share is not right")
        if any(start + profile.memory_slices > MEMORY_SLICES for start in profile.starts):
            raise Invalid(f"{profile.profile} would reach beyond the GPU's {MEMORY_SLICES} memory slices")
        if not fits(command.profiles, {profile.profile: profile.instances_max}):
            raise Rejected(f"{profile.instances_max} instances of {profile.profile} do not fit on one GPU")
    return [
        PartitioningPublished(
            gpu_model=command.gpu_model,
            version=state.version + 1,
            scheme=command.scheme,
            source=command.source,
            profiles=command.profiles,
        )
    ]


def evolve(state: Partitioning, event: Event) -> Partitioning:
    match event:
        case PartitioningPublished() as fact if fact.version == state.version + 1:
            return Partitioning(fact.version, fact.scheme, fact.source, tuple(fact.profiles))
        case _:
            raise Unreadable(f"{event.TYPE} cannot follow version {state.version} of a partitioning")


PARTITIONING: Final[Decider[Partitioning, PublishPartitioning]] = Decider(Partitioning(), decide, evolve)


def fits(profiles: Sequence[PartitionProfile], counts: Mapping[str, int]) -> bool:
    """Whether one GPU can hold so many instances of each profile at once.

    Raises:
        Invalid: a profile that the model does not have.
    """
    known = {profile.profile: profile for profile in profiles}
    if unknown := sorted(counts.keys() - known.keys()):
        raise Invalid(f"there is no profile {unknown[0]}; there are {', '.join(known)}")
    wanted = [known[name] for name, count in counts.items() for _ in range(count)]
    if len(wanted) > MEMORY_SLICES or sum(each.compute_slices for each in wanted) > COMPUTE_SLICES:
        return False
    wanted.sort(key=lambda each: each.memory_slices, reverse=True)
    return _placed(wanted, 0, frozenset())


def _placed(wanted: Sequence[PartitionProfile], number: int, taken: frozenset[int]) -> bool:
    if number == len(wanted):
        return True
    profile = wanted[number]
    for start in profile.starts:
        slices = frozenset(range(start, start + profile.memory_slices))
        if not slices & taken and _placed(wanted, number + 1, taken | slices):
            return True
    return False


def room_for(profile: PartitionProfile, idle_milli: int) -> int:
    """Instances that fit into what is idle of one GPU; of a GPU that is sold in part at most so many."""
    return min(profile.instances_max, idle_milli // profile.share_milli)


def built_in() -> list[PublishPartitioning]:
    """The tables this version ships, from `partitions.v1.json` beside this file; its source is named there."""
    document = json.loads(files("gpuaas.inventory.domain").joinpath(PARTITIONS_FILE).read_text())
    return [
        PublishPartitioning(
            gpu_model=model["gpu_model"],
            scheme=document["scheme"],
            source=document["source"],
            profiles=tuple(_profile(entry) for entry in model["profiles"]),
        )
        for model in document["models"]
    ]


def _profile(entry: Mapping[str, object]) -> PartitionProfile:
    said = dict(entry)
    name, memory_gb, slices = str(said["vendor_name"]), int(str(said.pop("memory_gb"))), int(str(said["memory_slices"]))
    more = {
        "profile": name.replace(".", "-"),
        "memory_mib": memory_gb * 1_024,
        "share_milli": slices * SHARE_OF_A_SLICE,
    }
    return PartitionProfile.model_validate(said | more)
