"""Money. One law: exact decimals or integers, one rounding function, never a float."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Final

from gpuaas.common.errors import Invalid

MINOR_DIGITS: Final = {"EUR": 2, "USD": 2, "GBP": 2, "CHF": 2, "JPY": 0, "KWD": 3}
"""Digits of the minor unit by ISO 4217 currency code; a currency not named here is refused."""


def minor_digits(currency: str) -> int:
    """Digits after the point on an invoice in `currency`.

    Raises:
        Invalid: the currency is not one this suite can round.
    """
    try:
        return MINOR_DIGITS[currency]
    except KeyError:
        known = ", ".join(sorted(MINOR_DIGITS))
        raise Invalid(f"{currency!r} is not a known currency; use one of {known}") from None


def rounded(amount: Fraction, currency: str) -> Decimal:
    """`amount` to the currency's minor unit, half up (away from zero): the suite's one rounding point."""
    scale = 10 ** minor_digits(currency)
    scaled = amount * scale
    whole, rest = divmod(abs(scaled.numerator), scaled.denominator)
    if 2 * rest >= scaled.denominator:
        whole += 1
    return Decimal(whole if scaled >= 0 else -whole).scaleb(-minor_digits(currency))


def decimal(text: str) -> Decimal:
    """A finite decimal written plainly, such as `12.50`.

    Raises:
        Invalid: not a plain decimal number.
    """
    try:
        value = Decimal(text)
    except ArithmeticError:
        raise Invalid(f"{text!r} is not a decimal number; write it like 12.50") from None
    if not value.is_finite():
        raise Invalid(f"{text!r} is not a finite number; write it like 12.50")
    return value


def plain(value: Decimal) -> str:
    """A decimal as text without exponent."""
    return format(value, "f")
