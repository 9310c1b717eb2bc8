"""The published examples, through one engine. One law: every case is reproduced; a convention that differs is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import pytest
from gpuaas.billing.domain.apportion import apportioned
from gpuaas.billing.domain.burn_down import Grant, Part, collect, total_of, unwind
from gpuaas.billing.domain.commitments import amortised, reserved_hour
from gpuaas.billing.domain.metering import MS_PER_HOUR, Interval, gpu_us
from gpuaas.billing.domain.prices import (
    AtLeast,
    AtMost,
    Beyond,
    Committed,
    Converted,
    Flat,
    Graduated,
    OfEach,
    PerUnit,
    Price,
    Scaled,
    Tier,
    Together,
    Volume,
    charge,
    charge_chosen,
    charge_each,
    due,
    due_by_period,
    package,
)
from gpuaas.billing.domain.rating import gpu_hour
from gpuaas.billing.domain.taxes import Credited, Tax, credit_due, grouped, less_coupon, tax_by_line, totalled
from gpuaas.billing.domain.wallet import WALLET, GrantCredit, HoldCredit
from gpuaas.common.money import MINOR_DIGITS, rounded
from gpuaas.contracts.billing import CreditLapsed

Case = dict[str, Any]
CASES: Final[list[Case]] = json.loads((Path(__file__).parent / "cases" / "billing.json").read_text())["cases"]
DAY: Final = datetime(2026, 8, 1, tzinfo=UTC)
DAY_MS: Final = 24 * MS_PER_HOUR
CURRENCY_OF_SCALE: Final = {digits: currency for currency, digits in MINOR_DIGITS.items()}
AMOUNT: Final = PerUnit(Fraction(1))
"""Prices an amount of money as itself: for rules that work on what has been rated elsewhere."""

CONVENTIONS: Final[dict[str, str]] = {
    "TAX-DO-1": "both conventions are computed; an invoice of ours uses `on_total`, as EN 16931 (BR-CO-17) asks",
    "TAX-LG-3": "`naive_credit_notes` is what ours avoid: a note is a difference of rounded sums, so they total 334.99",
    "BURN-OM-5": "grants of equal priority burn by their end, not half and half; the source's case began half used",
    "FOCUS-A1": "the last row is the unused rest of the commitment, billed and effective at the end of the term",
    "VOL-LG-9": "the tier is chosen by whole units and priced on a part: a question of its own, `charge_chosen`",
    "PCT-LG-1": "free events and a free amount end with whichever is first: a fold over events, `charge_each`",
}
"""Cases whose convention needs a word: what ours is, and why. Every one of them is reproduced."""


def number(text: str | int) -> Fraction:
    return Fraction(str(text))


def cents(amount: Fraction) -> Fraction:
    return Fraction(rounded(amount, "EUR"))


def tiers(case: Case, unit: str = "unit") -> tuple[Tier, ...]:
    return tuple(
        Tier(
            up_to=None if tier["up_to"] is None else number(tier["up_to"]),
            unit=number(tier[unit]),
            flat=number(tier["flat"]),
        )
        for tier in case["tiers"]
    )


def graduated(case: Case) -> Price:
    return Graduated(tiers(case), entered_at_zero=case.get("first_flat_at_zero", False))


def volume(case: Case) -> Price:
    return Volume(tiers(case), entered_at_zero=case.get("first_flat_at_zero", False))


def packages(case: Case) -> Price:
    return package(size=number(case["size"]), price=number(case["price"]), free=number(case["free"]))


def sold_in(case: Case, of: Price) -> Price:
    return Converted(divide=number(case["divide"]), rounding=case["round"], of=of)


def per_unit(case: Case) -> Price:
    return PerUnit(number(case["price"]))


def share_of(case: Case, amount: str) -> Price:
    return Scaled(Fraction(case["days"], case["of"]), Flat(number(case[amount])))


def after(price: Price, case: Case) -> Fraction:
    before = number(case["pre_quantity"])
    return due(price, before + number(case["quantity"]), charge(price, before))


def blocks(case: Case) -> Fraction:
    total = Fraction(0)
    for unit in case["units"]:
        ends = Fraction(0)
        made: list[Tier] = []
        for size, per_block, most in unit["tiers"]:
            ends += size * (most or 0)
            made.append(Tier(up_to=ends if most else None, unit=number(per_block), block=Fraction(size)))
        price: Price = Graduated(tuple(made)) if case["policy"] == "ALL" else Volume(tuple(made))
        total += charge(price, number(unit["quantity"]))
    return total


def increments(case: Case) -> list[Fraction]:
    price = Graduated(tiers(case, "rate"), entered_at_zero=False)
    total, owed = Fraction(0), []
    for amount in map(number, case["amounts"]):
        owed.append(due(price, total + amount, charge(price, total)))
        total += amount
    return owed


def windows(case: Case) -> Fraction:
    return sum(
        (
            charge(
                Committed(number(each["commit"]), number(each["factor"]), each["true_up"], per_unit(each)),
                number(each["usage"]),
            )
            for each in case["windows"]
        ),
        Fraction(0),
    )


def overage(case: Case) -> Fraction:
    used = sum((charge(per_unit(each), number(each["quantity"])) for each in case["features"]), Fraction(0))
    return charge(Committed(number(case["commitment"]), number(case["factor"]), False, AMOUNT), used)


def late_runs(case: Case, price: Price) -> dict[str, Any]:
    """Run after run; each books what is due by period. The last run closes the period."""
    booked: list[Fraction] = []
    totals: list[str] = []
    lines: list[list[Any]] = []
    for at, seen in enumerate(case["runs"]):
        owed = due_by_period(price, list(map(number, seen)), booked, closed=at == len(case["runs"]) - 1)
        totals.append(str(sum(owed)))
        lines = [[period, str(amount)] for period, amount in enumerate(owed, start=1) if amount]
        booked = [now + then for now, then in zip(owed, [*booked, Fraction(0)], strict=True)]
    return {"run_totals": totals, "lines_run3": lines}


def half_off(case: Case) -> Price:
    return Scaled(1 - number(case["discount"]), per_unit(case))


def minimum_less_fee(case: Case) -> Fraction:
    fee = cents(charge(share_of(case, "plan_fee"), Fraction(0)))
    share = Scaled(Fraction(case["days"], case["of"]), Flat(number(case["commitment"])))
    return cents(charge(AtLeast(charge(share, Fraction(0)), AMOUNT), fee)) - fee


def progressive(case: Case) -> dict[str, str]:
    price = Together((Flat(number(case["plan_fee"])), per_unit(case)))
    seen = list(map(number, case["usage"]))
    billed = charge(per_unit(case), seen[0])
    assert billed >= number(case["threshold"])
    return {
        "first_invoice": str(billed),
        "final_total": str(due(price, sum(seen, Fraction(0)), billed)),
        "final_fees": str(charge(price, sum(seen, Fraction(0)))),
        "progressive_credit": str(billed),
    }


def terminated(case: Case) -> dict[str, str]:
    used, billed = number(case["usage_cost"]), number(case["billed"])

    def fees(days: int) -> Price:
        return Together((share_of({**case, "days": days}, "plan_fee"), AMOUNT))

    return {
        "total": f"{rounded(due(fees(case['days']), used, billed), 'EUR')}",
        "fees": f"{rounded(charge(fees(case['days']), used), 'EUR')}",
        "upgrade_variant_total": f"{rounded(due(fees(case['days'] - 1), used, billed), 'EUR')}",
    }


def weighted(case: Case) -> Fraction:
    """Units held over a part of the month, through the same meter as GPUs."""
    month = Interval(0, case["days"] * DAY_MS)
    held = sum(gpu_us(Interval(day * DAY_MS, month.end_ms), int(units)) // 1_000 for day, units in case["changes"])
    return cents(Fraction(held, month.length_ms))


def stored(case: Case) -> Fraction:
    held = gpu_us(Interval(0, int(case["hours"]) * MS_PER_HOUR), int(case["gib"])) // 1_000
    month = Fraction(int(case["hours_month"]) * MS_PER_HOUR)
    return charge(Converted(month, "exact", PerUnit(number(case["per_gib_month"]))), Fraction(held))


def quarter_hours(case: Case) -> Fraction:
    step = number(case["round_to_minutes"])
    return charge(Converted(step, "ceil", PerUnit(number(case["price"]) * step / 60)), number(case["minutes"]))


def at_scale(case: Case, value: str, factor: str = "1") -> Fraction:
    return Fraction(rounded(number(value) * number(factor), CURRENCY_OF_SCALE[case["scale"]]))


def split(case: Case) -> list[Fraction]:
    return [Fraction(part) for part in apportioned(Decimal(case["amount"]), case["weights"], case["scale"])]


def rate_of(case: Case, key: str = "rate") -> Tax:
    return Tax("S", Decimal(case[key]) * 100)


def tax_modes(case: Case) -> dict[str, str]:
    nets = [(rate_of(case), number(line)) for line in case["lines"]]
    (group,) = grouped(nets, "EUR")
    return {"per_line": f"{tax_by_line(nets, 'EUR'):f}", "on_total": f"{group.amount:f}"}


def notes(case: Case) -> dict[str, str]:
    """Each fee credited by a note of its own: together exactly the invoice."""
    tax, fees = rate_of(case), list(map(number, case["fees"]))
    (group,) = grouped([(tax, fee) for fee in fees], "EUR")
    earlier, given = Fraction(0), Credited(Decimal(0), Decimal(0))
    total = Decimal(0)
    for fee in fees:
        note = credit_due({tax: fee}, {tax: earlier}, {tax: given}, "EUR")[tax]
        total += note.gross
        earlier += fee
        given = Credited(given.net + note.net, given.tax + note.tax)
    assert total == group.net + group.amount
    naive = sum(rounded(fee + tax.on(fee), "EUR") for fee in fees)
    return {"invoice_total": f"{total:f}", "naive_credit_notes": f"{naive:f}"}


def coupon_and_taxes(case: Case) -> dict[str, Any]:
    fees = [(Tax("S", Decimal(rate) * 100), Decimal(net)) for net, rate in case["fees"]]
    off = less_coupon([net for _, net in fees], Decimal(case["coupon"]), "EUR")
    taxes = [rounded(tax.on(Fraction(net - less)), "EUR") for (tax, net), less in zip(fees, off, strict=True)]
    totals = totalled(fees, Decimal(case["coupon"]), Decimal(0), Decimal(0), "EUR")
    return {
        "coupon_split": [f"{each:f}" for each in off],
        "taxes": [f"{each:f}" for each in taxes],
        "subtotal": f"{totals.net:f}",
        "tax": f"{totals.tax:f}",
        "total": f"{totals.gross:f}",
    }


def part_credited(case: Case) -> list[Fraction]:
    tax = rate_of(case)
    note = credit_due({tax: number(case["net"]) * Fraction(case["days"], case["of"])}, {}, {}, "EUR")[tax]
    return [Fraction(each) for each in (note.net, note.tax, note.gross)]


def in_order_of_totals(case: Case) -> dict[str, str]:
    tax = rate_of(case, "tax")
    nets = [(tax, Decimal(case["plan"])), (tax, Decimal(case["usage"]))]
    totals = totalled(nets, Decimal(case["coupon"]), Decimal(case["credit_note"]), Decimal(case["prepaid"]), "EUR")
    shown = {"subtotal": totals.net, "tax": totals.tax, "total_before_credits": totals.gross, "due": totals.due}
    return {name: str(int(amount)) for name, amount in shown.items()}


def grants_of(case: Case) -> list[Grant]:
    return [
        Grant(
            grant_id=each["id"],
            granted=Decimal(each["amount"]),
            left=Decimal(each["amount"]),
            priority=each["priority"],
            promotional=each.get("granted", False),
            number=each.get("created", at),
            effective_from=DAY,
            expires_at=DAY + timedelta(days=each["expires"]) if "expires" in each else None,
        )
        for at, each in enumerate(case["grants"])
    ]


def burnt(case: Case) -> dict[str, str]:
    grants = {grant.grant_id: grant for grant in grants_of(case)}
    overage = Decimal(0)
    for use in map(Decimal, case["uses"]):
        parts = collect(grants.values(), "any", use, DAY)
        for part in parts:
            grants[part.grant_id] = replace(grants[part.grant_id], left=grants[part.grant_id].left - part.amount)
        overage += use - total_of(parts)
    return {**{key: f"{grant.left:f}" for key, grant in grants.items()}, "overage": f"{overage:f}"}


def unwound(case: Case) -> list[list[str]]:
    parts = [Part(grant_id, "any", Decimal(amount)) for grant_id, amount in case["collected"]]
    return [[part.grant_id, f"{part.amount:f}"] for part in unwind(parts, Decimal(case["correct"]))]


def lapsed(case: Case) -> dict[str, str]:
    """Through the wallet: held on day 5, at its end on day 10."""

    def day(number: int) -> datetime:
        return DAY + timedelta(days=number)

    order = GrantCredit(
        "g", "t", "EUR", Decimal(case["amount"]), "purchased", 0, (), day(case["granted_at"]), None, "x"
    )
    wallet = WALLET.fold(WALLET.decide(replace(order, expires_at=day(case["expires_at"])), WALLET.initial))
    shown = {"at4": f"{wallet.available(day(4)):f}"}
    ((used_on, used),) = case["uses"]
    hold = HoldCredit("t", {"p": Decimal(used)}, day(used_on), day(used_on), day(used_on), Decimal(0))
    wallet = WALLET.fold(WALLET.decide(hold, wallet), wallet)
    shown["at5"] = f"{wallet.available(day(5)):f}"
    ended, *_ = WALLET.decide(replace(hold, as_of=day(10)), wallet)
    assert isinstance(ended, CreditLapsed)
    wallet = WALLET.evolve(wallet, ended)
    return {**shown, "at10": f"{wallet.available(day(10)):f}", "expired": f"{ended.amount:f}"}


def contract_rows(case: Case) -> dict[str, str]:
    """The term's rows as published, and their sums."""
    upfront = case["billed"][0] == case["commitment"]
    used = [number(each) for each in case["effective"][:-1]][1 if upfront else 0 :]
    rows = amortised(number(case["commitment"]), used, upfront=upfront)
    assert [row.billed for row in rows] == list(map(number, case["billed"]))
    assert [row.effective for row in rows] == list(map(number, case["effective"]))
    return {
        "billed_sum": str(sum(row.billed for row in rows)),
        "effective_sum": str(sum(row.effective for row in rows)),
    }


