"""Fixtures of the audit service's tests: a key, a trail in a database of its own, and a billed tenant's story."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from gpuaas.audit.adapters.key_file import Ed25519Key
from gpuaas.audit.adapters.watch_memory import WatchMemory
from gpuaas.audit.domain.checkpoints import LogKey
from gpuaas.audit.projections.audit_trail import AuditTrail
from gpuaas.audit.watching import Watching
from gpuaas.common.commands import Commands
from gpuaas.common.events import Event
from gpuaas.common.log import EventLog
from gpuaas.common.projections import Projector
from gpuaas.common.tables import Database
from gpuaas.common.testing.neighbours import tell
from gpuaas.contracts.allocations import AllocationReleased, AllocationStarted, Member
from gpuaas.contracts.billing import (
    BillingRunStarted,
    CreditNoteIssued,
    CreditNoteLine,
    InvoiceFinalized,
    InvoiceLine,
    Price,
    PriceBookPublished,
    UsageMetered,
)
from gpuaas.verify.strict_json import canonical

LOG = "gpuaas.example/dev"
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
HOUR_MS = 3_600_000


@pytest.fixture
def log_key() -> LogKey:
    return LogKey(LOG, Ed25519Key(b"\x05" * 32))


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    opened = Database(database_dsn)
    await opened.open()
    yield opened
    await opened.close()


class Trail:
    """The trail of a log, folded when asked."""

    def __init__(self, log: EventLog, database: Database) -> None:
        self.log, self.database = log, database
        self.projection = AuditTrail()
        self.projector = Projector(self.projection, log, database)
        self.memory = WatchMemory(database, log, self.projection.name)

    def watching(self, commands: Commands, least: int = 100, pass_s: float = 3_600) -> Watching:
        """Compares the log with this trail."""
        return Watching(self.log, self.database, commands, self.projection.name, self.memory, least, pass_s)

    async def catch_up(self, batch_max: int = 1_000) -> None:
        """Fold everything that is new, in batches of at most `batch_max`."""
        await self.memory.open()
        position = await self.projector._begin()
        last = await self.log.last_position()
        if position >= last:
            return
        follower = self.log.follow(self.projection.subjects(), position)
        async for batch in follower.batches():
            for start in range(0, len(batch.events), batch_max):
                part = batch.events[start : start + batch_max]
                await self.projector._fold("live", part, position, part[-1].position)
                position = part[-1].position
            if position >= last:
                break
        await follower.close()


@pytest.fixture
def make_trail() -> type[Trail]:
    return Trail


@dataclass
class Story:
    """A tenant that used GPUs and got an invoice, told to a log event by event."""

    log: EventLog
    tenant: str = "acme"
    usages: list[UsageMetered] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)

    async def say(self, event: Event, owner: str, entity_id: str) -> str:
        """Append an event; its id."""
        position = await tell(self.log, event, tenant_id=owner, entity_id=entity_id)
        recorded = await self.log.at(position)
        assert recorded is not None
        self.positions[f"{event.ENTITY}/{entity_id}/{type(event).__name__}"] = position
        return recorded.envelope().id

    async def prices(self, version: int, amount: str, effective_from: datetime) -> None:
        price = Price(gpu_model="h100", unit="gpu-hour", amount=Decimal(amount))
        book = PriceBookPublished(
            price_book_id="list-eur",
            version=version,
            currency="EUR",
            effective_from=effective_from,
            prices=(price,),
        )
        await self.say(book, "platform", "list-eur")

    async def use(self, name: str, start: datetime, hours: float, gpus: int = 8) -> None:
        """An allocation from start to end, and its metered usage."""
        end = start + timedelta(hours=hours)
        about = {"allocation_id": name, "tenant_id": self.tenant, "project_id": "ml", "gpu_model": "h100"}
        member = Member(member=0, node_id="n1", device_ids=("gpu-0",))
        begun = await self.say(
            AllocationStarted(**about, pool_id="main", gpu_count=gpus, started_at=start, members=(member,)),
            self.tenant,
            name,
        )
        ended = await self.say(
            AllocationReleased(**about, pool_id="main", gpu_count=gpus, ended_at=end, end_reason="completed"),
            self.tenant,
            name,
        )
        usage = UsageMetered(
            **about,
            usage_id=name,
            gpu_count=gpus,
            started_at=start,
            ended_at=end,
            gpu_ms=gpus * int(hours * HOUR_MS),
            start_event_id=begun,
            end_event_id=ended,
        )
        await self.say(usage, self.tenant, name)
        self.usages.append(usage)

    async def run(self, run_id: str, log_position: int | None = None) -> None:
        started = BillingRunStarted(
            run_id=run_id,
            period_start=MARCH,
            period_end=APRIL,
            log_position=log_position or await self.log.last_position(),
            price_book_sha256="0" * 64,
            code_version="1",
        )
        await self.say(started, "platform", run_id)

    def line(
        self, number: int, names: Sequence[str], gpu_ms: int, price: str, amount: str, version: int = 1
    ) -> InvoiceLine:
        return InvoiceLine(
            line_id=f"l-{number}",
            project_id="ml",
            gpu_model="h100",
            gpu_ms=gpu_ms,
            unit="gpu-hour",
            unit_price=Decimal(price),
            price_book_id="list-eur",
            price_book_version=version,
            amount=Decimal(amount),
            usage_count=len(names),
            usage_sha256=hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest(),
        )

    async def invoice(self, invoice_id: str, run_id: str, *lines: InvoiceLine) -> None:
        draft = InvoiceFinalized(
            invoice_id=invoice_id,
            run_id=run_id,
            number=f"2026-{invoice_id}",
            tenant_id=self.tenant,
            currency="EUR",
            period_start=MARCH,
            period_end=APRIL,
            lines=lines,
            total=sum((line.amount for line in lines), Decimal("0.00")),
            content_sha256="0" * 64,
        )
        content = draft.model_dump(mode="json", exclude_none=True)
        del content["content_sha256"]
        digest = hashlib.sha256(canonical(content)).hexdigest()
        await self.say(draft.model_copy(update={"content_sha256": digest}), self.tenant, invoice_id)

    async def credit(self, note_id: str, invoice_id: str, line_id: str, amount: str) -> None:
        """Something of a line is given back, without tax."""
        note = CreditNoteIssued(
            credit_note_id=note_id,
            number="CN-2026-000001",
            invoice_id=invoice_id,
            invoice_number=f"2026-{invoice_id}",
            run_id=invoice_id.replace("inv-", "r"),
            tenant_id=self.tenant,
            currency="EUR",
            reason="goodwill",
            detail="for a test",
            lines=(CreditNoteLine(line_id=line_id, amount=Decimal(amount)),),
            net=Decimal(amount),
            taxes=(),
            gross=Decimal(amount),
            content_sha256="0" * 64,
        )
        content = note.model_dump(mode="json", exclude_none=True)
        del content["content_sha256"]
        digest = hashlib.sha256(canonical(content)).hexdigest()
        await self.say(note.model_copy(update={"content_sha256": digest}), self.tenant, invoice_id)

    async def whole(self) -> Story:
        """Two allocations, one run, one invoice `inv-1`: 16 GPU-hours at 2.4995."""
        await self.prices(1, "2.4995", MARCH - timedelta(days=30))
        await self.use("a1", MARCH + timedelta(days=1), 1.5)
        await self.use("a2", MARCH + timedelta(days=2), 0.5)
        await self.run("r1")
        await self.invoice("inv-1", "r1", self.line(1, ["a1", "a2"], 16 * HOUR_MS, "2.4995", "39.99"))
        return self


@pytest.fixture
def make_story() -> type[Story]:
    return Story
