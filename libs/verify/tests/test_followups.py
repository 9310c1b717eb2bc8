"""Credit notes, voids, payments and corrections: honest ones verify, each lie is refused for its own reason."""

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
PERIOD = {"period_start": "2026-03-01T00:00:00Z", "period_end": "2026-04-01T00:00:00Z"}


def sealed(data: Json) -> Json:
    content = {name: value for name, value in data.items() if name != "content_sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return content | {"content_sha256": hashlib.sha256(text.encode()).hexdigest()}


class Books:
    """The honest log of `conftest`, its invoice taxed at 19 %, and what follows it. Change `data` before judging."""

    def __init__(self, world: Any, judge: Callable[..., Report]) -> None:
        self.world, self._judge = world, judge
        self.data: dict[str, Json] = {}
        self._sections: dict[str, list[str]] = {"later_invoices": [], "followups": [], "corrections": []}
        self.invoice = world.events["invoice"]["data"]
        self.invoice |= {"taxes": [{"category": "S", "percent": "19", "net": "30.00", "tax": "5.70"}], "gross": "35.70"}
        world.seal_content()
        world.events["invoice"]["sequence"] = "0000000001"

    def add(self, name: str, kind: str, section: str, owner: str, data: Json) -> Json:
        entity = "correction" if section == "corrections" else "invoice"
        event = self.world.add(name, f"billing.{kind}", entity, "acme", owner, data)
        if entity == "invoice":
            history = [each for each in self.world.events.values() if each["subject"] == event["subject"]]
            event["sequence"] = f"{len(history):010d}"
        self._sections[section].append(name)
        self.data[name] = data
        return data

    def note(self, name: str, amount: str, tax: str, gross: str, reason: str = "correction", **more: Any) -> Json:
        data: Json = {"credit_note_id": name, "number": "CN-1", "invoice_id": "inv-1", "invoice_number": "2026-000001"}
        data |= {"run_id": "r1", "tenant_id": "acme", "currency": "EUR", "reason": reason, "detail": "why"}
        data |= {"lines": [{"line_id": "l1", "amount": amount}], "net": amount, "gross": gross}
        data |= {"taxes": [{"category": "S", "percent": "19", "net": amount, "tax": tax}], **more}
        return self.add(name, "credit-note-issued", "followups", "inv-1", data)

    def pay(self, name: str, amount: str, paid: str, rate: str = "1", currency: str = "EUR") -> Json:
        data = {"payment_id": name, "invoice_id": "inv-1", "tenant_id": "acme", "currency": "EUR", "amount": amount}
        data |= {"paid_currency": currency, "paid_amount": paid, "rate": rate, "reference": "wire"}
        return self.add(name, "invoice-payment-recorded", "followups", "inv-1", data)

    def correct(self, name: str, price: str, before: str, after: str, difference: str, **more: Any) -> Json:
        change = {"project_id": "ml", "gpu_model": "h100", "price_book_id": "list", "price_book_version": 3}
        change |= {"gpu_ms": "43201999", "unit_price": price, "before": before, "after": after}
        data = {"correction_id": name, "tenant_id": "acme", "currency": "EUR", **PERIOD, "changes": [change]}
        data |= {"difference": difference, "credit_note_ids": [], **more}
        return self.add(name, "correction-issued", "corrections", "p-1", data)

    def extra(self, name: str, price: str, amount: str, tax: str, gross: str, credited: str) -> Json:
        line = self.world.line() | {"gpu_ms": "0", "unit_price": price, "amount": amount, "usage_count": 0}
        line |= {"usage_sha256": hashlib.sha256(b"").hexdigest()}
        line["corrects"] = {"lines": [{"invoice_id": "inv-1", "line_id": "l1"}], "credited": credited}
        data = self.invoice | {"invoice_id": name, "run_id": "r2", "number": "2026-000002", "lines": [line]}
        data |= {"total": amount, "gross": gross}
        data["taxes"] = [{"category": "S", "percent": "19", "net": amount, "tax": tax}]
        return self.add(name, "invoice-finalized", "later_invoices", name, data)

    def judged(self, *, seal: bool = True) -> Report:
        for name in self._sections["followups"]:
            if seal and name.startswith("n"):
                self.world.events[name]["data"] = sealed(self.data[name])
        return self._judge(self.world.bundle_with(**self._sections))

    def forget(self, name: str) -> None:
        for names in self._sections.values():
            if name in names:
                names.remove(name)


@pytest.fixture
def books(world: Any, tmp_path: Path) -> Books:
    def judge(bundle: Json) -> Report:
        (tmp_path / "bundle.json").write_text(json.dumps(bundle))
        return verify_bundle(tmp_path / "bundle.json", trusting(world.vkey), "acme")

    return Books(world, judge)


def test_notes_and_payments_that_follow_are_verified_and_what_is_owed_is_told(books: Books) -> None:
    books.note("n1", "0.05", "0.01", "0.06")
    books.note("n2", "0.05", "0.01", "0.06", "goodwill")
    # Together 0.15 are taxed with 0.03 (0.0285): the third note takes what the first two left of it.
    books.note("n3", "0.05", "0.01", "0.06")
    books.pay("p1", "9.00", "10.00", "0.9", "USD")
    report = books.judged()
    assert (report.verdict, report.detail) == ("verified", "")
    assert (report.facts["credited"], report.facts["owed"]) == ("0.18 EUR", "26.52 EUR")
    assert report.checks[-1].name == "followups"


def test_a_void_leaves_nothing(books: Books) -> None:
    books.note("n1", "10.00", "1.90", "11.90")
    books.note("n2", "20.00", "3.80", "23.80", "void")
    assert (books.judged().verdict, books.judged().facts["owed"]) == ("verified", "0.00 EUR")


def too_much(books: Books) -> None:
    books.note("n2", "29.00", "5.51", "34.51")


def half_a_cent(books: Books) -> None:
    books.note("n2", "0.005", "0.00", "0.005")


def unknown_line(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19")["lines"][0]["line_id"] = "l9"


def tax_of_a_note_alone(books: Books) -> None:
    """5.03 gives 0.9557 and so 0.96, but with the note before it is 7.03: 1.34 (1.3357) less 0.38."""
    books.note("n2", "5.03", "0.95", "5.98")


def untaxed(books: Books) -> None:
    books.note("n2", "1.00", "0.00", "1.00")["taxes"] = []


def another_sum(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.20")


def another_number(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19", invoice_number="2026-000009")


def another_run(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19", run_id="r9")


def of_no_invoice(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19", invoice_id="inv-9")


def half_a_void(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19", "void")


def void_of_a_paid_one(books: Books) -> None:
    books.pay("p1", "1.00", "1.00")
    books.note("n2", "28.00", "5.32", "33.32", "void")


def of_no_correction(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19", cause="cor-9")


def left_out(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19")
    books.note("n3", "1.00", "0.19", "1.19")
    books.forget("n2")


def told_twice(books: Books) -> None:
    books.note("n2", "1.00", "0.19", "1.19", credit_note_id="n1")


def another_rate(books: Books) -> None:
    books.pay("p1", "9.01", "10.00", "0.9", "USD")


def paid_twice(books: Books) -> None:
    books.pay("p1", "33.00", "33.00")
    books.pay("p2", "1.00", "1.00")


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (too_much, "over-credited"),
        (half_a_cent, "wrong-amount"),
        (unknown_line, "wrong-line"),
        (tax_of_a_note_alone, "wrong-tax"),
        (untaxed, "wrong-tax"),
        (another_sum, "wrong-total"),
        (another_number, "wrong-invoice"),
        (another_run, "wrong-invoice"),
        (of_no_invoice, "missing-event"),
        (half_a_void, "wrong-void"),
        (void_of_a_paid_one, "wrong-void"),
        (of_no_correction, "missing-event"),
        (left_out, "incomplete"),
        (told_twice, "repeated"),
        (another_rate, "wrong-amount"),
        (paid_twice, "over-paid"),
    ],
)
def test_a_note_or_payment_that_does_not_follow_is_refuted(books: Books, lie: Any, reason: str) -> None:
    books.note("n1", "2.00", "0.38", "2.38")
    lie(books)
    report = books.judged()
    assert (report.verdict, report.reason) == ("refuted", reason), report.detail


def test_a_note_whose_content_was_changed_is_refuted(books: Books) -> None:
    books.note("n1", "2.00", "0.38", "2.38")
    assert books.judged().verdict == "verified"
    books.world.events["n1"]["data"]["detail"] = "another reason"
    assert books.judged(seal=False).reason == "content-differs"


def cheaper(books: Books) -> None:
    """43,201,999 GPU-ms at 2.40 are 28.80; 30.00 less a gift of 1.00 stood, and a gift is nothing taken back."""
    books.note("n1", "1.00", "0.19", "1.19", "goodwill")
    books.correct("cor-1", "2.40", "30.00", "28.80", "-1.20", credit_note_ids=["n2"])
    books.note("n2", "1.20", "0.23", "1.43", cause="cor-1")


def dearer(books: Books) -> None:
    """At 2.60 they are 31.20; 30.00 less 0.50 stood."""
    books.note("n1", "0.50", "0.10", "0.60")
    books.correct("cor-1", "2.60", "29.50", "31.20", "1.70", invoice_id="inv-2")
    books.extra("inv-2", "2.60", "1.70", "0.32", "2.02", "0.50")


@pytest.mark.parametrize("corrected", [cheaper, dearer])
def test_a_correction_is_computed_again_from_what_stood(books: Books, corrected: Any) -> None:
    corrected(books)
    report = books.judged()
    assert (report.verdict, report.detail) == ("verified", "")


@pytest.mark.parametrize(
    ("corrected", "change", "reason"),
    [
        (cheaper, {"gpu_ms": "43202000"}, "wrong-quantity"),
        (cheaper, {"before": "29.00"}, "wrong-before"),
        (cheaper, {"unit_price": "2.30"}, "wrong-amount"),
        (dearer, {"after": "31.30"}, "wrong-amount"),
        (dearer, {"before": "30.00"}, "wrong-before"),
    ],
)
def test_a_correction_by_other_figures_is_refuted(books: Books, corrected: Any, change: Json, reason: str) -> None:
    corrected(books)
    books.data["cor-1"]["changes"][0] |= change
    assert books.judged().reason == reason


@pytest.mark.parametrize(
    ("corrected", "told", "reason"),
    [
        (cheaper, {"difference": "-1.30"}, "wrong-total"),
        (cheaper, {"period_end": "2026-05-01T00:00:00Z"}, "wrong-period"),
        (cheaper, {"credit_note_ids": []}, "wrong-correction"),
        (cheaper, {"credit_note_ids": ["n9"]}, "missing-event"),
        (dearer, {"invoice_id": "inv-9"}, "missing-event"),
        (dearer, {"invoice_id": None}, "wrong-correction"),
    ],
)
def test_a_correction_that_its_documents_do_not_tell_is_refuted(
    books: Books, corrected: Any, told: Json, reason: str
) -> None:
    corrected(books)
    books.data["cor-1"] |= told
    assert books.judged().reason == reason


@pytest.mark.parametrize(
    ("corrected", "forgotten", "reason"),
    [
        (cheaper, "cor-1", "missing-event"),
        (cheaper, "n2", "missing-event"),
        (dearer, "cor-1", "missing-event"),
        (dearer, "inv-2", "missing-event"),
    ],
)
def test_a_correction_without_one_of_its_parts_is_refuted(
    books: Books, corrected: Any, forgotten: str, reason: str
) -> None:
    corrected(books)
    books.forget(forgotten)
    assert books.judged().reason == reason


def test_an_extra_invoice_at_another_price_than_its_correction_is_refuted(books: Books) -> None:
    dearer(books)
    books.data["inv-2"]["lines"][0]["unit_price"] = "2.61"
    assert books.judged().reason == "wrong-price"
