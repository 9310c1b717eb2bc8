"""Watches what tenants spend: holds credit, moves the ladder, weighs budgets. One law: each look is one cause.

A look at a tenant rates everything of it that is on no invoice (and what runs, up to the next look), holds credit for
it, and says where it stands. It is taken every interval, and at once when an allocation starts, credit is granted or a
budget is set. Two instances that look at the same interval say the same thing once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from gpuaas.billing.domain import kept
from gpuaas.billing.domain.apportion import apportioned
from gpuaas.billing.domain.budget import BUDGET, Budget, BudgetCommand, WeighBudget, month_of
from gpuaas.billing.domain.burn_down import NOTHING, Grant, runway_s
from gpuaas.billing.domain.ledger import (
    BANK,
    BREAKAGE,
    PREPAID_CASH,
    PROMOTION,
    Entry,
    PostTransfer,
    prepaid_of,
    receivable_of,
    transfer_of,
)
from gpuaas.billing.domain.metering import instant_ms
from gpuaas.billing.domain.rating import Line
from gpuaas.billing.domain.spending import SPENDING, SetLevel, Spending, prepaid_level
from gpuaas.billing.domain.wallet import WALLET, ApplyCredit, HoldCredit, Wallet, WalletCommand
from gpuaas.billing.ports import Standing
from gpuaas.billing.projections.charges import ChargesQuestions
from gpuaas.billing.projections.views import Views
from gpuaas.billing.reactions import LEDGERS, SERVICE
from gpuaas.billing.settings import BillingSettings
from gpuaas.common.clock import Clock
from gpuaas.common.commands import Cause, Commands, Entity
from gpuaas.common.envelope import Fact
from gpuaas.common.errors import Rejected
from gpuaas.common.events import Vocabulary
from gpuaas.common.ids import derived_id
from gpuaas.common.log import EventLog
from gpuaas.common.money import minor_digits
from gpuaas.common.projections import Database, Record
from gpuaas.common.reactions import Reaction
from gpuaas.common.snapshots import Keep
from gpuaas.contracts.allocations import AllocationStarted
from gpuaas.contracts.billing import (
    BudgetSet,
    BudgetThresholdCrossed,
    BudgetWithdrawn,
    CreditApplied,
    CreditGranted,
    CreditHeld,
    CreditLapsed,
    CreditRestored,
    InvoiceFinalized,
    InvoicePaymentRecorded,
    SpendingLevelChanged,
)

WALLETS: Final[Entity[Wallet, WalletCommand]] = Entity(
    SERVICE,
    "wallet",
    WALLET,
    Vocabulary(CreditGranted, CreditHeld, CreditApplied, CreditRestored, CreditLapsed),
    keep=Keep(kept.wallet_written, kept.wallet_read),
)
SPENDINGS: Final[Entity[Spending, SetLevel]] = Entity(SERVICE, "spending", SPENDING, Vocabulary(SpendingLevelChanged))
BUDGETS: Final[Entity[Budget, BudgetCommand]] = Entity(
    SERVICE, "budget", BUDGET, Vocabulary(BudgetSet, BudgetThresholdCrossed, BudgetWithdrawn)
)
_log = logging.getLogger(__name__)
REAL_PAUSE_MIN_S: Final = 0.05
"""However fast the world runs, a look is not taken more often than this."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tenant's uninvoiced usage costs, by project, exactly as its lines would."""

    currency: str
    until_now: Mapping[str, Decimal]
    until_then: Mapping[str, Decimal]
    burn_per_hour: Mapping[str, Decimal]


