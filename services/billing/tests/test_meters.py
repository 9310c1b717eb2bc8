"""Reported usage: storage and tokens. One law tested: said twice it counts once, and order changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from billing_world import AUGUST, HOUR, SEPTEMBER, settings_on, spelled, world_on
from gpuaas.billing.domain.metering import Interval, instant_ms
from gpuaas.billing.domain.meters import METER, REPORT, DefineMeter, Meters, ReportUsage, Value, amount_of, quantity_of
from gpuaas.common.errors import Invalid, Rejected
from gpuaas.common.testing.stack import TestStack
from gpuaas.contracts.billing import MeterDefined, MeterTier
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_rater import Step, graduated_by_walking, packages_by_walking, volume_by_walking

MONTH = Interval(1_000, 1_300)


def meter(**changes: object) -> MeterDefined:
    whole = MeterDefined(
        meter_id="tokens",
        version=1,
        unit="token",
        aggregation="sum",
        per_unit=1,
        currency="JPY",
        price_model="graduated",
        tiers=(MeterTier(up_to=10, unit=Decimal(3), flat=Decimal(5)), MeterTier(unit=Decimal(2), flat=Decimal(1))),
        effective_from=AUGUST,
    )
    return whole.model_copy(update=changes)


@pytest.mark.parametrize("quantity", [0, 1, 9, 10, 11, 57])
def test_tiers_and_packages_cost_what_a_rater_that_walks_unit_by_unit_asks(quantity: int) -> None:
    steps = [Step(10, 3, 5), Step(None, 2, 1)]
    assert amount_of(meter(), quantity) == graduated_by_walking(steps, quantity)
    assert amount_of(meter(price_model="volume"), quantity) == volume_by_walking(steps, quantity)
    packs = meter(price_model="package", package=7, free=4, tiers=(MeterTier(unit=Decimal(11)),))
    assert amount_of(packs, quantity) == packages_by_walking(7, 11, 4, quantity)


def walked(aggregation: str, values: list[Value], until: int) -> int:
    """Millisecond by millisecond, each subject looks up what was said of it last."""
    subjects = {each.subject for each in values}
    inside = [each for each in values if MONTH.start_ms <= each.used_ms < MONTH.end_ms]
    if aggregation == "sum":
        return sum(each.value for each in inside)
    if aggregation == "max":
        return sum(max([each.value for each in inside if each.subject == subject], default=0) for subject in subjects)
    total = 0
    for at in range(MONTH.start_ms, min(until, MONTH.end_ms)):
        for subject in subjects:
            said = [each for each in values if each.subject == subject and each.used_ms <= at]
            if said:
                total += max(said, key=lambda each: (each.used_ms, each.position)).value
    return total


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["sum", "max", "time-weighted"]),
    st.lists(st.tuples(st.integers(900, 1_350), st.integers(0, 50), st.sampled_from("xy")), max_size=8),
    st.integers(950, 1_400),
    st.randoms(use_true_random=False),
)
def test_a_quantity_is_what_walking_finds_in_whatever_order_values_come(
    aggregation: str, told: list[tuple[int, int, str]], until: int, seed: Random
) -> None:
    values = [Value("p", "m", subject, at, value, place) for place, (at, value, subject) in enumerate(told)]
    values = [each for each in values if each.used_ms < MONTH.end_ms]
    found = quantity_of(aggregation, seed.sample(values, len(values)), MONTH, until)
    assert found == walked(aggregation, values, until)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"effective_from": AUGUST + HOUR}, "start of one"),
        ({"per_unit": 0}, "at least one"),
        ({"price_model": "package"}, "has one tier"),
        ({"price_model": "per-unit"}, "has one tier"),
        ({"package": 5}, "only if they are sold in packages"),
        ({"tiers": (MeterTier(up_to=3, unit=Decimal(1)),)}, "last tier has no end"),
        ({"tiers": (MeterTier(up_to=0, unit=Decimal(1)), MeterTier(unit=Decimal(1)))}, "rise from above zero"),
        ({"currency": "XXX"}, "not a known currency"),
    ],
)
def test_a_meter_that_says_nothing_clear_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        METER.decide(DefineMeter(meter(**changes)), Meters())


def test_a_meter_keeps_what_it_counts_and_prices_of_the_past() -> None:
    stands = Meters((meter(),))
    with pytest.raises(Rejected, match="let the next begin later"):
        METER.decide(DefineMeter(meter()), stands)
    with pytest.raises(Rejected, match="keeps its unit"):
        METER.decide(DefineMeter(meter(effective_from=SEPTEMBER, aggregation="max")), stands)
    (event,) = METER.decide(DefineMeter(meter(effective_from=SEPTEMBER)), stands)
    after = METER.evolve(stands, event)
    assert [after.in_force(instant_ms(at)) for at in (AUGUST, SEPTEMBER)] == list(after.versions)
    assert [version.version for version in after.versions] == [1, 2]
    assert after.in_force(instant_ms(AUGUST) - 1) is None


REPORTED = ReportUsage("acme", "vision", "tokens", "gateway", "req-1", AUGUST, 7, None, instant_ms(SEPTEMBER))


def test_what_a_source_said_stands_for_ever_and_the_same_again_changes_nothing() -> None:
    (event,) = REPORT.decide(REPORTED, None)
    stands = REPORT.evolve(None, event)
    elsewhere = replace(REPORTED, used_at=AUGUST.astimezone(UTC) + timedelta(0), now_ms=instant_ms(SEPTEMBER) + 10**12)
    assert REPORT.decide(elsewhere, stands) == []
    for change in ({"value": 8}, {"project_id": "speech"}, {"meter_id": "other"}, {"subject": "x"}):
        with pytest.raises(Rejected, match="with another content"):
            REPORT.decide(replace(REPORTED, **change), stands)
    with pytest.raises(Invalid, match="has not come yet"):
        REPORT.decide(replace(REPORTED, used_at=SEPTEMBER + HOUR), None)


def report(event_id: str, at: datetime, value: int, meter_id: str = "tokens", **more: str) -> dict[str, object]:
    told = {"meter_id": meter_id, "source": "gateway", "source_event_id": event_id, "used_at": spelled(at)}
    return {**told, "value": str(value), **more}


async def test_storage_and_tokens_are_reported_late_twice_and_in_any_order_and_cost_what_they_should(
    stack: TestStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with (
        stack.fresh_log() as log,
        stack.fresh_database() as dsn,
        world_on(settings_on(log.url, dsn, tmp_path_factory.mktemp("meters"))) as world,
    ):
        await world.tenant("acme")
        await world.identities.member("acme", "vision")
        world.position = await world.service.log.last_position()
        tokens = {"meter_id": "tokens", "unit": "1000 tokens", "aggregation": "sum", "per_unit": "1000"}
        tokens |= {"currency": "EUR", "effective_from": spelled(AUGUST)}
        tiers = [{"up_to": "10", "unit": "0.50"}, {"unit": "0.25"}]
        await world.post("/v1/meters", tokens | {"price_model": "graduated", "tiers": tiers}, 201)
        storage = {"meter_id": "storage", "unit": "GB-hour", "aggregation": "time-weighted", "currency": "EUR"}
        storage |= {"per_unit": str(10**9 * 3_600_000), "effective_from": spelled(AUGUST)}
        await world.post("/v1/meters", storage | {"tiers": [{"unit": "0.01"}]}, 201)

        home = "/v1/tenants/acme"
        door = f"{home}/projects/vision/usage-reports"
        later = report("v-2", AUGUST + 30 * HOUR, 0, "storage", subject="vol-7")
        first = await world.post(door, {"reports": [later, report("r-1", AUGUST + HOUR, 11_500)]}, 201)
        assert [each["repeated"] for each in first["items"]] == [False, False]
        early = report("v-1", AUGUST - 24 * HOUR, 50 * 10**9, "storage", subject="vol-7")
        again = await world.post(door, {"reports": [early, report("r-1", AUGUST + HOUR, 11_500)]}, 201)
        assert [each["repeated"] for each in again["items"]] == [False, True]
        world.position = max(world.position, first["position"], again["position"])

        told = await world.get(f"{home}/metered-charges", month="2026-08")
        shown = {each["meter_id"]: (each["quantity"], each["amount"]) for each in told["items"]}
        # Ten thousand at 0.50 and 1.5 at 0.25; 50 GB from the 1st 00:00 on for 30 hours.
        assert shown == {"tokens": ("11500", "5.38"), "storage": (str(50 * 10**9 * 30 * 3_600_000), "15.00")}
        page = await world.get(f"{home}/metered-charges", month="2026-08", limit=1)
        rest = await world.get(f"{home}/metered-charges", month="2026-08", limit=1, cursor=page["next_cursor"])
        assert [page["items"][0]["meter_id"], rest["items"][0]["meter_id"]] == ["storage", "tokens"]
        assert len((await world.get(f"{home}/usage-reports"))["items"]) == 3

        other = await world.post(door, {"reports": [report("r-1", AUGUST + HOUR, 1)]}, 409)
        assert "with another content" in other["detail"]
        twice = [report("r-9", AUGUST, 1), report("r-9", AUGUST, 1)]
        assert "send each once" in (await world.post(door, {"reports": twice}, 422))["detail"]
        assert "no meter gas" in (await world.post(door, {"reports": [report("r-2", AUGUST, 1, "gas")]}, 404))["detail"]
        await world.post(door, {"reports": [report("r-2", AUGUST, -1)]}, 422)
        mine = await world.identities.member("acme", None, "billing.usage-report.read")
        assert len((await world.get(f"{home}/usage-reports", mine, limit=2))["items"]) == 2
