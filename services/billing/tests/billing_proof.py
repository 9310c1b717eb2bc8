"""What the log holds of billing, before the verifier that a tenant has. One law: only logged bytes go into it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import msgspec
from gpuaas.common.log import EventLog
from gpuaas.verify.fields import Fields
from gpuaas.verify.followups import (
    CORRECTION_ISSUED,
    CREDIT_NOTE_ISSUED,
    INVOICE_PAYMENT_RECORDED,
    Followed,
    check_followups,
)
from gpuaas.verify.invoices import (
    BILLING_RUN_STARTED,
    INVOICE_FINALIZED,
    PRICE_BOOK_PUBLISHED,
    USAGE_METERED,
    Account,
    check_content,
    check_lines,
    check_run,
    check_total,
    check_usage,
    usage_digest,
)
from gpuaas.verify.leaves import ProvedEvent
from gpuaas.verify.strict_json import parse_object


async def logged(log: EventLog) -> list[ProvedEvent]:
    """Every event, as the verifier has it once it is proved to be in the log."""
    found = []
    for position in range(1, await log.last_position() + 1):
        recorded = await log.at(position)
        assert recorded is not None
        envelope = msgspec.json.decode(recorded.payload)
        _, service, entity, _, entity_id = recorded.subject.split(".")
        data = parse_object(msgspec.json.encode(envelope["data"]), recorded.type)
        sequence = int(envelope["sequence"])
        head = (position, position, envelope["id"], recorded.type, service, entity, entity_id)
        found.append(ProvedEvent(*head, Fields(data, f"{recorded.type} at {position}"), sequence))
    return found


def verified(events: list[ProvedEvent], tenant_id: str, invoice_id: str) -> Followed:
    """Everything that `gpuaas verify invoice` computes about one invoice; how it stands."""
    account = _account(events, tenant_id, invoice_id)
    check_content(account)
    check_run(account)
    check_usage(account)
    check_lines(account)
    check_total(account)
    return check_followups(account)


def _account(events: list[ProvedEvent], tenant_id: str, invoice_id: str) -> Account:
    def of(*kinds: str, **members: str) -> list[ProvedEvent]:
        of_kind = [each for each in events if each.type in kinds]
        return [each for each in of_kind if all(each.data.text(name) == value for name, value in members.items())]

    (invoice,) = of(INVOICE_FINALIZED, tenant_id=tenant_id, invoice_id=invoice_id)
    (run,) = of(BILLING_RUN_STARTED, run_id=invoice.data.text("run_id"))
    period = {name: invoice.data.text(name) for name in ("period_start", "period_end")}
    invoices = of(INVOICE_FINALIZED, tenant_id=tenant_id, **period)
    usages = {each.data.text("usage_id"): each for each in of(USAGE_METERED, tenant_id=tenant_id)}
    parts = {line["line_id"]: _part(line, list(usages)) for line in invoice.data.items("lines")}
    billed = {usage_id for ids in parts.values() for usage_id in ids}
    ids = {each.data.text("invoice_id") for each in invoices}
    return Account(
        tenant_id=tenant_id,
        invoice=invoice,
        run=run,
        usages={usage_id: usage for usage_id, usage in usages.items() if usage_id in billed},
        facts={each.event_id: each for each in events if each.service == "allocations"},
        price_books={
            (each.data.text("price_book_id"), each.data.integer("version")): each for each in of(PRICE_BOOK_PUBLISHED)
        },
        parts=parts,
        earlier=[each for each in invoices if each.position < run.position],
        later=[each for each in invoices if each.position > invoice.position],
        followups=[
            each for each in of(CREDIT_NOTE_ISSUED, INVOICE_PAYMENT_RECORDED) if each.data.text("invoice_id") in ids
        ],
        corrections=of(CORRECTION_ISSUED, tenant_id=tenant_id, **period),
    )


def _part(line: dict[str, Any], usage_ids: list[str]) -> list[str]:
    """The usages of a line, found by its digest among all there are."""
    for chosen in combinations(usage_ids, line["usage_count"]):
        if usage_digest(chosen) == line["usage_sha256"]:
            return list(chosen)
    raise AssertionError(f"{line['line_id']} is made of no usages that the log holds")
