"""Events of the service `billing`. Generated from schemas/events by `python -m tools.contracts generate`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gpuaas.common.events import Event, Part
from gpuaas.common.wire import AsObject, Count64, ExactDecimal, Frozen, Moment, NonNegativeDecimal, Unique

Aggregation = Literal["sum", "max", "time-weighted"]
"""How values become a quantity: `sum` adds them up; `max` is the highest of the period;
`time-weighted` is a level that holds until the next value, times the milliseconds it held.
"""

AgreementKind = Literal["contract", "campaign"]
"""`contract`: replaces the list price. `campaign`: lowers what list and contract come to, and never
raises it.
"""

BudgetAction = Literal["notify", "block"]
"""What happens when the amount is spent: `notify` says so, `block` also keeps new work of the scope
from starting until the month ends.
"""

BudgetMeasure = Literal["actual", "forecast"]
"""What is compared: `actual` spending so far, or the `forecast` for the whole period at the present
rate.
"""

CreditKind = Literal["purchased", "promotional"]
"""Whether it was `purchased` (money came in) or is `promotional` (given for free)."""

CreditNoteReason = Literal["correction", "goodwill", "void"]
"""Why: a `correction` of what was billed wrongly, `goodwill`, or a `void` of everything that was left."""

Currency = Annotated[str, Field(min_length=3, max_length=3, pattern=r"^[A-Z]{3}$")]
"""A currency by its three-letter ISO 4217 code."""

DiscrepancyKind = Literal["ended-before-cut"]
"""`ended-before-cut`: the end, told late, lies before a cut, so time beyond it is metered that was not
used.
"""

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A name that can be a token of a subject and of a host name: 1 to 63 of a-z, 0-9 and inner hyphens
(RFC 1123 label).
"""

LapseReason = Literal["expired", "voided"]
"""Whether it `expired` or was `voided`."""

PriceBasis = Literal["list", "contract"]
"""What a campaign's percentage is taken of: the `list` price, or what the `contract` makes of it."""

PriceModel = Literal["per-unit", "graduated", "volume", "package"]
"""What the tiers mean: `per-unit` has one; `graduated` prices each unit by the tier it falls into;
`volume` prices all by the tier of the whole; `package` sells whole packages of `package` units.
"""

PriceStepKind = Literal["band", "contract", "campaign"]
"""`band`: hours with a price of their own; `contract` and `campaign`: an agreement."""

PriceUnit = Literal["gpu-hour"]
"""What one price is for. gpu-hour: one GPU for 3,600,000 milliseconds."""

PrincipalKind = Literal["user", "service-account"]
"""What acts: a person, or a program with an account of its own."""

RefusalCause = Literal["no-credential", "not-valid", "over", "ended", "suspended", "no-right", "not-held", "rule", "nothing-there"]
"""Why something was refused."""

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

SpendingCause = Literal["prepaid", "budget", "operator"]
"""Why: `prepaid` credit runs out, a `budget` is used up, or an `operator` said so."""

SpendingLevel = Literal["open", "warned", "blocked", "stopping"]
"""Where it stands now: `open` as usual; `warned` running low, nothing is refused; `blocked` no new
work; `stopping` no new work, and what runs ends at `grace_until`.
"""

TaxCategory = Literal["S", "Z", "E", "AE", "O"]
"""Category by UN/CEFACT code list 5305: `S` standard, `Z` zero rated, `E` exempt, `AE` reverse charge,
`O` outside the scope of tax.
"""


class AccessUse(Part):
    """Uses of one kind."""

    principal_kind: PrincipalKind
    """What kind of principal it was."""

    principal_id: Label
    """Who it was."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")]
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project it was about; absent: the tenant itself."""

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How often."""


class BudgetThreshold(Part):
    """A share of a budget at which something is said."""

    percent: Annotated[int, Field(strict=True, ge=1, le=1000)]
    """Percent of the budget's amount."""

    of: BudgetMeasure
    """What is compared."""


class LinePointer(Part):
    """A line of an invoice."""

    invoice_id: Label
    """The invoice."""

    line_id: Label
    """Its line."""


class CorrectedLines(Part):
    """Lines of one project, model and price book version: together they should have come to the
    rounded product of their quantities and this line's unit price.
    """

    lines: Annotated[tuple[LinePointer, ...], Field(min_length=1, max_length=1000)]
    """The lines, in the order they were written."""

    credited: NonNegativeDecimal
    """What credit notes had given back of them, goodwill apart."""


class CorrectionChange(Part):
    """Lines of one project, GPU model and price book version."""

    project_id: Label
    """The project."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    price_book_id: Label
    """The price book that had priced them."""

    price_book_version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Its version."""

    gpu_ms: Count64
    """Their quantity in GPU-milliseconds, floored."""

    gpu_us: Count64 | None = None
    """Exact quantity in GPU-microseconds; absent: 1000 times `gpu_ms`."""

    unit_price: NonNegativeDecimal
    """The other price of one GPU-hour."""

    before: ExactDecimal
    """What stood: their amounts, earlier corrections counted in, goodwill not."""

    after: ExactDecimal
    """What they come to under the other price."""

    price_key: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-z0-9:/-]+( [a-z0-9:/-]+)*$")] | None = None
    """What made the price of the list price, in order: `band:<band>`, `contract:<agreement>/<rule>`,
    `campaign:<agreement>/<rule>`, rules counted from 1 and joined by spaces. Absent: the list price
    itself.
    """