class SpendingWatch:
    """Looks at tenants."""

    def __init__(
        self,
        commands: Commands,
        clock: Clock,
        database: Database,
        views: Views,
        standing: Standing,
        settings: BillingSettings,
    ) -> None:
        self._commands = commands
        self._clock = clock
        self._database = database
        self._views = views
        self._standing = standing
        self._settings = settings
        self._charges = ChargesQuestions(database, views)

    @property
    def interval(self) -> timedelta:
        return timedelta(seconds=self._settings.hold_interval_s)

    async def run(self) -> None:
        """Look at everybody who has credit or a budget, every interval, for ever."""
        looked = -1
        while True:
            now = self._clock.now()
            number = instant_ms(now) // (self._settings.hold_interval_s * 1_000)
            if number != looked:
                await self._look_at_all(number)
                looked = number
            pause_s = self._clock.real_seconds(self._settings.hold_interval_s / 2)
            await asyncio.sleep(max(REAL_PAUSE_MIN_S, pause_s))

    async def _look_at_all(self, number: int) -> None:
        with_credit = set(await self._views.wallets.tenants(self._database))
        with_budgets = set(await self._views.budgets.tenants(self._database))
        for tenant_id in sorted(with_credit | with_budgets):
            look = derived_id("look", tenant_id, number)
            await self.look_at(tenant_id, Cause(id=look, actor=SERVICE, actor_kind="service"))

    async def look_at(self, tenant_id: str, cause: Cause) -> None:
        """Hold credit for what the tenant uses, say where it stands, weigh its budgets."""
        budgets = await self._views.budgets.of_tenant(self._database, tenant_id)
        has_wallet = await self._views.wallets.has_wallet(self._database, tenant_id)
        if not budgets and not has_wallet:
            return
        if await self._views.runs.is_running(self._database):
            # While a run is writing, usage is on its way from the hold to an invoice; the next look sees it there.
            return
        now = self._clock.now()
        try:
            if has_wallet:
                await self._hold(tenant_id, await self._usage(tenant_id, now), now, cause)
            for budget in budgets:
                await self._weigh(tenant_id, budget, now, cause)
        except Rejected as unpriced:
            # What has no price cannot be held for, and must not keep the next tenant from being looked at. Whoever
            # asks for the charges, or starts the run, is told what to publish; the next look tries again.
            _log.warning("%s cannot be looked at: %s", tenant_id, unpriced.detail)

    async def _usage(self, tenant_id: str, now: datetime) -> Usage:
        book, unbilled = await self._charges.unbilled(tenant_id)
        _, running = await self._charges.running(tenant_id, now)
        _, ahead = await self._charges.running(tenant_id, now + self.interval)
        _, hour = await self._charges.running(tenant_id, now + timedelta(hours=1), since=now)
        profile = await self._views.taxes.of_tenant(self._database, tenant_id)
        taxed = 1 + Fraction(profile["percent"] if profile else 0) / 100
        return Usage(
            currency=book.currency,
            until_now=_by_project([*unbilled.lines, *running.lines], taxed, book.currency),
            until_then=_by_project([*unbilled.lines, *ahead.lines], taxed, book.currency),
            burn_per_hour=_by_project(hour.lines, taxed, book.currency),
        )

    async def _hold(self, tenant_id: str, usage: Usage, now: datetime, cause: Cause) -> None:
        hold = HoldCredit(
            tenant_id=tenant_id,
            costs=usage.until_then,
            as_of=now,
            covers_until=now + self.interval,
            expires_at=now + 3 * self.interval,
            burn_per_hour=sum(usage.burn_per_hour.values(), NOTHING),
        )
        wallet = (await self._commands.execute(WALLETS, tenant_id, tenant_id, hold, cause.at("hold"))).state
        left_s = runway_s(_rests(wallet, usage), usage.burn_per_hour, now)
        said, _ = await self._commands.state(SPENDINGS, tenant_id, tenant_id)
        level = prepaid_level(tenant_id, self._settings.ladder, left_s, wallet.available(now) > 0, now, said)
        await self._commands.execute(SPENDINGS, tenant_id, tenant_id, level, cause.at("level"))

    async def _weigh(self, tenant_id: str, budget: Record, now: datetime, cause: Cause) -> None:
        month, bounds = month_of(now)
        spent, rate = await self._charges.spent(tenant_id, budget, bounds, now)
        hours_left = Fraction(bounds.end_ms - instant_ms(now), 3_600_000)
        forecast = spent + _to_minor(Fraction(rate) * hours_left, budget["currency"])
        weigh = WeighBudget(month=month, spent=spent, forecast=forecast)
        budget_id = budget["budget_id"]
        await self._commands.execute(BUDGETS, tenant_id, budget_id, weigh, cause.at(f"weigh-{budget_id}"))
        if budget["action"] != "block":
            return
        used_up = spent >= budget["amount"]
        level = SetLevel(
            scope_id=budget_id,
            tenant_id=tenant_id,
            project_id=budget["project_id"],
            level="blocked" if used_up else "open",
            cause="budget",
            detail=f"{spent:f} of {budget['amount']:f} {budget['currency']} are spent in {month}",
        )
        await self._commands.execute(SPENDINGS, tenant_id, budget_id, level, cause.at(f"level-{budget_id}"))


