"""Exact money: reading, writing, rounding."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from aforo_collector.domain.money import CONTEXT, MoneyError, decimal_of, minor_units, plain, round_line
from hypothesis import given
from hypothesis import strategies as st

amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=15)


@given(amounts)
def test_plain_text_reads_back_as_the_same_number(amount: Decimal) -> None:
    """Writing and reading an amount must change nothing, and equal amounts must have one text."""
    text = plain(amount)
    assert decimal_of(text) == amount
    assert "E" not in text
    assert plain(CONTEXT.multiply(amount, Decimal("1.000"))) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0", "0"),
        ("-0.00", "0"),
        ("1E+3", "1000"),
        ("100", "100"),
        ("0.100", "0.1"),
        ("1E-12", "0.000000000001"),
    ],
)
def test_plain_is_canonical(number: str, text: str) -> None:
    """There must be no exponent, no trailing zero and no negative zero."""
    assert plain(Decimal(number)) == text


@pytest.mark.parametrize(
    "value",
    [
        *(1.5, float("nan"), True, None, b"1", 10**60, Decimal("NaN"), Decimal("Infinity"), Decimal("1E+60")),
        *("NaN", "inf", "-Infinity", "", " 1", "1_000", "1,5", "0x10", "٣"),
        *("9" * 51, "1e51", "1e-51", "1e99999"),
    ],
)
def test_what_is_not_an_exact_finite_decimal_is_refused(value: object) -> None:
    """A float, NaN, an infinity, sloppy text or more digits than are kept must raise, never be guessed."""
    with pytest.raises(MoneyError):
        decimal_of(value)  # type: ignore[arg-type]


def test_exact_values_are_taken_as_they_are() -> None:
    """Ints, decimals and text with sign or exponent must keep their exact value."""
    assert [decimal_of(value) for value in (3, "-0.10", Decimal("2.50"), "1e-3", ".5", "5.")] == [
        Decimal(text) for text in ("3", "-0.10", "2.50", "0.001", "0.5", "5")
    ]


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("0.1", "USD", "0.10"),
        ("0.125", "USD", "0.12"),
        ("0.135", "USD", "0.14"),
        ("-0.001", "USD", "0.00"),
        ("1234567890123456.785", "USD", "1234567890123456.78"),
        ("12.5", "JPY", "12"),
        ("0.0005", "KWD", "0.000"),
        ("0.0015", "KWD", "0.002"),
        ("1.00005", "CLF", "1.0000"),
    ],
)
def test_a_line_rounds_half_even_to_the_minor_units_of_its_currency(
    amount: str, currency: str, text: str
) -> None:
    """The text of a rounded amount must show exactly the currency's digits."""
    assert str(round_line(Decimal(amount), currency)) == text


@given(amounts)
def test_rounding_does_not_depend_on_the_callers_decimal_context(amount: Decimal) -> None:
    """A program that set a narrow decimal context must get the same line."""
    expected = round_line(amount, "USD")
    with localcontext(prec=3):
        assert round_line(amount, "USD") == expected


@pytest.mark.parametrize("currency", ["", "usd", "US", "EURO", "ÄÖÜ"])
def test_a_currency_is_an_iso_code(currency: str) -> None:
    """Anything but three capital letters must raise."""
    with pytest.raises(MoneyError):
        minor_units(currency)
