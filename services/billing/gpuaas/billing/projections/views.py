"""All read models of billing together, to be handed to whoever asks. One law: it holds them and does nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpuaas.billing.projections.billed_tenants import BilledTenants
from gpuaas.billing.projections.billing_runs import BillingRuns
from gpuaas.billing.projections.budgets import Budgets
from gpuaas.billing.projections.corrections import CorrectionsIssued
from gpuaas.billing.projections.held_allocations import HeldAllocations
from gpuaas.billing.projections.invoice_parties import InvoiceParties
from gpuaas.billing.projections.invoices import Invoices
from gpuaas.billing.projections.labelled_allocations import LabelledAllocations
from gpuaas.billing.projections.ledger_balances import LedgerBalances
from gpuaas.billing.projections.metered_usage import MeteredUsage
from gpuaas.billing.projections.price_agreements import PriceAgreements
from gpuaas.billing.projections.price_books import PriceBooks
from gpuaas.billing.projections.reported_usage import ReportedUsage
from gpuaas.billing.projections.settlements import Settlements
from gpuaas.billing.projections.tax_profiles import TaxProfiles
from gpuaas.billing.projections.usage_discrepancies import UsageDiscrepancies
from gpuaas.billing.projections.wallets import Wallets
from gpuaas.common.projections import Projection


@dataclass(frozen=True, slots=True)
class Views:
    """One of each."""

    usage: MeteredUsage = field(default_factory=MeteredUsage)
    held: HeldAllocations = field(default_factory=HeldAllocations)
    tenants: BilledTenants = field(default_factory=BilledTenants)
    prices: PriceBooks = field(default_factory=PriceBooks)
    agreements: PriceAgreements = field(default_factory=PriceAgreements)
    reported: ReportedUsage = field(default_factory=ReportedUsage)
    invoices: Invoices = field(default_factory=Invoices)
    parties: InvoiceParties = field(default_factory=InvoiceParties)
    ledger: LedgerBalances = field(default_factory=LedgerBalances)
    runs: BillingRuns = field(default_factory=BillingRuns)

    wallets: Wallets = field(default_factory=Wallets)
    budgets: Budgets = field(default_factory=Budgets)
    labels: LabelledAllocations = field(default_factory=LabelledAllocations)

    settled: Settlements = field(default_factory=Settlements)
    taxes: TaxProfiles = field(default_factory=TaxProfiles)
    corrections: CorrectionsIssued = field(default_factory=CorrectionsIssued)
    discrepancies: UsageDiscrepancies = field(default_factory=UsageDiscrepancies)

    def all(self) -> tuple[Projection, ...]:
        ledger = (self.prices, self.agreements, self.reported, self.invoices, self.parties, self.ledger, self.runs)
        return (
            self.usage,
            self.held,
            self.tenants,
            *ledger,
            self.wallets,
            self.budgets,
            self.labels,
            self.settled,
            self.taxes,
            self.corrections,
            self.discrepancies,
        )