class CreditNoteLine(Part):
    """What is given back of one line of the invoice."""

    line_id: Label
    """The invoice's line."""

    amount: NonNegativeDecimal
    """How much of its net amount, in whole minor units."""


class CreditPart(Part):
    """An amount of one grant, taken for one project."""

    grant_id: Label
    """The grant."""

    project_id: Label
    """The project whose usage it pays for."""

    amount: NonNegativeDecimal
    """How much, in whole minor units of the currency."""


class PriceStep(Part):
    """What was applied to a price, and why."""

    step: PriceStepKind
    """What kind of step it is."""

    name: Label
    """The band or the agreement."""

    rule: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """Of an agreement: which of its rules, counted from 1. Absent: a band."""

    percent_off: NonNegativeDecimal | None = None
    """By how many percent; absent: a price took the place of the one before."""

    calculated_on: PriceBasis | None = None
    """What the percentage was taken of; absent: of the price before."""

    price: NonNegativeDecimal
    """The price of one unit after the step."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]
    """Why, for people."""


class InvoiceLine(Part):
    """One line of an invoice: all usage of one GPU model in one project at one price."""

    line_id: Label
    """The line's id, unique inside its invoice."""

    project_id: Label
    """The project that used it."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    gpu_ms: Count64
    """Quantity: GPU-milliseconds (GPUs held times milliseconds held), floored where shares leave a
    rest.
    """

    gpu_us: Count64 | None = None
    """Exact quantity in GPU-microseconds; absent: 1000 times `gpu_ms`."""

    unit: PriceUnit
    """What the unit price is for."""

    unit_price: NonNegativeDecimal
    """Price of one unit in the invoice's currency."""

    price_book_id: Label
    """The price book the price is from."""

    price_book_version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Its version."""

    amount: ExactDecimal
    """The line's amount in the invoice's currency, rounded once, half up, to its minor unit."""

    usage_count: Annotated[int, Field(strict=True, ge=0, le=9007199254740991)]
    """How many usage records the line adds up."""

    usage_sha256: Sha256
    """Digest over these usage records, so that the line can be proved."""

    corrects: CorrectedLines | None = None
    """Of a line without usage of its own: the lines of earlier invoices whose quantity it prices anew;
    `amount` is the rest. Absent: an ordinary line.
    """

    list_price: NonNegativeDecimal | None = None
    """The list price of one unit, before any step; absent: the unit price is it."""

    price_key: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-z0-9:/-]+( [a-z0-9:/-]+)*$")] | None = None
    """What made the price of the list price, in order: `band:<band>`, `contract:<agreement>/<rule>`,
    `campaign:<agreement>/<rule>`, rules counted from 1 and joined by spaces. Absent: the list price
    itself.
    """

    applied: Annotated[tuple[PriceStep, ...], Field(min_length=1, max_length=3)] | None = None
    """From the list price to the unit price, step by step; absent: none."""


class LedgerEntry(Part):
    """One side of a transfer: an account and what it gains."""

    account: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]*$")]
    """The account's name."""

    amount: ExactDecimal
    """What the account gains (negative: loses) in the transfer's currency."""


class MeterTier(Part):
    """Units above the tier before, up to and including `up_to`."""

    up_to: Count64 | None = None
    """Its last unit; absent: without end."""

    unit: NonNegativeDecimal
    """Price of one unit, or of a package."""

    flat: NonNegativeDecimal | None = None
    """Owed once when the tier is entered; absent: nothing."""


