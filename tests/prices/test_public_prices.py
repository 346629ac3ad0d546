"""Our costs against genai-prices' own arithmetic, over its whole snapshot."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import genai_prices
import pytest
from aforo_collector.domain.cost import Pools, Rates, Unpriced
from aforo_collector.prices.book import PriceBook
from aforo_collector.prices.providers import ALIASES, canonical_provider
from genai_prices.data import providers
from genai_prices.types import ModelPrice, StartDateConstraint, TimeOfDateConstraint
from hypothesis import given
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MODELS = [(provider.id, model.id) for provider in providers for model in provider.models]
BOOK = PriceBook()

tokens = st.sampled_from([0, 0, 1, 7]) | st.integers(0, 2_000_000)
pools = st.builds(Pools, *[tokens] * 8)
moments = st.integers(
    int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2028, 1, 1, tzinfo=UTC).timestamp())
)


def usage_of(pools: Pools) -> genai_prices.Usage:
    """The same tokens in the inclusive totals of genai-prices."""
    return genai_prices.Usage(
        input_tokens=pools.input_total,
        cache_read_tokens=pools.cache_read,
        cache_write_tokens=pools.cache_write_5m + pools.cache_write_1h,
        cache_write_5m_tokens=pools.cache_write_5m,
        cache_write_1h_tokens=pools.cache_write_1h,
        input_audio_tokens=pools.audio_in,
        cache_audio_read_tokens=0,
        cache_audio_write_tokens=0,
        cache_audio_write_5m_tokens=0,
        cache_audio_write_1h_tokens=0,
        output_tokens=pools.output_total,
        output_reasoning_tokens=pools.reasoning,
        output_audio_tokens=pools.audio_out,
        output_audio_reasoning_tokens=0,
    )


def assert_same(provider: str, model: str, pools: Pools, at: datetime) -> bool:
    """Fails unless both cost the same or neither knows the model; True when a price was compared."""
    ours = BOOK.cost(provider, model, pools, ns(at))
    try:
        theirs = genai_prices.calc_price(
            usage_of(pools), model, provider_id=provider, genai_request_timestamp=at
        )
    except LookupError:
        assert isinstance(ours, Unpriced)
        assert ours.reason == "unknown_model"
        return False
    if isinstance(ours, Unpriced):
        # They bill what has no price as 0; we say that it has none.
        assert ours.reason == "no_price_for_pool"
        priced = {
            key.removesuffix("_mtok") for key, price in vars(theirs.model_price).items() if price is not None
        }
        assert ("input" not in priced and pools.input_total) or (
            "output" not in priced and pools.output_total
        )
    else:
        assert ours == theirs.total_price, (provider, model, pools, at)
        return True
    return False


def ns(at: datetime) -> int:
    """Epoch nanoseconds of a moment."""
    return (at - EPOCH) // timedelta(microseconds=1) * 1000


def test_every_model_of_the_snapshot_costs_what_genai_prices_says() -> None:
    """For each model of the snapshot, random usage at a random moment must cost exactly the same."""
    rng = random.Random(20)
    exact = 0
    for provider, model in MODELS:
        for _ in range(2):
            counts = [rng.choice([0, rng.randrange(1000), rng.randrange(500_000)]) for _ in range(8)]
            at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(4 * 365 * 86400))
            exact += assert_same(provider, model, Pools(*counts), at)
    assert exact > len(MODELS)


@given(st.sampled_from(MODELS), pools, moments)
def test_any_usage_at_any_moment_costs_what_genai_prices_says(
    model: tuple[str, str], pools: Pools, second: int
) -> None:
    """Dated prices, times of day, thresholds, pools without a price of their own: all must agree exactly."""
    assert_same(*model, pools, EPOCH + timedelta(seconds=second))


def test_prices_change_at_the_moment_genai_prices_changes_them() -> None:
    """Right before and right at every boundary of date or time of day the cost must be theirs."""
    seen = 0
    pools = Pools(input=1000, cache_read=100, output=1000)
    for provider in providers:
        for model in provider.models:
            if isinstance(model.prices, ModelPrice):
                continue
            for price in model.prices:
                match price.constraint:
                    case StartDateConstraint(start_date=day):
                        edges = [datetime(day.year, day.month, day.day, tzinfo=UTC)]
                    case TimeOfDateConstraint(start_time=start, end_time=end):
                        edges = [datetime.combine(datetime(2026, 3, 3), moment) for moment in (start, end)]  # noqa: DTZ001
                    case _:
                        continue
                for edge in edges:
                    seen += 1
                    assert_same(provider.id, model.id, pools, edge)
                    assert_same(provider.id, model.id, pools, edge - timedelta(microseconds=1))
    assert seen > 200


def test_a_threshold_counts_the_whole_input() -> None:
    """One token over the threshold, cached or not, must move all tokens to the higher rates."""
    rates = [BOOK.rates_for("anthropic", "claude-sonnet-4-5", 0, total) for total in (0, 200_000, 200_001)]
    assert rates[0] == rates[1]
    assert isinstance(rates[2], Rates)
    assert isinstance(rates[1], Rates)
    assert rates[2] != rates[1]
    assert_same(
        "anthropic", "claude-sonnet-4-5", Pools(input=1, cache_read=200_000, output=5), datetime.now(UTC)
    )


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-2024-08-06"),
        ("openai", "GPT-4o"),
        ("openai", "gpt-4o-20240806"),
        ("litellm", "anthropic/claude-haiku-4-5"),
        ("litellm", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
    ],
)
def test_aliases_and_dated_names_match_as_genai_prices_matches_them(provider: str, model: str) -> None:
    """A model named the way a provider's answers name it must be found."""
    assert_same(provider, model, Pools(input=1234, output=77), datetime.now(UTC))


