"""Which prices were published. One law: a row is one immutable version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.price_book import PriceBook, PriceVersion, band_of
from gpuaas.common.envelope import Fact
from gpuaas.common.events import Part
from gpuaas.common.projections import Database, Projection, Record, Rows, insert
from gpuaas.contracts.billing import PriceBand, PriceBookPublished, UtcOffset
from sqlalchemy import JSON, BigInteger, Column, DateTime, Integer, MetaData, Numeric, Table, Text, select, tuple_

VersionKey: TypeAlias = tuple[str, int]
"""price book id, version"""

_META = MetaData()
VERSIONS = Table(
    "price_books_v2",
    _META,
    Column("price_book_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("effective_from", DateTime(timezone=True), nullable=False),
    Column("effective_until", DateTime(timezone=True)),
    Column("time_zone", Text, comment="null: no price has bands"),
    Column("utc_offsets", JSON),
    Column("position", BigInteger, nullable=False),
)
PRICES = Table(
    "price_book_prices_v2",
    _META,
    Column("price_book_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("gpu_model", Text, primary_key=True),
    Column("unit", Text, nullable=False),
    Column("amount", Numeric, nullable=False),
    Column("bands", JSON, comment="null: none"),
)


class PriceBooks(Projection):
    """All price book versions."""

    answer = "price_books"
    version = 2
    reads = (PriceBookPublished,)
    tables = (VERSIONS, PRICES)

    async def fold(self, rows: Rows, facts: Sequence[Fact]) -> None:
        published = [(fact.position, fact.event) for fact in facts if isinstance(fact.event, PriceBookPublished)]
        await insert(rows, VERSIONS, [_row(position, version) for position, version in published])
        await insert(rows, PRICES, [price for _, version in published for price in _prices(version)])

    async def versions(self, db: Database, after: int, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` versions above position `after`, in the order they were published, each with its `prices`."""
        query = select(VERSIONS).where(VERSIONS.c.position > after)
        found = await db.fetch(query.order_by(VERSIONS.c.position).limit(limit))
        prices = await self._prices_of(db, found)
        return [dict(row) | {"prices": prices[row["price_book_id"], row["version"]]} for row in found]

    async def books(self, db: Database, upto: int | None = None) -> dict[str, PriceBook]:
        """Every currency's book with the versions published up to position `upto` (None: all)."""
        query = select(VERSIONS).order_by(VERSIONS.c.currency, VERSIONS.c.version)
        if upto is not None:
            query = query.where(VERSIONS.c.position <= upto)
        found = await db.fetch(query)
        prices = await self._prices_of(db, found)
        by_currency: defaultdict[str, list[Record]] = defaultdict(list)
        for row in found:
            by_currency[row["currency"]].append(row)
        return {currency: _book(versions, prices) for currency, versions in by_currency.items()}

    async def _prices_of(self, db: Database, versions: Sequence[Record]) -> dict[VersionKey, list[dict[str, Any]]]:
        keys = [(row["price_book_id"], row["version"]) for row in versions]
        query = select(PRICES).where(tuple_(PRICES.c.price_book_id, PRICES.c.version).in_(keys))
        prices: defaultdict[VersionKey, list[dict[str, Any]]] = defaultdict(list)
        for row in await db.fetch(query.order_by(PRICES.c.gpu_model)) if keys else ():
            prices[row["price_book_id"], row["version"]].append(dict(row))
        return prices


def _book(found: Sequence[Record], prices: Mapping[VersionKey, Sequence[dict[str, Any]]]) -> PriceBook:
    return PriceBook(
        price_book_id=found[0]["price_book_id"],
        currency=found[0]["currency"],
        versions=tuple(_version(row, prices[row["price_book_id"], row["version"]]) for row in found),
    )


def _version(row: Record, prices: Sequence[dict[str, Any]]) -> PriceVersion:
    offsets = [UtcOffset.model_validate(each) for each in row["utc_offsets"] or ()]
    bands = {price["gpu_model"]: price["bands"] for price in prices if price["bands"]}
    return PriceVersion(
        version=row["version"],
        effective_from=row["effective_from"],
        effective_until=row["effective_until"],
        prices={price["gpu_model"]: price["amount"] for price in prices},
        bands={model: tuple(band_of(PriceBand.model_validate(each)) for each in own) for model, own in bands.items()},
        time_zone=row["time_zone"],
        offsets=tuple((instant_ms(each.since), each.offset_s * 1_000) for each in offsets),
    )


def _row(position: int, published: PriceBookPublished) -> dict[str, object]:
    return {
        "price_book_id": published.price_book_id,
        "version": published.version,
        "currency": published.currency,
        "effective_from": published.effective_from,
        "effective_until": published.effective_until,
        "time_zone": published.time_zone,
        "utc_offsets": _told(published.utc_offsets),
        "position": position,
    }


def _prices(published: PriceBookPublished) -> list[dict[str, object]]:
    return [
        {
            "price_book_id": published.price_book_id,
            "version": published.version,
            "gpu_model": price.gpu_model,
            "unit": price.unit,
            "amount": price.amount,
            "bands": _told(price.bands),
        }
        for price in published.prices
    ]


def _told(parts: Sequence[Part] | None) -> list[dict[str, Any]] | None:
    return None if parts is None else [part.model_dump(mode="json") for part in parts]
