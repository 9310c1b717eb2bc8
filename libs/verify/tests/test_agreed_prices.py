"""Contracts, campaigns and hours in a bundle: an honest line verifies, and each lie about a price is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.bundles import verify_bundle
from gpuaas.verify.policy import trusting
from gpuaas.verify.reports import Report

Json = dict[str, Any]
JANUARY = "2026-01-01T00:00:00Z"


@pytest.fixture
def judge(tmp_path: Path) -> Callable[[Any], Report]:
    def _judge(world: Any) -> Report:
        world.seal_content()
        (tmp_path / "bundle.json").write_text(json.dumps(world.bundle()))
        return verify_bundle(tmp_path / "bundle.json", trusting(world.vkey))

    return _judge


@pytest.fixture
def agreed(make_world: Any) -> Any:
    """u1 holds 8 GPUs on a Sunday from 00:00 to 01:30 in London, u2 one on Monday; nights from 00:30; 20 % off."""

    class Agreed(make_world):  # type: ignore[misc]
        def _book(self) -> None:
            super()._book()
            data = self.events["book"]["data"]
            data |= {"time_zone": "Europe/London", "utc_offsets": [{"since": JANUARY, "offset_s": 0}]}
            night = {"band_id": "night", "weekdays": [7], "begins": "00:30", "ends": "06:00", "amount": "1.00"}
            data["prices"][0]["bands"] = [night]
            self.agree("contract", self.tenant, {"percent_off": "20"})

        def agree(self, kind: str, owner: str, rule: Json, **more: Any) -> None:
            made = {"agreement_id": f"{kind}-1", "tenant_id": owner, "kind": kind, "currency": "EUR", "precedence": 0}
            made |= {"effective_from": JANUARY, "rules": [rule], "reason": "agreed"} | more
            about = ("billing.price-agreement-made", "price-agreement", owner, made["agreement_id"])
            self.add(f"agreement-{kind}", *about, made)

    world = Agreed()
    night = world.line()
    night |= {"gpu_ms": "28800000", "unit_price": "0.8", "amount": "6.40", "usage_count": 1, "list_price": "2.4995"}
    night |= {"usage_sha256": sha("u1"), "price_key": "band:night contract:contract-1/1"}
    night["applied"] = [step("band", "night", "1.00"), step("contract", "contract-1", "0.8", rule=1)]
    day = night | {"line_id": "l2", "gpu_ms": "14401999", "unit_price": "1.9996", "amount": "8.00", "usage_count": 2}
    day |= {"usage_sha256": sha("u1\nu2"), "price_key": "contract:contract-1/1"}
    day["applied"] = [step("contract", "contract-1", "1.9996", rule=1)]
    world.events["invoice"]["data"] |= {"lines": [night, day], "total": "14.40"}
    return world


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def step(kind: str, name: str, price: str, **more: Any) -> Json:
    return {"step": kind, "name": name, "price": price, "reason": "agreed"} | more


def test_lines_by_contract_and_hours_are_verified(agreed: Any, judge: Any) -> None:
    report = judge(agreed)
    assert (report.verdict, report.detail) == ("verified", "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"unit_price": "0.9"}, "wrong-price"),
        ({"amount": "6.41"}, "wrong-amount"),
        ({"gpu_ms": "28800001"}, "wrong-line"),
        ({"list_price": "2.5"}, "wrong-price"),
        ({"price_key": "band:night"}, "wrong-line"),
        ({"applied": [step("contract", "contract-1", "0.8", rule=1)]}, "wrong-price"),
        ({"usage_count": 2}, "wrong-usage"),
    ],
)
def test_a_line_that_says_something_else_is_refuted(agreed: Any, judge: Any, change: Json, reason: str) -> None:
    agreed.line().update(change)
    assert judge(agreed).reason == reason


def test_usage_that_stands_on_no_line_is_found(agreed: Any, judge: Any) -> None:
    agreed.events["invoice"]["data"]["lines"].pop()
    assert judge(agreed).reason == "wrong-lines"


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("agreement-contract", {"rules": [{"percent_off": "10"}]}),
        ("agreement-contract", {"rules": [{"gpu_models": ["l4"], "percent_off": "20"}]}),
        ("agreement-contract", {"rules": [{"label_name": "team", "percent_off": "20"}]}),
        ("agreement-contract", {"effective_until": "2026-03-01T00:10:00Z"}),
        ("agreement-contract", {"currency": "USD"}),
        ("agreement-contract", {"tenant_id": "bolt"}),
        ("book", {"utc_offsets": [{"since": JANUARY, "offset_s": 3600}]}),
    ],
)
def test_other_terms_than_were_published_are_refuted(agreed: Any, judge: Any, where: str, change: Json) -> None:
    agreed.events[where]["data"].update(change)
    assert judge(agreed).verdict == "refuted"


def test_a_campaign_for_all_that_would_have_been_cheaper_may_not_be_left_out(agreed: Any, judge: Any) -> None:
    agreed.agree("campaign", "platform", {"percent_off": "1"})
    agreed.order.insert(0, agreed.order.pop())
    assert judge(agreed).verdict == "refuted"
    agreed.events["agreement-campaign"]["data"] |= {"rules": [{"amount": "5"}]}
    assert judge(agreed).verdict == "verified"


def test_an_agreement_that_the_run_had_not_read_counts_nothing(agreed: Any, judge: Any) -> None:
    agreed.agree("campaign", "platform", {"percent_off": "50"})
    assert judge(agreed).verdict == "verified"


def test_where_a_contract_was_ended_is_part_of_what_was_agreed(agreed: Any, judge: Any) -> None:
    end = {"agreement_id": "contract-1", "tenant_id": "acme", "ends_at": "2026-03-01T01:00:00Z", "reason": "why"}
    agreed.add("no-longer", "billing.price-agreement-ended", "price-agreement", "acme", "contract-1", end)
    agreed.order.insert(0, agreed.order.pop())
    assert judge(agreed).verdict == "refuted"
    end["ends_at"] = "2026-03-03T00:00:00Z"
    assert judge(agreed).verdict == "verified"
