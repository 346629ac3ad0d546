"""Exact decimal money: reading, writing and the one rounding of an invoice line.

Amounts are `decimal.Decimal` from the wire to the invoice. All arithmetic that matters goes through
`CONTEXT`, so that a caller's own decimal context can never shorten a bill.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Final

__all__ = ["CONTEXT", "ZERO", "MoneyError", "decimal_of", "minor_units", "plain", "round_line"]

CONTEXT: Final = Context(
    prec=50, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow], capitals=1, clamp=0
)
"""The arithmetic of every amount: 50 digits hold any quantity (20 digits) times any price (30) exactly."""

ZERO: Final = Decimal(0)

_TEXT: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_DIGITS_MAX: Final = 50
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_MINOR_UNITS: Final = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}


class MoneyError(ValueError):
    """A value that is not an exact, finite decimal, or a currency that is no ISO 4217 code."""


def decimal_of(value: str | int | Decimal) -> Decimal:
    """The exact decimal that `value` states; raises MoneyError for floats, NaN, infinities and over 50
    digits.

    Text may carry a sign and an exponent, but no blanks, underscores or digits outside ASCII.
    """
    if isinstance(value, str):
        if len(value) > 128 or _TEXT.fullmatch(value) is None:
            raise MoneyError(f"{value[:40]!r} is not a decimal number; write it like 12.50")
        number = Decimal(value)
    elif isinstance(value, Decimal):
        number = value
    elif type(value) is int:
        number = Decimal(value)
    else:
        raise MoneyError(f"{type(value).__name__} is not exact; give decimal text, an int or a Decimal")
    if not number.is_finite():
        raise MoneyError(f"{number} is not a number; give a finite decimal")
    digits, exponent = number.as_tuple()[1:]
    if len(digits) > _DIGITS_MAX or (number and not -_DIGITS_MAX <= int(exponent) <= _DIGITS_MAX):
        raise MoneyError(f"more than {_DIGITS_MAX} digits; amounts are kept to {_DIGITS_MAX}")
    return number


def plain(number: Decimal) -> str:
    """Canonical text of a finite decimal: no exponent, no trailing zeros, "0" for every zero."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def minor_units(currency: str) -> int:
    """Fractional digits of an ISO 4217 currency: 2 for USD, 0 for JPY, 3 for KWD; raises MoneyError for no
    code.
    """
    if _CURRENCY.fullmatch(currency) is None:
        raise MoneyError(f"{currency[:40]!r} is not a currency; give an ISO 4217 code like USD")
    return _MINOR_UNITS.get(currency, 2)


def round_line(amount: Decimal, currency: str) -> Decimal:
    """`amount` rounded half-even to the currency's minor units; `str` of it shows them all: "0.10" USD, "12"
    JPY.
    """
    unit = Decimal(1).scaleb(-minor_units(currency))
    return CONTEXT.plus(CONTEXT.quantize(amount, unit))
