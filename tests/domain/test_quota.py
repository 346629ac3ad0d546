"""Quota decisions."""

from __future__ import annotations

from decimal import Decimal

import pytest
from aforo_collector.domain.quota import Decision, decide
from hypothesis import given
from hypothesis import strategies as st

amounts = st.decimals(0, 10**6, places=2)


@pytest.mark.parametrize(
    ("used", "asked", "decision"),
    [
        ("1000", "0", Decision.DENY),
        ("1000.000001", "0", Decision.DENY),
        ("999", "1.000001", Decision.DENY),
        ("0", "1001", Decision.DENY),
        ("999", "1", Decision.WARN),
        ("950", "0", Decision.WARN),
        ("0", "950", Decision.WARN),
        ("949.999999", "0", Decision.ALLOW),
        ("0", "0", Decision.ALLOW),
    ],
)
def test_a_quota_warns_from_95_percent_on_and_denies_what_goes_beyond(
    used: str, asked: str, decision: Decision
) -> None:
    """Exactly the limit may be used, and not a millionth more."""
    standing = decide("calls", "pro", Decimal(used), Decimal(1000), Decimal(asked))
    assert standing.decision is decision
    assert f"{used} of 1000 calls" in standing.reason


@given(amounts, amounts, amounts, amounts)
def test_more_usage_never_makes_the_answer_milder(
    used: Decimal, asked: Decimal, limit: Decimal, more: Decimal
) -> None:
    """A decision only gets graver as usage grows, or as more is asked for, and milder with a higher limit."""

    def decision(used: Decimal, limit: Decimal, asked: Decimal) -> Decision:
        return decide("calls", "pro", used, limit, asked).decision

    now = decision(used, limit, asked)
    assert decision(used + more, limit, asked) >= now
    assert decision(used, limit, asked + more) >= now
    assert decision(used, limit + more, asked) <= now
