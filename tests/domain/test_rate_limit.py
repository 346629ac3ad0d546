"""A rate limit lets a minute's requests through at once and then one at a time."""

from __future__ import annotations

from aforo_collector.domain.rate_limit import seconds, spend
from hypothesis import given
from hypothesis import strategies as st

MINUTE_NS = 60_000_000_000
START_NS = 1_795_000_000_000_000_000


@given(st.integers(1, 500), st.lists(st.integers(0, 20_000_000_000), max_size=60))
def test_no_minute_and_a_bit_lets_more_through_than_its_share(limit: int, gaps_ns: list[int]) -> None:
    """In any stretch of time at most the bucket and what flows into it meanwhile passes."""
    full_ns, now_ns, passed = 0, START_NS, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        spent = spend(full_ns, now_ns, limit)
        full_ns = spent.full_ns
        if not spent.wait_ns:
            passed.append(now_ns)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            flowed = (passed[last] - passed[first]) * limit / MINUTE_NS
            assert last - first + 1 <= limit + flowed + 1


@given(st.integers(1, 500), st.integers(0, 2000))
def test_who_waits_as_told_gets_through(limit: int, asked: int) -> None:
    """A refusal takes nothing, and exactly after the wait that it names the next request passes."""
    full_ns = 0
    for count in range(asked):
        spent = spend(full_ns, START_NS, limit)
        assert bool(spent.wait_ns) == (count >= limit)
        assert spent.remaining == max(0, limit - count - 1)
        if spent.wait_ns:
            assert spent.full_ns == full_ns
            assert spend(full_ns, START_NS + spent.wait_ns - 1, limit).wait_ns == 1
            assert not spend(full_ns, START_NS + spent.wait_ns, limit).wait_ns
            return
        full_ns = spent.full_ns


@given(st.integers(0, 10**12))
def test_seconds_are_never_told_too_short(ns: int) -> None:
    """Whoever waits the whole seconds has waited at least as long."""
    assert seconds(ns) * 10**9 >= ns > (seconds(ns) - 1) * 10**9
