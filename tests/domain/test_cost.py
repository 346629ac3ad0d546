"""Token pools and the cost of a call."""

from __future__ import annotations

from decimal import Decimal

from aforo_collector.domain.cost import Pools, Rates, Unpriced, cost_of, pools_of
from aforo_collector.domain.money import CONTEXT, ZERO
from hypothesis import given
from hypothesis import strategies as st

counts = st.integers(0, 10**12)
rates = st.none() | st.decimals(min_value=0, max_value=1, places=15)


@given(st.builds(Pools, *[counts] * 8))
def test_pools_of_inclusive_totals_are_the_pools(pools: Pools) -> None:
    """Inclusive totals with their details must come apart into the same pools, and their sum be the total."""
    found, agree = pools_of(
        pools.input_total,
        pools.output_total,
        pools.cache_read,
        pools.cache_write_5m + pools.cache_write_1h,
        pools.cache_write_5m,
        pools.cache_write_1h,
        pools.reasoning,
        pools.audio_in,
        pools.audio_out,
    )
    assert (found, agree) == (pools, True)
    assert sum(found) == pools.input_total + pools.output_total


@given(st.lists(st.integers(-5, 50), min_size=9, max_size=9))
def test_pools_are_never_negative_and_agree_only_with_the_totals(given_counts: list[int]) -> None:
    """Whatever a provider reports, no pool may be negative; the flag must say whether they sum up."""
    pools, agree = pools_of(*given_counts)
    assert min(pools) >= 0
    if agree:
        assert (pools.input_total, pools.output_total) == tuple(given_counts[:2])
    elif min(given_counts) >= 0:
        read, write, write_5m, write_1h, reasoning, audio_in, audio_out = given_counts[2:]
        assert (
            read + max(write, write_5m + write_1h) + audio_in > given_counts[0]
            or reasoning + audio_out > given_counts[1]
            or 0 < write < write_5m + write_1h
        )


def test_a_cache_write_total_without_lifetimes_is_five_minutes() -> None:
    """What the lifetimes leave of a cache write total must be counted once, as the providers' default."""
    assert pools_of(input_total=100, cache_write=60)[0] == Pools(input=40, cache_write_5m=60)
    assert pools_of(input_total=100, cache_write=60, cache_write_1h=20)[0] == Pools(40, 0, 40, 20)
    assert pools_of(input_total=100, cache_write_5m=10, cache_write_1h=20)[0] == Pools(70, 0, 10, 20)


@given(st.builds(Pools, *[counts] * 8), st.builds(Rates, *[rates] * 8, per_call=st.just(ZERO)))
def test_a_cost_is_the_exact_sum_or_names_the_pools_without_a_price(pools: Pools, rates: Rates) -> None:
    """Tokens without a rate must make the whole cost unknown; else the cost must be exact."""
    unknown = [name for name, tokens in pools._asdict().items() if tokens and getattr(rates, name) is None]
    cost = cost_of(pools, rates)
    if unknown:
        assert cost == Unpriced("no_price_for_pool", ", ".join(unknown))
        return
    assert isinstance(cost, Decimal)
    scaled = 10**15
    assert CONTEXT.multiply(cost, scaled) == sum(
        tokens * int(rate * scaled) for tokens, rate in zip(pools, rates, strict=False) if rate is not None
    )


def test_a_price_per_call_is_added_once() -> None:
    """A provider that charges for the request itself must be paid for it, tokens or not."""
    rates = Rates(input=Decimal("0.1"), per_call=Decimal("0.005"))
    assert cost_of(Pools(input=2), rates) == Decimal("0.205")
    assert cost_of(Pools(), rates) == Decimal("0.005")