def test_every_alias_leads_to_a_provider_of_the_snapshot() -> None:
    """No spelling of a provider may lead nowhere, and Azure must never be taken for OpenAI."""
    known = {provider.id for provider in providers}
    assert set(ALIASES.values()) <= known
    for name in ("azure.ai.openai", "az.ai.openai", "azure.ai.inference", "Azure_OpenAI"):
        assert canonical_provider(name) == "azure"


@pytest.mark.parametrize(
    "provider",
    (
        "openai anthropic cohere deepseek groq perplexity mistral_ai x_ai moonshot_ai aws.bedrock gcp.gemini "
        "gcp.vertex_ai gcp.gen_ai azure.ai.openai azure.ai.inference"
    ).split(),
)
def test_the_well_known_provider_names_are_known(provider: str) -> None:
    """A made-up model at a well-known provider must be an unknown model, not an unknown provider."""
    cost = BOOK.cost(provider, "no-such-model", Pools(input=1), 0)
    assert isinstance(cost, Unpriced)
    assert cost.reason == "unknown_model"


def test_unknown_is_not_zero() -> None:
    """A provider, a model or a pool without a price must give a reason, never an amount."""
    cases = {
        ("ibm.watsonx.ai", "granite"): "unknown_provider",
        ("", "no-such-model"): "unknown_provider",
        ("", ""): "unknown_provider",
        ("openai", ""): "unknown_model",
        ("openai", "no-such-model"): "unknown_model",
        ("openai", "text-embedding-3-small"): "no_price_for_pool",
    }
    for (provider, model), reason in cases.items():
        cost = BOOK.cost(provider, model, Pools(input=10, output=10), 0)
        assert isinstance(cost, Unpriced)
        assert cost.reason == reason, (provider, model)


def test_without_a_provider_the_maker_of_the_model_is_taken() -> None:
    """A span that names only the model must cost what the model's own maker charges."""
    at = ns(datetime(2026, 1, 1, tzinfo=UTC))
    pools = Pools(input=1000, output=10)
    assert BOOK.cost("", "gpt-4o", pools, at) == BOOK.cost("openai", "gpt-4o", pools, at) == Decimal("0.0026")


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up model names must not grow the book without end, and a dropped model must still be found."""
    monkeypatch.setattr("aforo_collector.prices.book._MODELS_CACHED_MAX", 8)
    book = PriceBook()
    for n in range(50):
        book.cost("openai", f"gpt-4o-made-up-{n}", Pools(input=1), 0)
    assert len(book._schedules) <= 8
    assert isinstance(book.cost("openai", "gpt-4o", Pools(input=1), 0), Decimal)


def test_a_moment_far_from_today_is_priced() -> None:
    """A span of year 58717, or before 1970, must be priced like any other."""
    for at_ns in (-(10**18), 0, 1_790_000_000_000_000_000_000):
        assert isinstance(BOOK.cost("deepseek", "deepseek-chat", Pools(input=5), at_ns), Decimal)


def test_describe_says_what_a_model_costs_and_where_that_comes_from() -> None:
    """`price show` must name price, origin and thresholds, or the reason why there is no price."""
    shown = BOOK.describe("anthropic", "claude-sonnet-4-5", ns(datetime(2026, 1, 1, tzinfo=UTC)))
    assert shown["provider"] == "anthropic"
    assert str(shown["origin"]).startswith("genai-prices anthropic/claude-sonnet-4-5")
    per_mtok, steps = shown["perMtok"], shown["steps"]
    assert isinstance(per_mtok, dict)
    assert isinstance(steps, list)
    assert per_mtok["input"] == "3"
    assert per_mtok["cache_write_1h"] == "6"
    assert [step["inputAbove"] for step in steps] == sorted(step["inputAbove"] for step in steps)
    assert all(low != high for low, high in pairwise([per_mtok, *(step["perMtok"] for step in steps)]))
    assert BOOK.describe("openai", "nope", 0) == {
        "provider": "openai",
        "model": "nope",
        "unpriced": "unknown_model",
        "detail": "openai/nope",
    }
