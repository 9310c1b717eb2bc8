"""One value, one spelling: what is written is read back equal, and every other spelling is refused."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import pytest
from gpuaas.common.clock import rfc3339
from gpuaas.common.money import plain
from gpuaas.common.wire import (
    AsObject,
    Count64,
    ExactDecimal,
    Frozen,
    FrozenMap,
    Int64,
    Moment,
    NonNegativeDecimal,
    Unique,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

EARLIEST, LATEST = datetime.fromisoformat("0002-01-01"), datetime.fromisoformat("9998-12-31")
MOMENT = TypeAdapter[datetime](Moment)
INT64 = TypeAdapter[int](Int64)
COUNT64 = TypeAdapter[int](Count64)
DECIMAL = TypeAdapter[Decimal](ExactDecimal)
PRICE = TypeAdapter[Decimal](NonNegativeDecimal)
NAMES = TypeAdapter[tuple[str, ...]](Annotated[tuple[str, ...], Unique])
TOTALS = TypeAdapter[Mapping[str, Decimal]](Annotated[Mapping[str, ExactDecimal], Frozen, AsObject])


@given(
    st.datetimes(EARLIEST, LATEST),
    st.integers(-14, 14),
)
def test_a_moment_is_written_in_utc_and_comes_back(local: datetime, hours: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(hours=hours)))
    written = MOMENT.dump_json(MOMENT.validate_python(moment))
    assert MOMENT.validate_json(written) == moment
    assert MOMENT.validate_json(written).tzinfo is UTC
    assert moment.year < 1000 or json.loads(written) == rfc3339(moment)


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_64_bit_integer_is_written_as_its_digits(value: int) -> None:
    assert json.loads(INT64.dump_json(INT64.validate_python(value))) == str(value)
    assert INT64.validate_json(json.dumps(str(value))) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**15), max_value=10**15))
def test_a_decimal_keeps_its_digits(value: Decimal) -> None:
    written = DECIMAL.dump_json(DECIMAL.validate_python(value))
    assert json.loads(written) == plain(value)
    assert DECIMAL.validate_json(written).as_tuple() == value.as_tuple()


@pytest.mark.parametrize(
    ("reader", "wrong"),
    [
        (MOMENT, "2026-08-05T09:00:00Z"),
        (MOMENT, "2026-08-05T09:00:00.000000+00:00"),
        (MOMENT, "2026-08-05 09:00:00.000000Z"),
        (MOMENT, "2026-02-30T09:00:00.000000Z"),
        (MOMENT, 1785920400),
        (INT64, 7),
        (INT64, "7.0"),
        (INT64, "+7"),
        (INT64, "-0"),
        (INT64, "٧"),
        (INT64, "9223372036854775808"),
        (COUNT64, "-1"),
        (DECIMAL, 1.5),
        (DECIMAL, 1),
        (DECIMAL, "1e3"),
        (DECIMAL, "Infinity"),
        (DECIMAL, ".5"),
        (DECIMAL, "1" * 19),
        (PRICE, "-0.01"),
        (PRICE, "-0"),
        (NAMES, ["a", "b", "a"]),
        (TOTALS, {"EUR": 1.5}),
    ],
)
def test_another_spelling_in_json_is_refused(reader: TypeAdapter[Any], wrong: Any) -> None:
    with pytest.raises(ValidationError):
        reader.validate_json(json.dumps(wrong))


@pytest.mark.parametrize(
    ("reader", "wrong"),
    [
        (MOMENT, datetime(2026, 8, 5)),  # noqa: DTZ001 - a naive datetime is the point
        (INT64, True),
        (INT64, 2**63),
        (COUNT64, -1),
        (DECIMAL, 1.5),
        (DECIMAL, 1),
        (DECIMAL, Decimal("NaN")),
        (DECIMAL, Decimal("1e19")),
        (PRICE, Decimal("-0.01")),
    ],
)
def test_a_value_that_could_not_be_written_exactly_is_refused(reader: TypeAdapter[Any], wrong: Any) -> None:
    with pytest.raises(ValidationError):
        reader.validate_python(wrong)


def test_a_map_inside_an_event_stays_as_it_is() -> None:
    given_ = {"EUR": Decimal("1.50")}
    totals = TOTALS.validate_python(given_)
    given_["EUR"] = Decimal(0)
    assert totals == {"EUR": Decimal("1.50")}
    assert isinstance(totals, FrozenMap)
    assert not hasattr(totals, "__setitem__")
    assert TOTALS.dump_json(totals) == b'{"EUR":"1.50"}'
    assert pickle.loads(pickle.dumps(totals)) == copy.deepcopy(totals) == totals
    assert hash(TOTALS.validate_json('{"EUR":"1.50","JPY":"2"}')) == hash(
        TOTALS.validate_json('{"JPY":"2","EUR":"1.50"}')
    )
