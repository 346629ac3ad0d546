"""Which rates are in force: dates, times of day, thresholds."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from aforo_collector.domain.cost import Rates, Unpriced
from aforo_collector.prices import public
from aforo_collector.prices.tariff import DAY_NS, Period, Schedule, Step, Tariff
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
    Usage,
)
from hypothesis import given
from hypothesis import strategies as st

HOUR_NS = DAY_NS // 24
CHEAP, DEAR = Rates(input=Decimal(1)), Rates(input=Decimal(2))


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [((8, 20), (8, 12, 19), (0, 7, 20, 23)), ((20, 8), (20, 23, 0, 7), (8, 12, 19)), ((8, 8), (), (0, 8, 9))],
)
def test_a_time_of_day_holds_every_day_and_across_midnight(
    window: tuple[int, int], inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    """The start must be in, the end out, on any day, also when the window crosses midnight."""
    period = Period(Tariff(CHEAP), "test", day_ns=(window[0] * HOUR_NS, window[1] * HOUR_NS))
    for day in (-1, 0, 20_000):
        assert all(period.active(day * DAY_NS + hour * HOUR_NS) for hour in inside)
        assert not any(period.active(day * DAY_NS + hour * HOUR_NS) for hour in outside)


def test_the_first_active_period_counts_and_none_is_unpriced() -> None:
    """Before the first period there must be no price, from its first nanosecond on its own."""
    unpriced = Unpriced("unknown_model")
    schedule = Schedule(
        (Period(Tariff(DEAR), "later", start_ns=200), Period(Tariff(CHEAP), "first", start_ns=100)), unpriced
    )
    assert [schedule.rates(at_ns, 0) for at_ns in (99, 100, 199, 200)] == [unpriced, CHEAP, CHEAP, DEAR]


def test_only_a_price_without_condition_and_threshold_is_plain() -> None:
    """The short way must be taken only where neither the moment nor the size can matter."""
    unpriced = Unpriced("unknown_model")
    stepped = Tariff(CHEAP, (Step(10, DEAR),))
    assert Schedule((Period(Tariff(CHEAP), "always"),), unpriced).plain is CHEAP
    for periods in ((), (Period(stepped, "stepped"),), (Period(Tariff(CHEAP), "dated", start_ns=1),)):
        assert Schedule(periods, unpriced).plain is None
    assert [stepped.rates(total) for total in (0, 10, 11)] == [CHEAP, CHEAP, DEAR]


def prices(base: int) -> ModelPrice:
    """Prices with two thresholds on the input and one on the output."""
    tiers = [Tier(start=100, price=Decimal(base + 1)), Tier(start=200, price=Decimal(base + 2))]
    output = [Tier(start=150, price=Decimal(base + 20))]
    return ModelPrice(
        input_mtok=TieredPrices(base=Decimal(base), tiers=tiers),
        output_mtok=TieredPrices(base=Decimal(base + 10), tiers=output),
    )


days = st.dates(date(2026, 1, 1), date(2026, 1, 9))
times = st.times().map(lambda moment: moment.replace(tzinfo=UTC)) | st.sampled_from([time(0), time(16, 30)])
constraints = st.builds(StartDateConstraint, days) | st.builds(TimeOfDateConstraint, times, times) | st.none()


@given(
    st.lists(constraints, min_size=1, max_size=4),
    st.datetimes(datetime(2025, 12, 31), datetime(2026, 1, 10)),  # noqa: DTZ001 - made UTC below
    st.integers(0, 300),
)
def test_any_conditional_price_holds_when_genai_prices_says_so(
    conditions: list[StartDateConstraint | TimeOfDateConstraint | None], at: datetime, input_total: int
) -> None:
    """Conditions that the snapshot does not combine yet must be read as genai-prices reads them."""
    model = ModelInfo(
        id="m",
        match=ClauseEquals(equals="m"),
        prices=[
            ConditionalPrice(condition, prices=prices(100 * n)) for n, condition in enumerate(conditions)
        ],
    )
    provider = Provider(id="p", name="p", api_pattern="p", models=[model])
    schedule = Schedule(public._periods(provider, model), Unpriced("unknown_model"))
    usage = Usage(input_tokens=input_total, output_tokens=7)
    theirs = model.calc_price(usage, provider, genai_request_timestamp=at.replace(tzinfo=UTC))
    at_ns = (at - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000  # noqa: DTZ001 - both are UTC
    rates = schedule.rates(at_ns, input_total)
    assert isinstance(rates, Rates)
    assert rates.input is not None
    assert rates.output is not None
    assert input_total * rates.input + 7 * rates.output == theirs.total_price


def test_a_time_of_day_with_a_zone_is_read_in_utc() -> None:
    """A window given in another zone must hold at the same moments, across midnight UTC too."""
    for hours, expected in ((9, 0.5), (-3, 12.5), (12, 21.5)):
        moment = time(9, 30, tzinfo=timezone(timedelta(hours=hours)))
        assert public._since_midnight(moment) == int(expected * 2) * HOUR_NS // 2