class PriceBand(Part):
    """Hours of the week with a price of their own. A moment lies in it by its local time; of hours
    that a change of the clock leaves out or repeats, those that exist are counted, each as long as
    it is.
    """

    band_id: Label
    """Its name, which stands on the line."""

    weekdays: Annotated[tuple[Annotated[int, Field(strict=True, ge=1, le=7)], ...], Field(min_length=1, max_length=7), Unique]
    """Days of the week on which it begins, 1 (Monday) to 7 (Sunday)."""

    begins: Annotated[str, Field(min_length=5, max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    """Local time of its first moment, hours and minutes."""

    ends: Annotated[str, Field(min_length=5, max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    """Local time of the first moment behind it; not later than `begins`: on the next day (00:00 is
    midnight).
    """

    amount: NonNegativeDecimal
    """Price of one unit in these hours, in the book's currency."""


class Price(Part):
    """What one unit of one GPU model costs."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    unit: PriceUnit
    """What the amount is for."""

    amount: NonNegativeDecimal
    """Price of one unit in the book's currency."""

    bands: Annotated[tuple[PriceBand, ...], Field(min_length=1, max_length=24)] | None = None
    """Hours with prices of their own, none of which meet; absent: `amount` holds all the time."""


class PriceRule(Part):
    """A price, and what it is for. What a filter does not name is all."""

    gpu_models: Annotated[tuple[Label, ...], Field(min_length=1, max_length=100), Unique] | None = None
    """Only these GPU models; absent: all."""

    project_ids: Annotated[tuple[Label, ...], Field(min_length=1, max_length=100), Unique] | None = None
    """Only these projects; absent: all."""

    label_name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9._/-]{0,61}[a-zA-Z0-9])?$")] | None = None
    """Only allocations that carry a label of this name …"""

    label_value: Annotated[str, Field(min_length=0, max_length=256)] | None = None
    """… with this value; absent with a name: with any."""

    amount: NonNegativeDecimal | None = None
    """The price of one GPU-hour; absent: a percentage."""

    percent_off: NonNegativeDecimal | None = None
    """Percent that the price before it is lowered by, at most 100 and with one digit behind the point;
    absent: a price.
    """


class ProjectAmount(Part):
    """An amount of one project."""

    project_id: Label
    """The project."""

    amount: NonNegativeDecimal
    """How much."""


class Refusal(Part):
    """Refusals of one kind."""

    principal_kind: PrincipalKind | None = None
    """What kind of principal asked; absent: nobody who was believed."""

    principal_id: Label | None = None
    """Who asked; absent: nobody who was believed."""

    permission: Annotated[str, Field(min_length=5, max_length=128, pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$")] | None = None
    """What it takes: `service.resource.verb`."""

    project_id: Label | None = None
    """The project of the trail's tenant that was asked about; absent: the tenant itself, the platform,
    or nothing that who asked may know of.
    """

    why: RefusalCause
    """Why it was refused. Not believed: `no-credential`, `not-valid`, `over` (its time), `ended`
    (revoked, signed out), `suspended`. Believed: `no-right`, `not-held` (would hand on what they do
    not hold), `rule` (the thing itself does not allow it to them), `nothing-there` (no such place,
    or none they may know of).
    """

    count: Annotated[int, Field(strict=True, ge=1, le=2147483647)]
    """How many."""

    decision_id: Annotated[str, Field(min_length=4, max_length=1280, pattern=r"^[a-z][0-9]\.[A-Za-z0-9_-]+$")]
    """The newest decision among them, as the answer named it; iam explains it."""


class TaxGroup(Part):
    """What is taxed alike: the net sum and the tax on it, rounded once."""

    category: TaxCategory
    """Category by UN/CEFACT code list 5305: `S` standard, `Z` zero rated, `E` exempt, `AE` reverse
    charge, `O` outside the scope of tax.
    """

    percent: NonNegativeDecimal
    """Rate in percent; 0 in all categories but `S`."""

    net: ExactDecimal
    """What is taxed."""

    tax: ExactDecimal
    """The tax on it."""


class UtcOffset(Part):
    """How far local time is ahead of UTC, from an instant on."""

    since: Moment
    """The first instant; it lasts until the next one in the list."""

    offset_s: Annotated[int, Field(strict=True, ge=-93600, le=93600)]
    """Seconds ahead of UTC; west of Greenwich below 0."""


class AccessesRefused(Event):
    """Accesses refused. Requests to billing that were refused because who asked was not believed or
    may not, counted over at most a minute so that nobody can fill the log. They stand in the trail
    of the tenant that was asked about; where who asked may not know of it, in that of the tenant
    they are at home in, else in the platform's.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.accesses-refused.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "billing/accesses-refused.v1.json"

    tenant_id: Label
    """Whose trail this stands in; `platform` for the platform's."""

    first_at: Moment
    """The first of them (real time)."""

    last_at: Moment
    """The last of them (real time)."""

    refusals: Annotated[tuple[Refusal, ...], Field(min_length=1, max_length=50)]
    """What was refused, by who asked and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more were refused that no row names, because there were too many kinds of them."""


class OperatorAccessUsed(Event):
    """Operator access used. Somebody asked billing about, or changed, what is a tenant's, by a right
    that they hold on the platform and not in the tenant. Counted over at most a minute; it stands
    in the tenant's own trail.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.operator-access-used.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "access"
    SCHEMA: ClassVar[str] = "billing/operator-access-used.v1.json"

    tenant_id: Label
    """The tenant whose things were accessed."""

    first_at: Moment
    """The first time (real time)."""

    last_at: Moment
    """The last time (real time)."""

    uses: Annotated[tuple[AccessUse, ...], Field(min_length=1, max_length=50)]
    """What was used, by whom and for what."""

    others: Annotated[int, Field(strict=True, ge=0, le=2147483647)]
    """How many more uses no row names, because there were too many kinds of them."""


class BillingRunCompleted(Event):
    """Billing run completed. A billing run wrote all its invoices."""

    TYPE: ClassVar[str] = "gpuaas.billing.billing-run-completed.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "billing-run"
    SCHEMA: ClassVar[str] = "billing/billing-run-completed.v1.json"

    run_id: Label
    """The run."""

    invoices: Annotated[int, Field(strict=True, ge=0, le=1000000)]
    """How many invoices it wrote."""

    total_by_currency: Annotated[Mapping[Currency, ExactDecimal], Field(max_length=64), Frozen, AsObject]
    """Sum of their totals, by ISO 4217 currency code."""


class BillingRunStarted(Event):
    """Billing run started. A billing run pinned everything it depends on, so that it can be repeated
    later and give the same invoices byte for byte.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.billing-run-started.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "billing-run"
    SCHEMA: ClassVar[str] = "billing/billing-run-started.v1.json"

    run_id: Label
    """The run."""

    period_start: Moment
    """First instant of the billed period."""

    period_end: Moment
    """First instant behind the billed period."""

    log_position: Count64
    """Position in the event log up to which events count."""

    price_book_sha256: Sha256
    """Digest of all price books that count."""

    code_version: Annotated[str, Field(min_length=1, max_length=64)]
    """Version of the code that rates."""

    correction_id: Label | None = None
    """The correction that this run carries out, on usage that is billed already; absent: it bills
    usage.
    """


class BudgetSet(Event):
    """Budget set. How much a tenant, one of its projects or what carries a label may cost in a
    calendar month (UTC), and what happens on the way there. Setting it again replaces it.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.budget-set.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "budget"
    SCHEMA: ClassVar[str] = "billing/budget-set.v1.json"

    budget_id: Label
    """The budget."""

    tenant_id: Label
    """The tenant."""

    project_id: Label | None = None
    """The only project that counts; absent: all."""

    label_name: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """The only allocations that count carry a label of this name …"""

    label_value: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """… with this value."""

    currency: Currency
    """Currency of the amount; the tenant's."""

    amount: NonNegativeDecimal
    """What a month may cost."""

    thresholds: Annotated[tuple[BudgetThreshold, ...], Field(min_length=1, max_length=20), Unique]
    """Where something is said, each once a month."""

    action: BudgetAction
    """What happens when the amount is spent: `notify` says so, `block` also keeps new work of the
    scope from starting until the month ends.
    """


class BudgetThresholdCrossed(Event):
    """Budget threshold crossed. Spending, or its forecast, reached a share of a budget for the first
    time in a month.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.budget-threshold-crossed.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "budget"
    SCHEMA: ClassVar[str] = "billing/budget-threshold-crossed.v1.json"

    budget_id: Label
    """The budget."""

    tenant_id: Label
    """The tenant."""

    month: Annotated[str, Field(min_length=7, max_length=7, pattern=r"^[0-9]{4}-[0-9]{2}$")]
    """The calendar month (UTC), as year and month."""

    percent: Annotated[int, Field(strict=True, ge=1, le=1000)]
    """Percent of the budget's amount that was reached."""

    of: BudgetMeasure
    """What reached it."""

    currency: Currency
    """Currency of all amounts."""

    amount: NonNegativeDecimal
    """The budget's amount."""

    spent: NonNegativeDecimal
    """Spent in the month so far."""

    forecast: NonNegativeDecimal
    """What the month will cost at the present rate."""


class BudgetWithdrawn(Event):
    """Budget withdrawn. A budget counts no more."""

    TYPE: ClassVar[str] = "gpuaas.billing.budget-withdrawn.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "budget"
    SCHEMA: ClassVar[str] = "billing/budget-withdrawn.v1.json"

    budget_id: Label
    """The budget."""

    tenant_id: Label
    """The tenant."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    """Why it counts no more, for people."""


class CorrectionIssued(Event):
    """Correction issued. A billed period was rated again under other prices and the difference was
    told: what was too much as credit notes, what was missing as one more invoice, all in one step.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.correction-issued.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "correction"
    SCHEMA: ClassVar[str] = "billing/correction-issued.v1.json"

    correction_id: Label
    """The correction."""

    period_id: Label
    """The period: all corrections of one period of a tenant are one history."""

    tenant_id: Label
    """The tenant."""

    currency: Currency
    """Currency of all amounts."""

    period_start: Moment
    """First instant of the corrected period."""

    period_end: Moment
    """First instant behind the corrected period."""

    run_id: Label
    """The newest run that billed the period."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """Why, for people."""

    changes: Annotated[tuple[CorrectionChange, ...], Field(min_length=1, max_length=1000)]
    """What changes, by project, GPU model and price book version."""

    difference: ExactDecimal
    """More (positive) or less to pay, without tax."""

    credit_note_ids: Annotated[tuple[Label, ...], Field(max_length=1000)]
    """The credit notes that give back what was too much."""

    invoice_id: Label | None = None
    """The invoice for what was missing; absent: nothing was."""


class ImbalanceFound(Event):
    """Imbalance found. Two sums of the books that should be equal are not, in two looks one after the
    other. Nothing changes by itself: a person looks. The same difference is told once.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.imbalance-found.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "imbalance"
    SCHEMA: ClassVar[str] = "billing/imbalance-found.v1.json"

    imbalance_id: Label
    """The imbalance: the same for the same difference of the same sums."""

    check: Label
    """Which sums: a check of `GET /v1/conservation`, such as `trial-balance`."""

    about_tenant_id: Label | None = None
    """Whose books; absent: all tenants' together."""

    thing: Annotated[str, Field(min_length=1, max_length=200)]
    """What was compared: an invoice, an account, a usage record, a currency."""

    left: ExactDecimal
    """One sum, in the unit of the check."""

    right: ExactDecimal
    """The other sum."""


class CreditNoteIssued(Event):
    """Credit note issued. A part of an invoice, or all of it, is given back. The invoice itself never
    changes; the sum of its credit notes never passes it.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.credit-note-issued.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "invoice"
    SCHEMA: ClassVar[str] = "billing/credit-note-issued.v1.json"

    credit_note_id: Label
    """The credit note."""

    number: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9/._-]*$")]
    """The number printed on it: its series and its place in it."""

    invoice_id: Label
    """The invoice it corrects."""

    invoice_number: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9/._-]*$")]
    """The number of that invoice."""

    run_id: Label
    """The billing run that wrote that invoice."""

    tenant_id: Label
    """The tenant."""

    currency: Currency
    """Currency of all amounts; the invoice's."""

    reason: CreditNoteReason
    """Why: a `correction` of what was billed wrongly, `goodwill`, or a `void` of everything that was
    left.
    """

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """What happened, for people."""

    lines: Annotated[tuple[CreditNoteLine, ...], Field(min_length=1, max_length=1000)]
    """What is given back, by line."""

    net: NonNegativeDecimal
    """Sum of the lines."""

    taxes: Annotated[tuple[TaxGroup, ...], Field(max_length=20)]
    """Tax given back, by rate; empty where the invoice has none."""

    gross: NonNegativeDecimal
    """What the tenant owes less: net and tax."""

    cause: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """Id of what ordered it, such as a re-rating; absent: a person."""

    content_sha256: Sha256
    """Digest over the credit note's canonical content, everything above."""


class InvoiceFinalized(Event):
    """Invoice finalized. An invoice in its final form: it never changes again, a correction is another
    document. Each line can be proved from the usage records it adds up.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.invoice-finalized.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "invoice"
    SCHEMA: ClassVar[str] = "billing/invoice-finalized.v1.json"

    invoice_id: Label
    """The invoice."""

    run_id: Label
    """The billing run that wrote it."""

    number: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9/._-]*$")]
    """The number printed on it: its series and its place in it."""

    tenant_id: Label
    """The tenant that pays."""

    currency: Currency
    """Currency of all amounts."""

    period_start: Moment
    """First instant of the billed period."""

    period_end: Moment
    """First instant behind the billed period."""

    lines: Annotated[tuple[InvoiceLine, ...], Field(max_length=1000)]
    """The lines."""

    total: ExactDecimal
    """Sum of the lines' amounts."""

    taxes: Annotated[tuple[TaxGroup, ...], Field(max_length=20)] | None = None
    """Tax by rate, each rounded once on its sum; absent: this invoice is without tax."""

    gross: ExactDecimal | None = None
    """What is owed: total and taxes; absent: the total."""

    due_at: Moment | None = None
    """When it is to be paid by; absent: on receipt."""

    exemption_reason: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Why no tax is due."""

    content_sha256: Sha256
    """Digest over the invoice's canonical content, everything above."""


class InvoicePaymentRecorded(Event):
    """Invoice payment recorded. Money came in for an invoice."""

    TYPE: ClassVar[str] = "gpuaas.billing.invoice-payment-recorded.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "invoice"
    SCHEMA: ClassVar[str] = "billing/invoice-payment-recorded.v1.json"

    payment_id: Label
    """The payment."""

    invoice_id: Label
    """The invoice."""

    tenant_id: Label
    """The tenant."""

    currency: Currency
    """The invoice's currency."""

    amount: NonNegativeDecimal
    """What it settles, in the invoice's currency."""

    paid_currency: Currency
    """The currency it was paid in."""

    paid_amount: NonNegativeDecimal
    """What came in, in that currency."""

    rate: NonNegativeDecimal
    """Units of the invoice's currency for one of the paid one, as agreed; 1 when they are the same."""

    received_at: Moment
    """When it came in."""

    reference: Annotated[str, Field(min_length=1, max_length=200)]
    """The bank's or the provider's reference."""


class InvoicePartySet(Event):
    """Invoice party set. Who a tenant is on its invoices; for `platform`, who sells. A company's
    particulars, kept as long as the invoices that show them. Setting it again replaces it for
    invoices written later.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.invoice-party-set.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "invoice-party"
    SCHEMA: ClassVar[str] = "billing/invoice-party-set.v1.json"

    tenant_id: Label
    """The tenant that buys, or `platform` for who sells."""

    legal_name: Annotated[str, Field(min_length=1, max_length=200)]
    """Name in law."""

    street: Annotated[str, Field(min_length=1, max_length=200)]
    """Street and number."""

    city: Annotated[str, Field(min_length=1, max_length=100)]
    """City of the address."""

    postal_code: Annotated[str, Field(min_length=1, max_length=20)]
    """Postal code of the address."""

    country: Annotated[str, Field(min_length=2, max_length=2, pattern=r"^[A-Z]{2}$")]
    """Country by its two-letter ISO 3166-1 code."""

    vat_id: Annotated[str, Field(min_length=4, max_length=20, pattern=r"^[A-Z]{2}[A-Z0-9]{2,18}$")] | None = None
    """VAT identifier, beginning with its country's code."""

    registration_id: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    """Number in the register of companies or the like."""

    buyer_reference: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """What the buyer wants to find on its invoices, such as a cost centre or order."""

    iban: Annotated[str, Field(min_length=15, max_length=34, pattern=r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$")] | None = None
    """The seller's account, where the money goes."""


class InvoiceNumberAssigned(Event):
    """Invoice number assigned. A series of invoice numbers gave its next number to an invoice. Numbers
    of a series have no gaps, because each one is decided on the series' own history.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.invoice-number-assigned.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "invoice-series"
    SCHEMA: ClassVar[str] = "billing/invoice-number-assigned.v1.json"

    series: Label
    """The series."""

    number: Annotated[int, Field(strict=True, ge=1, le=999999999)]
    """The number, one more than the series' last."""

    invoice_id: Label
    """The invoice that got it."""


class LedgerTransferPosted(Event):
    """Ledger transfer posted. Money moved between accounts of a tenant's ledger. The entries of a
    transfer add up to zero; a transfer never changes, a correction is another transfer.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.ledger-transfer-posted.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "ledger"
    SCHEMA: ClassVar[str] = "billing/ledger-transfer-posted.v1.json"

    transfer_id: Label
    """The transfer."""

    tenant_id: Label
    """The tenant whose ledger it is."""

    currency: Currency
    """Currency of all entries."""

    entries: Annotated[tuple[LedgerEntry, ...], Field(min_length=2, max_length=100)]
    """What each account gains; the sum is zero."""

    description: Annotated[str, Field(min_length=1, max_length=500)]
    """What it is for."""

    cause: Annotated[str, Field(min_length=1, max_length=128)]
    """Id of what caused it, such as the invoice; a cause posts once."""


class MeterDefined(Event):
    """Meter defined. A version of a meter for usage that is reported and not read from allocations,
    such as storage and tokens: its unit, how values become a quantity, and what it costs. A version
    never changes.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.meter-defined.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "meter"
    SCHEMA: ClassVar[str] = "billing/meter-defined.v1.json"

    meter_id: Label
    """The meter."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Version, counted from 1."""

    unit: Annotated[str, Field(min_length=1, max_length=40)]
    """What is sold, for people: GB-hour, 1000 tokens."""

    aggregation: Aggregation
    """How values become a quantity: `sum` adds them up; `max` is the highest of the period;
    `time-weighted` is a level that holds until the next value, times the milliseconds it held.
    """

    per_unit: Count64
    """How much of what is reported one sold unit is; of a level, times milliseconds: a GB-hour of
    reported bytes is 1000000000 × 3600000.
    """

    currency: Currency
    """Currency of its prices."""

    price_model: PriceModel
    """What the tiers mean: `per-unit` has one; `graduated` prices each unit by the tier it falls into;
    `volume` prices all by the tier of the whole; `package` sells whole packages of `package` units.
    """

    package: Count64 | None = None
    """Sold units in a package; absent: not sold in packages."""

    free: Count64 | None = None
    """Sold units of a month that cost nothing; absent: none."""

    tiers: Annotated[tuple[MeterTier, ...], Field(min_length=1, max_length=20)]
    """The prices, by quantity of a project in a calendar month (UTC)."""

    effective_from: Moment
    """The start of the calendar month (UTC) from which on it holds."""


class PriceAgreementEnded(Event):
    """Price agreement ended. An agreement on prices ends before its time. What was used before stays
    priced by it.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.price-agreement-ended.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "price-agreement"
    SCHEMA: ClassVar[str] = "billing/price-agreement-ended.v1.json"

    agreement_id: Label
    """The agreement."""

    tenant_id: Label
    """The tenant it was with; `platform`: all."""

    ends_at: Moment
    """The first instant it is no longer for."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]
    """Why, for people."""


class PriceAgreementMade(Event):
    """Price agreement made. Other prices than the list's, for a time: a tenant's contract, or a
    campaign for one tenant or for all. Contracts come first, campaigns on top; of several of a kind
    the one of the highest precedence that has a rule for what was used holds. An agreement never
    changes; it may be ended.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.price-agreement-made.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "price-agreement"
    SCHEMA: ClassVar[str] = "billing/price-agreement-made.v1.json"

    agreement_id: Label
    """The agreement."""

    tenant_id: Label
    """The tenant it is with; `platform`: a campaign for every tenant that pays in the currency."""

    kind: AgreementKind
    """`contract`: replaces the list price. `campaign`: lowers what list and contract come to, and
    never raises it.
    """

    currency: Currency
    """Currency of its prices."""

    effective_from: Moment
    """The first instant it is for."""

    effective_until: Moment | None = None
    """The first instant it is no longer for; absent: until it is ended."""

    precedence: Annotated[int, Field(strict=True, ge=0, le=1000)]
    """Of several agreements of a kind the highest goes first; among equals the one that begins later,
    then the one whose id is later in the alphabet.
    """

    calculated_on: PriceBasis | None = None
    """Of a campaign with a percentage: what it is taken of; absent: of the contract's price."""

    rules: Annotated[tuple[PriceRule, ...], Field(min_length=1, max_length=100)]
    """Its prices; the first one that fits holds."""

    reason: Annotated[str, Field(min_length=1, max_length=200)]
    """Why, for people: number of the contract, name of the campaign."""


class PriceBookPublished(Event):
    """Price book published. A version of a price list, with the time it is for. A version never
    changes; a change is the next version.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.price-book-published.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "price-book"
    SCHEMA: ClassVar[str] = "billing/price-book-published.v1.json"

    price_book_id: Label
    """The price book."""

    version: Annotated[int, Field(strict=True, ge=1, le=1000000)]
    """Version, counted from 1."""

    currency: Currency
    """Currency of all its prices."""

    effective_from: Moment
    """The first instant the prices are for."""

    effective_until: Moment | None = None
    """The first instant they are no longer for; absent: until a later version."""

    prices: Annotated[tuple[Price, ...], Field(min_length=1, max_length=1000)]
    """The prices, at most one for each GPU model and unit."""

    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] | None = None
    """Where bands count their hours, by its name in the IANA time zone database; absent: no price has
    bands.
    """

    utc_offsets: Annotated[tuple[UtcOffset, ...], Field(min_length=1, max_length=1000)] | None = None
    """The zone's offsets over all the time the version can be for, as the zone database had them when
    the version was published: whoever computes needs no zone database. Absent: no price has bands.
    """


class SpendingLevelChanged(Event):
    """Spending level changed. How much more a tenant, or one of its projects, may spend has moved on
    the ladder: open, warned, blocked (nothing new starts), stopping (what runs ends at
    `grace_until`). Billing decides it, whoever starts and stops work reacts to it; the newest event
    of a scope counts.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.spending-level-changed.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "spending"
    SCHEMA: ClassVar[str] = "billing/spending-level-changed.v1.json"

    scope_id: Label
    """What the level is for: the tenant's own id, or the id of a budget."""

    tenant_id: Label
    """The tenant."""

    project_id: Label | None = None
    """The only project concerned; absent: everything of the tenant."""

    level: SpendingLevel
    """Where it stands now: `open` as usual; `warned` running low, nothing is refused; `blocked` no new
    work; `stopping` no new work, and what runs ends at `grace_until`.
    """

    cause: SpendingCause
    """Why: `prepaid` credit runs out, a `budget` is used up, or an `operator` said so."""

    runway_s: Annotated[int, Field(strict=True, ge=0, le=3155760000)] | None = None
    """Seconds that what is left lasts at the present rate of spending, rounded down; absent: not
    limited by a rate.
    """

    grace_until: Moment | None = None
    """First instant at which nothing of the scope may run any more; only with `stopping`."""

    detail: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """One sentence for people: what happened and what to do."""


class TaxProfileSet(Event):
    """Tax profile set. How a tenant is taxed and by when it pays, from the next billing run on.
    Setting it again replaces it; without one a tenant's invoices carry no tax.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.tax-profile-set.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "tax-profile"
    SCHEMA: ClassVar[str] = "billing/tax-profile-set.v1.json"

    tenant_id: Label
    """The tenant."""

    category: TaxCategory
    """Category by UN/CEFACT code list 5305: `S` standard, `Z` zero rated, `E` exempt, `AE` reverse
    charge, `O` outside the scope of tax.
    """

    percent: NonNegativeDecimal
    """Rate in percent; 0 in all categories but `S`."""

    exemption_reason: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Why no tax is due, for categories `E`, `AE` and `O`."""

    payment_days: Annotated[int, Field(strict=True, ge=0, le=365)]
    """Days from an invoice until it is due."""


class UsageDiscrepancyFound(Event):
    """Usage discrepancy found. What was metered and another account of it disagree. Nothing changes by
    itself: a person looks, and credits what was too much.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.usage-discrepancy-found.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "usage"
    SCHEMA: ClassVar[str] = "billing/usage-discrepancy-found.v1.json"

    discrepancy_id: Label
    """The discrepancy."""

    usage_id: Label
    """The allocation's first usage record, under whose subject all of them stand."""

    kind: DiscrepancyKind
    """`ended-before-cut`: the end, told late, lies before a cut, so time beyond it is metered that was
    not used.
    """

    tenant_id: Label
    """The tenant."""

    project_id: Label
    """The project."""

    allocation_id: Label
    """The allocation."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    found_from: Moment
    """First instant of the time in question."""

    found_until: Moment
    """First instant behind it."""

    gpu_ms: Count64
    """GPU-milliseconds in question, floored."""

    event_id: Label | None = None
    """Id of the event that contradicts; absent: no event of the log does."""

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    """What disagrees, for people."""


class UsageMetered(Event):
    """Usage metered. What an allocation used, as an exact quantity over a half-open interval. Prices
    are not in here: usage is a fact, its price is a decision.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.usage-metered.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "usage"
    SCHEMA: ClassVar[str] = "billing/usage-metered.v1.json"

    usage_id: Label
    """The usage record's id; the same as the allocation's for its first part, under whose subject all
    parts stand.
    """

    tenant_id: Label
    """The tenant that used it."""

    project_id: Label
    """The project that used it."""

    allocation_id: Label
    """The allocation."""

    gpu_model: Label
    """The GPU model, by its name in the inventory's catalogue."""

    gpu_count: Annotated[int, Field(strict=True, ge=1, le=65536)]
    """GPUs held."""

    share_milli: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    """Thousandths of each GPU that were held; absent: whole GPUs (1000)."""

    started_at: Moment
    """First instant of the interval."""

    ended_at: Moment
    """First instant behind the interval."""

    gpu_ms: Count64
    """Quantity: GPU-milliseconds, `gpu_count` times the milliseconds of the interval, of a share that
    part, floored.
    """

    gpu_us: Count64 | None = None
    """Exact quantity in GPU-microseconds: `gpu_count` times `share_milli` times the milliseconds;
    absent: 1000 times `gpu_ms`.
    """

    start_event_id: Label
    """Id of the event that says when it started."""

    end_event_id: Label
    """Id of the event that says when it ended; of an interim record the same as `start_event_id`."""

    part: Annotated[int, Field(strict=True, ge=2, le=1000000)] | None = None
    """Which record of the allocation this is, from 2 on; it goes on where the one before ended.
    Absent: the first.
    """

    interim: Annotated[bool, Field(strict=True)] | None = None
    """True: the allocation ran on at `ended_at`, where a billed period ends; another record follows.
    Absent: the last.
    """

    labels: Annotated[Mapping[Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9._/-]{0,61}[a-zA-Z0-9])?$")], Annotated[str, Field(min_length=0, max_length=256)]], Field(max_length=32), Frozen, AsObject] | None = None
    """The allocation's labels, by name, as it was asked for; absent: none."""


class UsageReported(Event):
    """Usage reported. A source says how much was used, at a moment. What a source said under one id
    stands once, for ever: said again with the same content it changes nothing, with another it is
    refused.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.usage-reported.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "usage-report"
    SCHEMA: ClassVar[str] = "billing/usage-reported.v1.json"

    report_id: Label
    """The report: derived from its source and the source's id."""

    tenant_id: Label
    """The tenant that used it."""

    project_id: Label
    """The project."""

    meter_id: Label
    """The meter."""

    source: Label
    """Who says so."""

    source_event_id: Annotated[str, Field(min_length=1, max_length=128)]
    """The source's own id of it, used once."""

    used_at: Moment
    """When; of a level, from when on."""

    value: Count64
    """How much, in what the meter counts."""

    subject: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """What it is about, such as a volume; a level holds for it until the next value of the same.
    Absent: the project.
    """

    body_sha256: Sha256
    """Digest over the canonical form (RFC 8785) of everything above, times in UTC."""


class CreditApplied(Event):
    """Credit applied. Prepaid credit paid for an invoice, first what was held for it, then what was
    free. What it did not reach is due.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.credit-applied.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "wallet"
    SCHEMA: ClassVar[str] = "billing/credit-applied.v1.json"

    tenant_id: Label
    """The tenant whose credit it is."""

    currency: Currency
    """Currency of all amounts; the tenant's."""

    invoice_id: Label
    """The invoice."""

    from_hold: Annotated[tuple[CreditPart, ...], Field(max_length=1000)]
    """What had been held for it, in the order it was taken."""

    from_free: Annotated[tuple[CreditPart, ...], Field(max_length=1000)]
    """What was taken from grants only now."""

    amount: NonNegativeDecimal
    """Sum of the parts."""

    due: NonNegativeDecimal
    """What is left of the invoice."""


class CreditGranted(Event):
    """Credit granted. A tenant was given prepaid credit, bought or for free. Usage burns it before
    anything is owed: grants with a lower `priority` first, then those that end sooner, then what
    was given for free, then the older.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.credit-granted.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "wallet"
    SCHEMA: ClassVar[str] = "billing/credit-granted.v1.json"

    grant_id: Label
    """The grant."""

    tenant_id: Label
    """The tenant whose credit it is."""

    currency: Currency
    """Currency of all amounts; the tenant's."""

    amount: NonNegativeDecimal
    """What was granted, in whole minor units of the currency."""

    kind: CreditKind
    """Whether it was `purchased` (money came in) or is `promotional` (given for free)."""

    priority: Annotated[int, Field(strict=True, ge=0, le=100)]
    """Order of burning: lower first."""

    project_ids: Annotated[tuple[Label, ...], Field(max_length=100), Unique]
    """The only projects whose usage it pays for; empty: all."""

    effective_from: Moment
    """First instant from which it can be used."""

    expires_at: Moment | None = None
    """First instant at which what is left of it lapses; absent: never."""

    reference: Annotated[str, Field(min_length=1, max_length=200)]
    """What it rests on: an order, a contract, a campaign."""


class CreditHeld(Event):
    """Credit held. Prepaid credit was set aside for usage that is on no invoice yet, up to
    `covers_until`: renewed each interval while something runs. `collected` and `returned` are the
    changes against the hold before; a hold that is not renewed ends at `expires_at`.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.credit-held.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "wallet"
    SCHEMA: ClassVar[str] = "billing/credit-held.v1.json"

    tenant_id: Label
    """The tenant whose credit it is."""

    currency: Currency
    """Currency of all amounts; the tenant's."""

    as_of: Moment
    """The instant it was computed at."""

    covers_until: Moment
    """Usage up to here is covered as it runs now."""

    expires_at: Moment
    """First instant at which the hold counts no more unless it was renewed."""

    collected: Annotated[tuple[CreditPart, ...], Field(max_length=1000)]
    """What was taken from grants, in order."""

    returned: Annotated[tuple[CreditPart, ...], Field(max_length=1000)]
    """What went back to grants, in order: the reverse of how it was taken."""

    held: NonNegativeDecimal
    """Everything held after this."""

    uncovered: Annotated[tuple[ProjectAmount, ...], Field(max_length=1000)]
    """Cost of uninvoiced usage that no grant covers, by project."""

    burn_per_hour: NonNegativeDecimal
    """What is spent in an hour at the present rate."""


class CreditLapsed(Event):
    """Credit lapsed. What was left of a grant can be used no more: it reached its end, or somebody
    took it back. What is held for usage before then stays held.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.credit-lapsed.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "wallet"
    SCHEMA: ClassVar[str] = "billing/credit-lapsed.v1.json"

    tenant_id: Label
    """The tenant whose credit it is."""

    currency: Currency
    """Currency of all amounts; the tenant's."""

    grant_id: Label
    """The grant."""

    amount: NonNegativeDecimal
    """What was left of it."""

    reason: LapseReason
    """Whether it `expired` or was `voided`."""

    detail: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Why it was taken back, for people."""


class CreditRestored(Event):
    """Credit restored. Prepaid credit that had paid for an invoice went back to its grants, in the
    reverse order in which it had been taken.
    """

    TYPE: ClassVar[str] = "gpuaas.billing.credit-restored.v1"
    SERVICE: ClassVar[str] = "billing"
    ENTITY: ClassVar[str] = "wallet"
    SCHEMA: ClassVar[str] = "billing/credit-restored.v1.json"

    tenant_id: Label
    """The tenant whose credit it is."""

    currency: Currency
    """Currency of all amounts; the tenant's."""

    invoice_id: Label
    """The invoice it had paid for."""

    document_id: Label
    """The credit note that gives it back."""

    parts: Annotated[tuple[CreditPart, ...], Field(max_length=1000)]
    """What each grant got back, in order."""

    amount: NonNegativeDecimal
    """Sum of the parts."""


EVENTS: tuple[type[Event], ...] = (
    AccessesRefused,
    OperatorAccessUsed,
    BillingRunCompleted,
    BillingRunStarted,
    BudgetSet,
    BudgetThresholdCrossed,
    BudgetWithdrawn,
    CorrectionIssued,
    ImbalanceFound,
    CreditNoteIssued,
    InvoiceFinalized,
    InvoicePaymentRecorded,
    InvoicePartySet,
    InvoiceNumberAssigned,
    LedgerTransferPosted,
    MeterDefined,
    PriceAgreementEnded,
    PriceAgreementMade,
    PriceBookPublished,
    SpendingLevelChanged,
    TaxProfileSet,
    UsageDiscrepancyFound,
    UsageMetered,
    UsageReported,
    CreditApplied,
    CreditGranted,
    CreditHeld,
    CreditLapsed,
    CreditRestored,
)
