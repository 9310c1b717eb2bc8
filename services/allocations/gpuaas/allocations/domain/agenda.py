"""What a pool has free when, as far as it is known. One law: in every stretch of time each GPU is counted
once: down, closed, held, kept for a reservation, or free.

A claim counts until it will have ended at the latest; one whose end nobody knows counts for ever. What will be asked
for meanwhile is not known: the calendar says what is promised, not what will be left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gpuaas.allocations.domain.book import Book
from gpuaas.allocations.domain.capacity import Pool, per_node
from gpuaas.allocations.domain.room import Bits

STRETCHES_MAX: Final = 200
"""Stretches of one answer."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """GPUs of one model in [starts_at, ends_at), in which nothing changes."""

    starts_at: datetime
    ends_at: datetime
    gpu_model: str
    gpus: int
    down_gpus: int
    closed_gpus: int
    held_gpus: int
    kept_gpus: int
    free_gpus: int
    reservation_ids: tuple[str, ...]
    closure_ids: tuple[str, ...]


def stretches(pool: Pool, gpu_model: str, starts_at: datetime, ends_at: datetime) -> Iterator[Stretch]:
    """The stretches of [starts_at, ends_at) in order, told one by one."""
    book = pool.book
    ends = sorted({c.ends_by for c in book.claims.values() if c.ends_by is not None and c.gpu_model == gpu_model})
    moments = {moment for _, window in pool.calendar.windows() for moment in (window.starts_at, window.ends_at)}
    moments |= {moment for each in pool.calendar.closures.values() for moment in (each.starts_at, each.ends_at)}
    inside = sorted(moment for moment in {*ends, *moments} if starts_at < moment < ends_at)
    begins = starts_at
    for until in (*inside, ends_at):
        if begins < until:
            yield _stretch(pool, book, gpu_model, begins, until)
        begins = until


def _stretch(pool: Pool, book: Book, model: str, begins: datetime, until: datetime) -> Stretch:
    held: dict[int, Bits] = {}
    for claim in book.claims.values():
        if claim.ends_by is None or claim.ends_by > begins:
            for number, mask in per_node(claim.holdings).items():
                held[number] = held.get(number, 0) | mask
    kept: dict[int, Bits] = {}
    reservations: list[str] = []
    for booking, window in pool.calendar.windows():
        if window.meets(begins, until) and booking.shape.gpu_model == model:
            reservations.append(booking.reservation_id)
            for number, mask in window.masks().items():
                kept[number] = kept.get(number, 0) | mask
    closures = [each for each in pool.calendar.closures.values() if each.meets(begins, until)]
    closed = {number for each in closures for number in each.nodes}
    counts = dict.fromkeys(("gpus", "down", "closed", "held", "kept"), 0)
    for number, node in enumerate(book.nodes):
        if node.gpu_model != model:
            continue
        size = node.offered.bit_count()
        counts["gpus"] += size
        if number in closed:
            counts["closed"] += size
            continue
        mine = held.get(number, 0) & node.offered
        counts["held"] += mine.bit_count()
        if node.withdrawn is not None:
            counts["down"] += (node.offered & ~mine).bit_count()
            continue
        counts["kept"] += (kept.get(number, 0) & node.offered & ~mine).bit_count()
    free = counts["gpus"] - counts["down"] - counts["closed"] - counts["held"] - counts["kept"]
    return Stretch(
        starts_at=begins,
        ends_at=until,
        gpu_model=model,
        gpus=counts["gpus"],
        down_gpus=counts["down"],
        closed_gpus=counts["closed"],
        held_gpus=counts["held"],
        kept_gpus=counts["kept"],
        free_gpus=free,
        reservation_ids=tuple(sorted(set(reservations))),
        closure_ids=tuple(sorted(each.closure_id for each in closures)),
    )