class CreditHolders:
    """Who has credit, remembered for as long as that is certain: a question costs the database nothing most times."""

    def __init__(self, log: EventLog, database: Database, views: Views, standing: Standing) -> None:
        self._log = log
        self._database = database
        self._views = views
        self._standing = standing
        self._tenants: frozenset[str] = frozenset()
        self._upto = 0
        self._lock = asyncio.Lock()

    async def has_credit(self, tenant_id: str, position: int) -> bool:
        """Whether the tenant had been granted credit when the log stood at `position`, or since.

        Raises:
            Unavailable: the read models are too far behind.
        """
        async with self._lock:
            if position > self._upto:
                upto = await self._log.last_position()
                await self._standing.folded(upto)
                self._tenants = frozenset(await self._views.wallets.tenants(self._database))
                self._upto = upto
        return tenant_id in self._tenants


class LookAtOnce(Reaction):
    """What changes how long credit lasts is looked at when it happens, not only at the next interval."""

    name = "spending-looks"
    reads = (AllocationStarted, CreditGranted, CreditLapsed, BudgetSet)

    def __init__(self, watch: SpendingWatch, database: Database, views: Views, standing: Standing) -> None:
        self._watch = watch
        self._database = database
        self._views = views
        self._standing = standing
        self._watched: set[str] | None = None

    def key(self, fact: Fact) -> str:
        return fact.tenant_id

    async def react(self, fact: Fact) -> None:
        if isinstance(fact.event, CreditLapsed) and fact.event.reason == "expired":
            return
        if isinstance(fact.event, AllocationStarted) and not await self._is_watched(fact):
            return
        if self._watched is not None:
            self._watched.add(fact.tenant_id)
        await self._standing.folded(fact.position)
        await self._watch.look_at(fact.tenant_id, Cause.of(fact, actor=SERVICE, step="look"))

    async def _is_watched(self, fact: Fact) -> bool:
        """Whether the tenant ever had credit or a budget: read once, then kept up by the facts that pass here.

        Most starts are of tenants that have neither, and cost no question. A tenant's facts pass in their order.
        """
        if self._watched is None:
            await self._standing.folded(fact.position)
            with_credit = await self._views.wallets.tenants(self._database)
            self._watched = {*with_credit, *await self._views.budgets.tenants(self._database)}
        return fact.tenant_id in self._watched


class PayWithCredit(Reaction):
    """A final invoice is paid for with prepaid credit, as far as there is some.

    What was held for its usage comes first, of whichever grants; then what is usable when the invoice is written.
    """

    name = "credit-applications"
    reads = (InvoiceFinalized,)

    def __init__(self, commands: Commands, holders: CreditHolders) -> None:
        self._commands = commands
        self._holders = holders

    async def react(self, fact: Fact) -> None:
        assert isinstance(fact.event, InvoiceFinalized)
        invoice = fact.event
        if not await self._holders.has_credit(fact.tenant_id, fact.position):
            return
        costs = gross_by_project(invoice)
        owed = {project_id: cost for project_id, cost in costs.items() if cost > 0}
        order = ApplyCredit(fact.tenant_id, invoice.invoice_id, owed, fact.time)
        cause = Cause.of(fact, actor=SERVICE, step="credit")
        await self._commands.execute(WALLETS, fact.tenant_id, fact.tenant_id, order, cause)