def hour_rows(case: Case) -> dict[str, str]:
    rows = reserved_hour(number(case["commit_per_hour"]), number(case["effective"][0]))
    assert [row.billed for row in rows] == list(map(number, case["billed"]))
    assert [row.effective for row in rows] == list(map(number, case["effective"]))
    billed, effective = (sum((getattr(row, name) for row in rows), Fraction(0)) for name in ("billed", "effective"))
    return {"billed_sum": f"{rounded(billed, 'EUR'):f}", "effective_sum": f"{rounded(effective, 'EUR'):f}"}


ENGINE: Final[dict[str, Callable[[Case], Any]]] = {
    "graduated": lambda case: charge(graduated(case), number(case["quantity"])),
    "graduated_delta": lambda case: after(graduated(case), case),
    "volume": lambda case: charge(volume(case), number(case["quantity"])),
    "package": lambda case: charge(packages(case), number(case["quantity"])),
    "package_delta": lambda case: after(packages(case), case),
    "kb_blocks": blocks,
    "unit_config": lambda case: charge(sold_in(case, per_unit(case)), number(case["quantity"])),
    "unit_config_graduated": lambda case: charge(sold_in(case, graduated(case)), number(case["quantity"])),
    "unit_config_split": lambda case: charge(
        sold_in(case, per_unit(case)), sum(map(number, case["parts"]), Fraction(0))
    ),
    "graduated_percentage": increments,
    "dynamic": lambda case: cents(charge(PerUnit(number(case["multiplier"])), number(case["cost"]))),
    "min_spend": lambda case: due(
        AtLeast(number(case["minimum"]), AMOUNT), number(case["rated"]), number(case["rated"])
    ),
    "max_spend": lambda case: due(
        AtMost(number(case["maximum"]), AMOUNT),
        number(case["already_billed"]) + number(case["line"]),
        number(case["already_billed"]),
    ),
    "min_spend_prorated": lambda case: cents(
        due(
            AtLeast(charge(share_of(case, "minimum"), Fraction(0)), AMOUNT),
            number(case["rated"]),
            number(case["rated"]),
        )
    ),
    "commit_overage": overage,
    "windowed_commit": windows,
    "min_commit_prorated": minimum_less_fee,
    "prorated_amount": lambda case: cents(charge(share_of(case, "amount"), Fraction(0))),
    "upgrade_net": lambda case: (
        cents(charge(Scaled(Fraction(case["new_days"], case["new_of"]), Flat(number(case["new"]))), Fraction(0)))
        - number(case["credit"])
    ),
    "weighted_sum": weighted,
    "late_delta": lambda case: due(
        per_unit(case), number(case["cumulative"]), charge(per_unit(case), number(case["billed"]))
    ),
    "late_delta_volume": lambda case: due(
        volume(case), number(case["cumulative"]), charge(volume(case), number(case["billed"]))
    ),
    "late_period_preserving": lambda case: late_runs(case, per_unit(case)),
    "late_period_preserving_max": lambda case: late_runs(case, AtMost(number(case["maximum"]), per_unit(case))),
    "late_period_preserving_pct": lambda case: late_runs(case, half_off(case)),
    "late_period_preserving_free": lambda case: late_runs(case, Beyond(number(case["free"]), per_unit(case))),
    "late_period_preserving_pctmax": lambda case: late_runs(case, AtMost(number(case["maximum"]), half_off(case))),
    "late_period_preserving_min": lambda case: late_runs(case, AtLeast(number(case["minimum"]), per_unit(case))),
    "progressive": progressive,
    "progressive_terminate": terminated,
    "round_half_up": lambda case: at_scale(case, case["value"]),
    "fx": lambda case: at_scale(case, case["amount"], case["rate"]),
    "focus_lines": lambda case: [
        [str(charge(PerUnit(number(unit)), number(quantity))) for unit in (listed, contracted)]
        for quantity, listed, contracted in case["lines"]
    ],
    "rate_time": stored,
    "hours_price": lambda case: cents(charge(gpu_hour(Decimal(case["price"])), number(case["hours"]) * MS_PER_HOUR)),
    "hours_price_ceil": quarter_hours,
    "volume_prorated": lambda case: charge_chosen(
        Volume(tiers(case)), number(case["full_units"]), number(case["prorated_units"])
    ),
    "percentage_per_event": lambda case: charge_each(
        OfEach(number(case["rate"]), number(case["fixed"]), case["free_events"], number(case["free_amount"])),
        list(map(number, case["events"])),
    ),
    "largest_remainder": split,
    "gross": lambda case: cents(number(case["net"]) + rate_of(case).on(number(case["net"]))),
    "tax_mode": tax_modes,
    "rate": lambda case: cents(rate_of(case).on(number(case["net"]))),
    "coupon_tax": coupon_and_taxes,
    "credit_note": part_credited,
    "credit_notes_sum": notes,
    "invoice_order": in_order_of_totals,
    "burn_down": burnt,
    "unwind": unwound,
    "breakage": lapsed,
    "focus_contract": contract_rows,
    "focus_hour": hour_rows,
}


def comparable(expected: Any) -> Any:
    """An expected amount as an exact number; structures are compared as they are written."""
    if isinstance(expected, str):
        return number(expected)
    if isinstance(expected, list) and all(isinstance(each, str) for each in expected):
        return list(map(number, expected))
    return expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['family']}-{case['id']}")
def test_the_engine_gives_the_published_amount(case: Case) -> None:
    assert ENGINE[case["family"]](case["input"]) == comparable(case["expect"])


def test_all_published_cases_are_reproduced_and_conventions_name_real_ones() -> None:
    assert len(CASES) == 100
    assert {case["family"] for case in CASES} == set(ENGINE)
    assert set(CONVENTIONS) <= {case["id"] for case in CASES}
