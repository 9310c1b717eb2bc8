"""What is taxed, discounted and owed in the end. One law: tax is rounded once for each rate, on the sum it is due on.

The order is fixed: charges, less coupons, is the net; tax on the net; credit notes and prepaid credit lessen what is
due and change no tax. A credit note is a difference: what is credited so far, taxed and rounded, less what earlier
notes of the same invoice gave. However an invoice is credited, its notes together never differ from it by a cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from gpuaas.billing.domain.apportion import apportioned
from gpuaas.common.errors import Invalid
from gpuaas.common.money import minor_digits, rounded

TaxCategory: TypeAlias = Literal["S", "Z", "E", "AE", "O"]
"""UNCL5305: S standard rate, Z zero rated, E exempt, AE reverse charge, O outside the scope of tax."""
UNTAXED: Final[frozenset[str]] = frozenset({"Z", "E", "AE", "O"})
HUNDRED: Final = 100


@dataclass(frozen=True, slots=True, order=True)
class Tax:
    """A category and its rate in percent."""

    category: TaxCategory
    percent: Decimal

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= HUNDRED:
            raise Invalid(f"{self.percent:f} percent is no tax rate; use 0 to 100")
        if self.category in UNTAXED and self.percent != 0:
            raise Invalid(f"tax category {self.category} has no rate; leave the percentage at 0")

    def on(self, net: Fraction) -> Fraction:
        """The tax on `net`, exactly."""
        return net * Fraction(self.percent) / HUNDRED


@dataclass(frozen=True, slots=True)
class TaxGroup:
    """Everything taxed alike: its net sum and the tax on it, both rounded."""

    tax: Tax
    net: Decimal
    amount: Decimal


def grouped(nets: Sequence[tuple[Tax, Fraction]], currency: str) -> list[TaxGroup]:
    """One group for each rate, on the sum of what is taxed so; in order of category and rate."""
    sums: dict[Tax, Fraction] = {}
    for tax, net in nets:
        sums[tax] = sums.get(tax, Fraction(0)) + net
    return [TaxGroup(tax, rounded(net, currency), rounded(tax.on(net), currency)) for tax, net in sorted(sums.items())]


def tax_by_line(nets: Sequence[tuple[Tax, Fraction]], currency: str) -> Decimal:
    """The other convention, tax rounded line by line. Invoices of ours do not use it: EN 16931 sums first."""
    return sum((rounded(tax.on(net), currency) for tax, net in nets), Decimal(0))


def less_coupon(nets: Sequence[Decimal], coupon: Decimal, currency: str) -> list[Decimal]:
    """What each line bears of a coupon, in proportion to the lines and never more than they sum to."""
    whole = sum(nets, Decimal(0))
    if whole <= 0:
        return [Decimal(0)] * len(nets)
    return apportioned(min(coupon, whole), [Fraction(net) for net in nets], minor_digits(currency))


@dataclass(frozen=True, slots=True)
class Totals:
    """From charges to what is due."""

    net: Decimal
    tax: Decimal
    gross: Decimal
    due: Decimal


def totalled(
    nets: Sequence[tuple[Tax, Decimal]], coupon: Decimal, credited: Decimal, prepaid: Decimal, currency: str
) -> Totals:
    """The totals of an invoice, in the order that this file's first lines say."""
    off = less_coupon([net for _, net in nets], coupon, currency)
    taxed = [(tax, Fraction(net - less)) for (tax, net), less in zip(nets, off, strict=True)]
    groups = grouped(taxed, currency)
    net = sum((group.net for group in groups), Decimal(0))
    tax = sum((group.amount for group in groups), Decimal(0))
    gross = net + tax
    return Totals(net, tax, gross, max(Decimal(0), gross - credited - prepaid))


@dataclass(frozen=True, slots=True)
class Credited:
    """What a credit note gives back."""

    net: Decimal
    tax: Decimal

    @property
    def gross(self) -> Decimal:
        return self.net + self.tax


def credit_due(
    nets: Mapping[Tax, Fraction], earlier: Mapping[Tax, Fraction], given: Mapping[Tax, Credited], currency: str
) -> dict[Tax, Credited]:
    """What a note that credits `nets` gives, by rate, after notes that credited `earlier` and gave `given`.

    Net and tax are exact before they are rounded: tax is taken on the unrounded net.
    """
    found: dict[Tax, Credited] = {}
    for tax, net in nets.items():
        so_far = earlier.get(tax, Fraction(0)) + net
        before = given.get(tax, Credited(Decimal(0), Decimal(0)))
        found[tax] = Credited(rounded(so_far, currency) - before.net, rounded(tax.on(so_far), currency) - before.tax)
    return found
