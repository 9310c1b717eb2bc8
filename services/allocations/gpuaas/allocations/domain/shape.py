"""What is asked for: the shape of a gang. One law: a shape is plain numbers with limits; it knows no fleet.

A gang is `replicas` × `gpus_per_replica`; a replica sits on one node, the gang is granted whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gpuaas.common.errors import Invalid
from gpuaas.contracts.allocations import TopologyLevel, TopologyMode

Level = TopologyLevel
LEVELS: Final[tuple[Level, ...]] = ("rack", "pod", "site")
"""From narrow to wide."""

REPLICAS_MAX: Final = 1_024
GPUS_PER_REPLICA_MAX: Final = 64
GPUS_MAX: Final = 65_536
WHOLE_MILLI: Final = 1_000


@dataclass(frozen=True, slots=True)
class Shape:
    """A gang: `replicas` nodes' worth of `gpus_per_replica` GPUs of one model.

    Attributes:
        gpu_model: None means any model, the same for the whole gang.
        topology_level: the domain that should hold the whole gang; None means anywhere in the pool.
        topology_mode: `required` refuses anything wider; `preferred`, and None, widen level by level.
        share_milli: thousandths of each GPU; below 1000 a replica has a share of one GPU, which others may share.
    """

    gpu_model: str | None
    replicas: int
    gpus_per_replica: int
    topology_level: Level | None = None
    topology_mode: TopologyMode | None = None
    share_milli: int = WHOLE_MILLI

    @property
    def gpu_count(self) -> int:
        return self.replicas * self.gpus_per_replica

    def __str__(self) -> str:
        model = self.gpu_model or "any model"
        within = f" within one {self.topology_level}" if self.topology_mode == "required" else ""
        if self.is_share:
            return f"{self.replicas} × {self.share_milli}/1000 GPU of {model}"
        return f"{self.replicas} × {self.gpus_per_replica} GPUs of {model}{within}"

    @property
    def is_share(self) -> bool:
        return self.share_milli < WHOLE_MILLI


@dataclass(frozen=True, slots=True)
class Form:
    """One of the shapes that will do for a request, and with how many members it may start."""

    shape: Shape
    replicas_min: int

    @property
    def least(self) -> Shape:
        """The smallest that will do."""
        return replace(self.shape, replicas=self.replicas_min)

    @property
    def is_elastic(self) -> bool:
        return self.replicas_min < self.shape.replicas


def forms_of(
    shape: Shape, models: Sequence[str] = (), replicas_min: int | None = None, alternatives: Sequence[Shape] = ()
) -> tuple[Form, ...]:
    """All shapes that will do, the most wanted first: the shape with each of `models`, then the alternatives."""
    first = [replace(shape, gpu_model=model) for model in models] or [shape]
    least = min(replicas_min or shape.replicas, shape.replicas)
    return (*(Form(each, least) for each in first), *(Form(each, each.replicas) for each in alternatives))


def refuse_absurd(shape: Shape) -> None:
    """No shape outside the limits goes further.

    Raises:
        Invalid: a count is not positive or beyond its limit, or a topology mode has no level.
    """
    _within("replicas", shape.replicas, REPLICAS_MAX)
    _within("gpus_per_replica", shape.gpus_per_replica, GPUS_PER_REPLICA_MAX)
    _within("replicas × gpus_per_replica", shape.gpu_count, GPUS_MAX)
    _within("share_milli", shape.share_milli, WHOLE_MILLI)
    if shape.is_share and shape.gpus_per_replica != 1:
        raise Invalid("a share is of one GPU: give gpus_per_replica 1 and more replicas", field="share_milli")
    if shape.is_share and shape.topology_level is not None:
        raise Invalid("shares are placed anywhere in the pool: leave topology_level out", field="topology_level")
    if shape.topology_mode is not None and shape.topology_level is None:
        raise Invalid("topology_mode says how strict topology_level is: give the level too", field="topology_mode")


def _within(name: str, value: int, highest: int) -> None:
    if not 1 <= value <= highest:
        raise Invalid(
            f"{name} must be between 1 and {highest}, not {value}", field=name, nearest=min(max(value, 1), highest)
        )
