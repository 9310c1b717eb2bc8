"""A pool written down and read back. One law: what is read decides as what was written did, to the last tie."""

from __future__ import annotations

from dataclasses import astuple
from datetime import datetime
from typing import Any

import msgspec
from gpuaas.allocations.domain.book import Book, Change, Claim, Node, Place, Promise, Version
from gpuaas.allocations.domain.calendar import Booking, Calendar, Closure, Window
from gpuaas.allocations.domain.capacity import Pool, per_node, shares_of
from gpuaas.allocations.domain.room import lowest
from gpuaas.allocations.domain.shape import LEVELS, WHOLE_MILLI, Shape


def written(pool: Pool) -> bytes:
    """The pool at this version, the same bytes for the same history."""
    book = pool.book
    document: dict[str, Any] = {
        "events": pool.events,
        "domains": {level: book.domains(level) for level in LEVELS},
        "nodes": [
            [node.node_id, node.gpu_model, node.devices, hex(node.offered), astuple(node.place), node.withdrawn]
            for node in book.nodes
        ],
        "claims": [
            [
                claim.allocation_id,
                claim.tenant_id,
                claim.project_id,
                claim.gpu_model,
                [[number, hex(mask)] for number, mask in claim.holdings],
                claim.share_milli,
                claim.since,
                claim.ends_by,
                claim.reservation_id,
            ]
            for claim in book.claims.values()
        ],
        "promises": [
            [gainer, promise.gpu_model, hex(promise.nodes), sorted(promise.victims)]
            for gainer, promise in sorted(book.promises.items())
        ],
        "demand": book.demand,
        "share_demand": book.share_demand,
        "bookings": [_booking(booking) for booking in pool.calendar.bookings.values()],
        "closures": [
            [each.closure_id, each.nodes, each.starts_at, each.ends_at, each.cause, each.detail]
            for each in pool.calendar.closures.values()
        ],
    }
    return msgspec.json.encode(document)


def read(content: bytes) -> Pool:
    """The pool that `written` wrote."""
    document: dict[str, Any] = msgspec.json.decode(content)
    book = Book()
    for level in LEVELS:
        book.know_domains(level, [tuple(name) for name in document["domains"][level]])
    changes: list[Change] = []
    for number, (node_id, model, devices, offered, place, withdrawn) in enumerate(document["nodes"]):
        node = Node(node_id, model, tuple(devices), int(offered, 16), Place(*place), withdrawn)
        changes.append(("node", number, node))
    book.apply(changes)
    for name, tenant, project, model, holdings, share, since, ends_by, reservation_id in document["claims"]:
        held, ends = _holdings(holdings), _moment(ends_by)
        claim = Claim(name, tenant, project, model, held, share, since, ends, reservation_id)
        book.apply(_of_claim(book, claim))
    for gainer, model, nodes, victims in document["promises"]:
        book.apply([("promise", gainer, Promise(model, int(nodes, 16), frozenset(victims)))])
    demand = tuple(document["demand"])
    shares = tuple((share, count) for share, count in document["share_demand"])
    book.apply([("demand", 0, demand), ("share-demand", 0, shares)])
    return Pool(events=document["events"], gpus=Version(book), calendar=_calendar(document))


def _booking(booking: Booking) -> list[Any]:
    windows = [
        [w.number, w.starts_at, w.ends_at, [[number, hex(mask)] for number, mask in w.holdings]]
        for w in booking.windows
    ]
    return [booking.reservation_id, booking.tenant_id, booking.project_id, astuple(booking.shape), windows]


def _calendar(document: dict[str, Any]) -> Calendar:
    bookings: dict[str, Booking] = {}
    for reservation_id, tenant_id, project_id, shape, listed in document["bookings"]:
        windows = tuple(
            Window(number, datetime.fromisoformat(begins), datetime.fromisoformat(ends), _holdings(holdings))
            for number, begins, ends, holdings in listed
        )
        bookings[reservation_id] = Booking(reservation_id, tenant_id, project_id, Shape(*shape), windows)
    closures = {
        closure_id: Closure(
            closure_id, tuple(nodes), datetime.fromisoformat(begins), datetime.fromisoformat(ends), cause, detail
        )
        for closure_id, nodes, begins, ends, cause, detail in document["closures"]
    }
    return Calendar(bookings, closures)


def _holdings(written_down: list[list[Any]]) -> tuple[tuple[int, int], ...]:
    return tuple((number, int(mask, 16)) for number, mask in written_down)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _of_claim(book: Book, claim: Claim) -> list[Change]:
    """A claim's own changes, without what a grant teaches of demand."""
    changes: list[Change] = [("claim", claim.allocation_id, claim)]
    masks = per_node(claim.holdings)
    if claim.share_milli < WHOLE_MILLI:
        masks = per_node([(number, 1 << lowest(mask)) for number, mask in claim.holdings])
        for (number, bit), milli in shares_of(claim).items():
            changes.append(("part", (number, bit), book.used[number].get(bit, 0) + milli))
    changes += [("held", number, book.held[number] | mask) for number, mask in masks.items()]
    return changes