def gross_by_project(invoice: InvoiceFinalized) -> dict[str, Decimal]:
    """What an invoice asks for each project, its tax among it, split so that the parts add up."""
    nets: dict[str, Decimal] = {}
    for line in invoice.lines:
        nets[line.project_id] = nets.get(line.project_id, NOTHING) + line.amount
    if invoice.gross is None or invoice.total == 0:
        return nets
    weights = [Fraction(net) for net in nets.values()]
    return dict(zip(nets, apportioned(invoice.gross, weights, minor_digits(invoice.currency)), strict=True))


class BookCredit(Reaction):
    """Every movement of credit and every payment moves the ledger. A hold is not: it only sets aside."""

    name = "credit-bookings"
    reads = (CreditGranted, CreditApplied, CreditRestored, CreditLapsed, InvoicePaymentRecorded)

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def react(self, fact: Fact) -> None:
        booking = booking_of_credit(fact)
        if booking is not None:
            cause = Cause.of(fact, actor=SERVICE, step="book")
            await self._commands.execute(LEDGERS, fact.tenant_id, fact.tenant_id, booking, cause)


def booking_of_credit(fact: Fact) -> PostTransfer | None:
    """What a movement of credit or money does to the ledger; None: nothing."""
    prepaid, tenant_id = prepaid_of(fact.tenant_id), fact.tenant_id
    match fact.event:
        case CreditGranted(kind="purchased") as event:
            accounts, said = (PREPAID_CASH, prepaid), f"credit {event.grant_id} bought"
        case CreditGranted() as event:
            accounts, said = (PROMOTION, prepaid), f"credit {event.grant_id} given"
        case CreditApplied() as event:
            accounts, said = (prepaid, receivable_of(tenant_id)), f"credit pays for {event.invoice_id}"
        case CreditRestored() as event:
            accounts, said = (receivable_of(tenant_id), prepaid), f"credit given back by {event.document_id}"
        case InvoicePaymentRecorded() as event:
            accounts, said = (BANK, receivable_of(tenant_id)), f"payment {event.payment_id} for {event.invoice_id}"
        case CreditLapsed(reason="expired") as event:
            accounts, said = (prepaid, BREAKAGE), f"credit {event.grant_id} expired"
        case CreditLapsed() as event:
            accounts, said = (prepaid, BREAKAGE), f"credit {event.grant_id} taken back"
        case _:
            return None
    if event.amount == 0:
        return None
    return PostTransfer(
        transfer_id=transfer_of(fact.envelope.id),
        tenant_id=tenant_id,
        currency=event.currency,
        entries=(Entry(accounts[0], event.amount), Entry(accounts[1], -event.amount)),
        description=said,
        cause=fact.envelope.id,
    )


def _rests(wallet: Wallet, usage: Usage) -> list[Grant]:
    """The grants as they would be if only usage up to now were held: what is left to burn from here on."""
    back: dict[str, Decimal] = {}
    for project_id, parts in wallet.held.items():
        ahead = usage.until_then.get(project_id, NOTHING) - usage.until_now.get(project_id, NOTHING)
        ahead -= wallet.uncovered.get(project_id, NOTHING)
        for part in reversed(parts):
            given = min(max(NOTHING, ahead), part.amount)
            back[part.grant_id] = back.get(part.grant_id, NOTHING) + given
            ahead -= given
    return [
        Grant(**{name: getattr(grant, name) for name in _KEPT}, left=grant.left + back.get(grant.grant_id, NOTHING))
        for grant in wallet.grants.values()
    ]


_KEPT: Final = (
    "grant_id",
    "granted",
    "priority",
    "promotional",
    "number",
    "effective_from",
    "expires_at",
    "project_ids",
)


def _by_project(lines: Iterable[Line], taxed: Fraction, currency: str) -> dict[str, Decimal]:
    """Exact costs by project, times `taxed`, rounded up to the minor unit: never short of what an invoice may ask."""
    exact: dict[str, Fraction] = {}
    for line in lines:
        exact[line.project_id] = exact.get(line.project_id, Fraction(0)) + line.exact * taxed
    return {project_id: _to_minor(cost, currency) for project_id, cost in exact.items() if cost > 0}


def _to_minor(amount: Fraction, currency: str) -> Decimal:
    scale = 10 ** minor_digits(currency)
    return Decimal(-((-amount.numerator * scale) // amount.denominator)).scaleb(-minor_digits(currency))
