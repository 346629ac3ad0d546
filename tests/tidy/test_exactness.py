"""No float stands near money, and the rule is able to fail."""

import pytest

from tests.tidy.exactness import no_float_near_money
from tests.tidy.sources import package_sources, source_of

RATING = "collector/src/aforo_collector/domain/rating.py"
SERVICE = "collector/src/aforo_collector/service/invoices.py"
USES_MONEY = "from aforo_collector.domain import money\n"

VIOLATIONS = [
    (RATING, "rate = 0.1"),
    (RATING, "rate = float('0.1')"),
    (RATING, "def share(rate: float) -> str: ..."),
    (RATING, "rate = 1 / 3"),
    (RATING, "def share(part: int, whole: int): return part / whole"),
    (RATING, "def mean(xs): return len(xs) / 2"),
    (RATING, "def half(x: int):\n    x /= 2"),
    ("collector/src/aforo_collector/domain/pricing/per_unit.py", "x = 1e-3"),
    (SERVICE, USES_MONEY + "rate = 0.1"),
    (SERVICE, "from aforo_collector.domain.money import plain\nrate = 0.1"),
]

ALLOWED = [
    (RATING, "from decimal import Decimal\nshare = Decimal(1) / 3"),
    (RATING, "def share(part: Decimal, whole: int): return part / whole"),
    (RATING, "half = 7 // 2"),
    (SERVICE, "timeout_s = 0.5"),
]


def test_no_float_stands_near_money():
    """Whatever prices, rates or invoices, and whatever imports money, computes without float."""
    violations = [violation for source in package_sources() for violation in no_float_near_money(source)]

    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(("path", "text"), VIOLATIONS)
def test_a_float_near_money_is_found(path, text):
    """A float literal, the name float, or a division of plain numbers near money is a violation."""
    assert list(no_float_near_money(source_of(text, path)))


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_decimal_arithmetic_passes(path, text):
    """Decimal division near money and floats far from it are left alone."""
    assert not list(no_float_near_money(source_of(text, path)))
