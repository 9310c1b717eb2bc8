"""Invoice bundles: an honest one verifies, and each lie is refused for its own reason."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from gpuaas.verify.bundles import verify_bundle
from gpuaas.verify.invoices import rounded
from gpuaas.verify.main import main
from gpuaas.verify.policy import trusting
from gpuaas.verify.reports import Report

Json = dict[str, Any]


def digest(*usage_ids: str) -> str:
    return hashlib.sha256("\n".join(usage_ids).encode()).hexdigest()


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Report]:
    def _judge(bundle: Json | bytes, *keys: str, tenant: str | None = None) -> Report:
        content = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
        (tmp_path / "bundle.json").write_bytes(content)
        return verify_bundle(tmp_path / "bundle.json", trusting(*keys), tenant)

    return _judge


def test_an_honest_invoice_is_verified(world: Any, judge: Any) -> None:
    report = judge(world.bundle(), world.vkey, tenant="acme")
    assert (report.verdict, report.detail) == ("verified", "")
    assert [check.name for check in report.checks][-5:] == ["content", "run", "usage", "lines", "total"]
    assert report.facts["total"] == "30.00 EUR"
    assert report.facts["gpu_ms"] == "43201999"


def test_a_folder_and_a_compressed_file_are_read_too(world: Any, tmp_path: Path) -> None:
    content = json.dumps(world.bundle()).encode()
    (tmp_path / "bundle.json.gz").write_bytes(gzip.compress(content))
    for path in (tmp_path, tmp_path / "bundle.json.gz"):
        assert verify_bundle(path, trusting(world.vkey)).verdict == "verified"


def shared(world: Any) -> None:
    """u2 holds a third of its GPU: 1,999 ms x 333 thousandths are 665,667 GPU-microseconds."""
    for name in ("started-u2", "released-u2", "u2"):
        world.events[name]["data"]["share_milli"] = 333
    world.events["u2"]["data"].update(gpu_ms="665", gpu_us="665667")
    world.line().update(gpu_ms="43200665", gpu_us="43200665667", amount="29.99")
    world.events["invoice"]["data"]["total"] = "29.99"
    world.seal_content()


def test_a_share_of_a_gpu_is_exact_to_the_microsecond(world: Any, judge: Any) -> None:
    shared(world)
    assert judge(world.bundle(), world.vkey).verdict == "verified"
    world.line()["gpu_us"] = "43200665668"
    world.seal_content()
    assert judge(world.bundle(), world.vkey).verdict == "refuted"


def test_a_share_that_its_allocation_did_not_have_is_refuted(world: Any, judge: Any) -> None:
    shared(world)
    del world.events["started-u2"]["data"]["share_milli"]
    assert judge(world.bundle(), world.vkey).verdict == "refuted"


def test_a_holding_that_is_cut_names_its_start_and_goes_on_or_ends(world: Any, judge: Any) -> None:
    world.events["started-u1"]["data"]["started_at"] = "2026-02-01T00:00:00Z"
    assert judge(world.bundle(), world.vkey).reason == "wrong-usage"
    world.events["u1"]["data"].update(part=2)
    assert judge(world.bundle(), world.vkey).verdict == "verified"
    world.events["u1"]["data"].update(interim=True)
    assert judge(world.bundle(), world.vkey).reason == "wrong-usage"
    world.events["u1"]["data"].update(end_event_id="id-started-u1")
    assert judge(world.bundle(), world.vkey).verdict == "verified"


def other_amount(world: Any) -> None:
    world.line()["amount"] = "30.01"
    world.events["invoice"]["data"]["total"] = "30.01"
    world.seal_content()


def other_total(world: Any) -> None:
    world.events["invoice"]["data"]["total"] = "29.99"
    world.seal_content()


def other_price(world: Any) -> None:
    world.line().update(unit_price="2.50", amount="30.00")
    world.seal_content()


def unpublished_model(world: Any) -> None:
    for event in world.events.values():
        if "gpu_model" in event["data"]:
            event["data"]["gpu_model"] = "b200"
    world.line()["gpu_model"] = "b200"
    world.seal_content()


def unpublished_book(world: Any) -> None:
    world.line()["price_book_version"] = 4
    world.seal_content()


def stale_content(world: Any) -> None:
    world.events["invoice"]["data"]["currency"] = "USD"


def other_currency(world: Any) -> None:
    world.events["book"]["data"]["currency"] = "USD"


def expired_book(world: Any) -> None:
    world.events["book"]["data"]["effective_until"] = "2026-03-01T12:00:00Z"


def later_book(world: Any) -> None:
    world.order.append(world.order.pop(world.order.index("book")))


def stretched_usage(world: Any) -> None:
    world.events["u2"]["data"]["gpu_ms"] = "2000"


def moved_start(world: Any) -> None:
    world.events["started-u1"]["data"]["started_at"] = "2026-03-01T00:00:01Z"


def moved_end(world: Any) -> None:
    world.events["released-u1"]["data"]["ended_at"] = "2026-03-01T01:31:00Z"


def fewer_gpus(world: Any) -> None:
    world.events["started-u1"]["data"]["gpu_count"] = 4


def other_project(world: Any) -> None:
    for name in ("started-u1", "released-u1", "u1"):
        world.events[name]["data"]["project_id"] = "web"


def no_release(world: Any) -> None:
    world.events["u1"]["data"]["end_event_id"] = "id-nowhere"


def metered_before_it_ended(world: Any) -> None:
    world.order.append(world.order.pop(world.order.index("released-u1")))


def other_run(world: Any) -> None:
    world.events["run"]["data"]["run_id"] = "r2"


def run_of_another_period(world: Any) -> None:
    world.events["run"]["data"]["period_end"] = "2026-05-01T00:00:00Z"


def run_that_read_too_far(world: Any) -> None:
    world.events["run"]["data"]["log_position"] = "1000"


def run_that_had_not_read_that_far(world: Any) -> None:
    world.events["run"]["data"]["log_position"] = "15"


def bounded(world: Any, start: str) -> None:
    for name in ("invoice", "run"):
        world.events[name]["data"]["period_start"] = start
    world.seal_content()


def other_period(world: Any) -> None:
    bounded(world, "2026-03-01T02:00:00Z")


def shorter_period(world: Any) -> None:
    bounded(world, "2026-03-01T01:00:00Z")


def free_millisecond(world: Any) -> None:
    """The price ends a second before the usage does, and the line does not bill the rest."""
    world.events["book"]["data"]["effective_until"] = "2026-03-02T00:00:01Z"
    world.line().update(gpu_ms="43201000", amount="29.99")
    world.events["invoice"]["data"]["total"] = "29.99"
    world.seal_content()


def summed_wrongly(world: Any) -> None:
    world.line()["gpu_ms"] = "43202000"
    world.seal_content()


def other_set(world: Any) -> None:
    world.line()["usage_sha256"] = "0" * 64
    world.seal_content()


def disagreeing_subject(world: Any) -> None:
    world.events["u1"]["subject"] = "usage/acme/other"


def foreign_invoice(world: Any) -> None:
    world.events["invoice"]["data"]["tenant_id"] = "bolt"
    world.seal_content()


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (other_amount, "wrong-amount"),
        (other_total, "wrong-total"),
        (other_price, "wrong-price"),
        (unpublished_model, "wrong-price"),
        (unpublished_book, "missing-event"),
        (stale_content, "content-differs"),
        (other_currency, "wrong-price"),
        (expired_book, "wrong-period"),
        (later_book, "wrong-price"),
        (stretched_usage, "wrong-usage"),
        (moved_start, "wrong-usage"),
        (moved_end, "wrong-usage"),
        (fewer_gpus, "wrong-usage"),
        (other_project, "wrong-line"),
        (no_release, "missing-event"),
        (metered_before_it_ended, "wrong-order"),
        (other_run, "wrong-run"),
        (run_of_another_period, "wrong-run"),
        (run_that_read_too_far, "wrong-order"),
        (run_that_had_not_read_that_far, "wrong-order"),
        (other_period, "wrong-period"),
        (shorter_period, "wrong-line"),
        (free_millisecond, "wrong-lines"),
        (summed_wrongly, "wrong-line"),
        (other_set, "wrong-usage"),
        (disagreeing_subject, "other-event"),
        (foreign_invoice, "foreign-tenant"),
    ],
)
def test_a_log_that_holds_a_wrong_bill_is_refuted(world: Any, judge: Any, lie: Any, reason: str) -> None:
    lie(world)
    report = judge(world.bundle(), world.vkey)
    assert (report.verdict, report.reason) == ("refuted", reason), report.detail


def test_usage_is_cut_where_the_price_changes_and_at_the_bounds_of_the_period(world: Any, judge: Any) -> None:
    cut = "2026-03-01T01:00:00Z"
    prices = [{"gpu_model": "h100", "unit": "gpu-hour", "amount": "3"}]
    data = {"price_book_id": "list", "version": 4, "currency": "EUR", "effective_from": cut, "prices": prices}
    world.add("book-4", "billing.price-book-published", "price-book", "platform", "list", data)
    world.order.insert(0, world.order.pop())
    invoice = world.events["invoice"]["data"]
    invoice["period_start"] = world.events["run"]["data"]["period_start"] = "2026-03-01T00:30:00Z"
    before = world.line() | {"gpu_ms": "14400000", "amount": "10.00", "usage_count": 1, "usage_sha256": digest("u1")}
    after = world.line() | {"line_id": "l2", "gpu_ms": "14401999", "price_book_version": 4, "unit_price": "3.00"}
    invoice |= {"lines": [before, after | {"amount": "12.00"}], "total": "22.00"}
    world.seal_content()
    bundle = world.bundle()
    bundle["lines"] = {"l1": ["u1"], "l2": ["u1", "u2"]}
    assert judge(bundle, world.vkey).detail == ""
    bundle["price_books"] = [book for book in bundle["price_books"] if "4" not in book["entry"]["id"]]
    assert judge(bundle, world.vkey).verdict == "refuted"


def test_a_later_invoice_of_the_period_continues_the_earlier_one(world: Any, judge: Any) -> None:
    earlier = json.loads(json.dumps(world.events["invoice"]["data"])) | {"invoice_id": "inv-0"}
    earlier["lines"][0] |= {"gpu_ms": "1", "amount": "0.01"}
    world.add("earlier", "billing.invoice-finalized", "invoice", "acme", "inv-0", earlier)
    world.order.insert(0, world.order.pop())
    world.line()["amount"] = world.events["invoice"]["data"]["total"] = "29.99"
    world.seal_content()
    bundle = world.bundle()
    assert judge(bundle, world.vkey).detail == ""
    bundle["earlier_invoices"] = []
    assert judge(bundle, world.vkey).reason == "wrong-amount"
    world.order.append(world.order.pop(0))
    assert judge(world.bundle(), world.vkey).reason == "wrong-order"


def test_an_invoice_that_corrects_earlier_lines_is_recomputed_from_their_quantities(world: Any, judge: Any) -> None:
    earlier = json.loads(json.dumps(world.events["invoice"]["data"])) | {"invoice_id": "inv-0"}
    world.add("earlier", "billing.invoice-finalized", "invoice", "acme", "inv-0", earlier)
    world.order.insert(0, world.order.pop())
    note: Json = {"credit_note_id": "n1", "invoice_id": "inv-0", "invoice_number": "2026-000001", "run_id": "r1"}
    note |= {
        "tenant_id": "acme",
        "currency": "EUR",
        "reason": "correction",
        "taxes": [],
        "net": "0.50",
        "gross": "0.50",
    }
    note["lines"] = [{"line_id": "l1", "amount": "0.50"}]
    text = json.dumps(note, sort_keys=True, separators=(",", ":"))
    note["content_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    change = {name: earlier["lines"][0][name] for name in ("project_id", "gpu_model", "gpu_ms", "price_book_id")}
    change |= {"price_book_version": 3, "unit_price": "2.60", "before": "29.50", "after": "31.20"}
    correction = {name: earlier[name] for name in ("tenant_id", "currency", "period_start", "period_end")}
    correction |= {"correction_id": "c1", "changes": [change], "difference": "1.70", "credit_note_ids": []}
    correction["invoice_id"] = "inv-1"
    world.add("note", "billing.credit-note-issued", "invoice", "acme", "inv-0", note)
    world.order.insert(1, world.order.pop())
    world.add("correction", "billing.correction-issued", "correction", "acme", "p-1", correction)
    world.order.insert(2, world.order.pop())
    corrects: Json = {"lines": [{"invoice_id": "inv-0", "line_id": "l1"}], "credited": "0.50"}
    # 43,201,999 GPU-ms at 2.60 are 31.20; 30.00 less 0.50 stood.
    world.line().update(gpu_ms="0", unit_price="2.60", amount="1.70", usage_count=0, usage_sha256=digest())
    world.line()["corrects"] = corrects
    world.events["invoice"]["data"]["total"] = "1.70"

    def judged() -> Report:
        world.seal_content()
        bundle = world.bundle_with(followups=["note"], corrections=["correction"])
        bundle |= {"lines": {"l1": []}, "usages": [], "allocation_events": []}
        told: Report = judge(bundle, world.vkey)
        return told

    assert (judged().verdict, judged().detail) == ("verified", "")
    corrects["credited"] = "0.00"
    assert judged().reason == "wrong-amount"
    corrects.update(credited="0.50", lines=[{"invoice_id": "inv-0", "line_id": "l2"}])
    assert judged().reason == "missing-event"


def test_bytes_other_than_the_logged_ones_are_refuted(world: Any, judge: Any) -> None:
    bundle, changed = world.bundle(), world.bundle()
    other = world.events["u1"]["data"] | {"gpu_count": 9}
    world.events["u1"] = world.events["u1"] | {"data": other}
    bundle["usages"][0]["payload"] = world.bundle()["usages"][0]["payload"]
    assert judge(bundle, world.vkey).reason == "other-bytes"
    changed["usages"][0]["payload"] = bundle["usages"][0]["payload"]
    changed["usages"][0]["entry"]["sha256"] = world.bundle()["usages"][0]["entry"]["sha256"]
    assert judge(changed, world.vkey).reason == "not-included"


def test_a_swapped_proof_or_index_is_refuted(world: Any, judge: Any) -> None:
    bundle = world.bundle()
    first, second = bundle["usages"]
    first["proof"], second["proof"] = second["proof"], first["proof"]
    assert judge(bundle, world.vkey).reason == "not-included"
    bundle = world.bundle()
    bundle["usages"][0]["index"] = bundle["usages"][1]["index"]
    assert judge(bundle, world.vkey).reason == "not-included"


def test_a_checkpoint_of_another_tree_profile_or_key_is_refuted(world: Any, make_world: Any, judge: Any) -> None:
    bundle = world.bundle()
    bundle["checkpoints"]["platform"] = bundle["checkpoints"]["tenants/acme"]
    assert judge(bundle, world.vkey).reason == "wrong-tree"
    production = make_world(log="gpuaas.example/production")
    assert judge(production.bundle(), world.vkey).reason == "unknown-origin"
    other_tenant = make_world(tenant="bolt")
    bundle = world.bundle()
    bundle["checkpoints"]["tenants/acme"] = other_tenant.bundle()["checkpoints"]["tenants/bolt"]
    assert judge(bundle, world.vkey).reason == "wrong-tree"


def test_a_mixture_of_two_logs_is_refuted(world: Any, make_world: Any, make_signer: Any, judge: Any) -> None:
    other = make_world(log="gpuaas.example/other", signer=make_signer(b"\x08" * 32))
    bundle = world.bundle()
    bundle["checkpoints"]["platform"] = other.bundle()["checkpoints"]["platform"]
    report = judge(bundle, world.vkey, other.vkey)
    assert (report.verdict, report.reason) == ("refuted", "wrong-tree")


def test_a_fork_signed_by_the_true_key_does_not_carry_the_other_sides_proofs(
    world: Any, make_world: Any, judge: Any
) -> None:
    fork = make_world()
    fork.events["u1"]["data"]["gpu_ms"] = "1"
    bundle = world.bundle()
    bundle["checkpoints"]["tenants/acme"] = fork.bundle()["checkpoints"]["tenants/acme"]
    assert judge(bundle, world.vkey).reason == "not-included"


def test_a_truncated_tree_is_refuted(world: Any, make_world: Any, judge: Any) -> None:
    short = make_world()
    short.order.remove("invoice")
    bundle = world.bundle()
    short.order.append("invoice")
    whole = short.bundle()["checkpoints"]["tenants/acme"]
    size = whole.split("\n")[1]
    bundle["checkpoints"]["tenants/acme"] = world.signer.checkpoint(
        f"{world.log}/tenants/acme", int(size) - 1, bytes(32)
    )
    assert judge(bundle, world.vkey).reason == "not-included"


def test_another_tenants_bundle_is_refuted(world: Any, make_world: Any, judge: Any) -> None:
    assert judge(make_world(tenant="bolt").bundle(), world.vkey, tenant="acme").reason == "foreign-tenant"
    bundle = make_world(tenant="bolt").bundle()
    bundle["tenant_id"] = "acme"
    assert judge(bundle, world.vkey).reason == "wrong-tree"


def test_a_usage_left_out_or_billed_twice_is_refuted(world: Any, judge: Any) -> None:
    bundle = world.bundle()
    bundle["usages"].pop()
    assert judge(bundle, world.vkey).reason == "missing-event"
    bundle = world.bundle()
    bundle["usages"].append(bundle["usages"][0])
    assert judge(bundle, world.vkey).reason == "repeated"
    bundle = world.bundle()
    bundle["lines"]["l1"] = ["u1"]
    assert judge(bundle, world.vkey).reason == "wrong-usage"


def without(name: str) -> Callable[[Json], None]:
    return lambda bundle: bundle.pop(name)


def with_extra(bundle: Json) -> None:
    bundle["trust"] = "me"


def with_float(bundle: Json) -> None:
    bundle["usages"][0]["entry"]["v"] = 1.0


def with_other_version(bundle: Json) -> None:
    bundle["usages"][0]["entry"]["v"] = 2


def with_loose_base64(bundle: Json) -> None:
    bundle["usages"][0]["proof"][0] = bundle["usages"][0]["proof"][0].rstrip("=")


def with_signed_index(bundle: Json) -> None:
    bundle["usages"][0]["index"] = "+1"


@pytest.mark.parametrize(
    "damage",
    [
        without("invoice"),
        without("usages"),
        without("checkpoints"),
        without("format"),
        with_extra,
        with_float,
        with_other_version,
        with_loose_base64,
        with_signed_index,
    ],
)
def test_a_malformed_bundle_is_unusable(world: Any, judge: Any, damage: Any) -> None:
    bundle = world.bundle()
    damage(bundle)
    assert judge(bundle, world.vkey).verdict == "unusable"


def test_a_duplicate_key_anywhere_is_unusable(world: Any, judge: Any) -> None:
    content = json.dumps(world.bundle()).encode()
    assert (
        judge(content.replace(b'"tenant_id"', b'"tenant_id": "acme", "tenant_id"', 1), world.vkey).reason
        == "duplicate-key"
    )


def test_money_is_rounded_half_away_from_zero() -> None:
    assert rounded(Fraction("0.005"), "EUR") == Fraction("0.01")
    assert rounded(Fraction("-0.005"), "EUR") == Fraction("-0.01")
    assert rounded(Fraction("0.0049999"), "EUR") == 0
    assert rounded(Fraction("2.5"), "JPY") == 3
    assert rounded(Fraction("0.0005"), "KWD") == Fraction("0.001")


def test_the_command_line_says_verified_refuted_or_unusable(world: Any, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps(world.bundle()))
    policy = tmp_path / "policy"
    policy.write_text(f"log {world.vkey}\nquorum none\n")
    assert main(["invoice", str(path), "--key", world.vkey]) == 0
    assert main(["invoice", str(path), "--policy", str(policy), "--tenant", "acme"]) == 0
    assert "VERIFIED" in capsys.readouterr().out
    assert main(["invoice", str(path), "--key", world.vkey, "--tenant", "bolt", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "foreign-tenant"
    assert main(["invoice", str(path)]) == 2
    assert "no-trust" in capsys.readouterr().out
    assert main(["invoice", str(tmp_path / "absent.json"), "--key", world.vkey]) == 2
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"{}")[:12])
    assert main(["invoice", str(tmp_path / "cut.json.gz"), "--key", world.vkey]) == 2
