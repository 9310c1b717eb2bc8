"""What a pool could hold instead of a shape that it never can. One law: what is offered would fit an empty pool.

Kept first is how many GPUs there are, then their model, then how the gang is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gpuaas.allocations.domain.book import Book
from gpuaas.allocations.domain.shape import GPUS_PER_REPLICA_MAX, REPLICAS_MAX, WHOLE_MILLI, Shape
from gpuaas.contracts.allocations import NearestShape, ShapeChange


def nearest(book: Book, shape: Shape) -> tuple[NearestShape, ...]:
    """Possible shapes near one that is not, at most one for each kind of change; none where it is possible itself."""
    if possible(book, shape):
        return ()
    found: dict[ShapeChange, Shape] = {}
    for change, other in _changed(book, shape):
        if change not in found and possible(book, other):
            found[change] = other
    return tuple(_told(change, other) for change, other in found.items())


def possible(book: Book, shape: Shape) -> bool:
    """Whether the pool could hold it if nothing else stood there; of any model where it names none."""
    models = (shape.gpu_model,) if shape.gpu_model is not None else tuple(book.models)
    return any(_holds(book, model, shape) for model in models)


def _holds(book: Book, model: str, shape: Shape) -> bool:
    if (rooms := book.models.get(model)) is None:
        return False
    if shape.is_share:
        return rooms.size.replicas(1) * (WHOLE_MILLI // shape.share_milli) >= shape.replicas
    level = shape.topology_level if shape.topology_mode == "required" and shape.replicas > 1 else None
    size = shape.gpus_per_replica
    return (rooms.size.roomiest(level, size) if level else rooms.size.replicas(size)) >= shape.replicas


def _changed(book: Book, shape: Shape) -> Iterator[tuple[ShapeChange, Shape]]:
    """Other shapes, those that keep most of it first."""
    size, count = shape.gpus_per_replica, shape.gpu_count
    for smaller in range(min(size - 1, GPUS_PER_REPLICA_MAX), 0, -1):
        if count % smaller == 0 and count // smaller <= REPLICAS_MAX:
            yield "smaller-members", replace(shape, replicas=count // smaller, gpus_per_replica=smaller)
    if shape.topology_mode == "required":
        yield "wider-topology", replace(shape, topology_level=None, topology_mode=None)
    for model in sorted(book.models):
        if shape.gpu_model is not None and model != shape.gpu_model:
            yield "other-model", replace(shape, gpu_model=model)
    if (fewer := _most(book, shape)) is not None:
        yield "fewer-members", fewer
    for smaller in range(size - 1, 0, -1):
        yield "fewer-gpus-per-member", replace(shape, gpus_per_replica=smaller)


def _most(book: Book, shape: Shape) -> Shape | None:
    """As many members as fit, each as it was asked for."""
    least, beyond = 0, shape.replicas
    while beyond - least > 1:
        middle = (least + beyond) // 2
        least, beyond = (middle, beyond) if possible(book, replace(shape, replicas=middle)) else (least, middle)
    return replace(shape, replicas=least) if least else None


def _told(change: ShapeChange, shape: Shape) -> NearestShape:
    return NearestShape(
        change=change,
        gpu_model=shape.gpu_model,
        replicas=shape.replicas,
        gpus_per_replica=shape.gpus_per_replica,
        share_milli=shape.share_milli if shape.is_share else None,
    )
