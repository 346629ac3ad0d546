"""A tenant's own prices before the public ones."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aforo_collector.domain.catalog_file import parse
from aforo_collector.domain.cost import Pools, Unpriced
from aforo_collector.prices.book import PriceBook

MILLION = Pools(input=1_000_000)


def ns(year: int, month: int, day: int) -> int:
    """Epoch nanoseconds of midnight UTC of a day."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 10**9


def book(*rows: dict[str, str]) -> PriceBook:
    """A price book over overrides as the catalog file states them."""
    return PriceBook(parse({"price_overrides": list(rows)}).price_overrides)


def row(model: str, price: str, start: str | None = None, provider: str = "openai") -> dict[str, str]:
    """One override of the input price."""
    dated = {} if start is None else {"from": start}
    return {"provider": provider, "model": model, "input_mtok": price, **dated}


def test_an_exact_model_goes_before_a_prefix_and_a_long_prefix_before_a_short() -> None:
    """The most specific override must win, whatever its order in the file."""
    rows = [row("gpt-*", "1"), row("gpt-4o", "3"), row("gpt-4*", "2")]
    for order in (rows, rows[::-1]):
        prices = book(*order)
        for model, price in (("gpt-4o", 3), ("gpt-4.1", 2), ("GPT-5", 1)):
            assert prices.cost("openai", model, MILLION, 0) == price


def test_an_override_holds_from_its_day_on() -> None:
    """Up to the last nanosecond before its day the earlier price must hold, the public one before all."""
    prices = book(row("gpt-4o", "3", "2026-02-01"), row("gpt-4o", "4", "2026-03-01"))
    public = PriceBook().cost("openai", "gpt-4o", MILLION, ns(2026, 1, 1))
    assert prices.cost("openai", "gpt-4o", MILLION, ns(2026, 2, 1) - 1) == public
    assert prices.cost("openai", "gpt-4o", MILLION, ns(2026, 2, 1)) == 3
    assert prices.cost("openai", "gpt-4o", MILLION, ns(2026, 3, 1) - 1) == 3
    assert prices.cost("openai", "gpt-4o", MILLION, ns(2026, 3, 1)) == 4


def test_an_exact_override_not_yet_in_force_leaves_the_prefix_in_force() -> None:
    """Precedence must count only among overrides that hold at the moment."""
    prices = book(row("gpt-*", "1"), row("gpt-4o", "3", "2026-02-01"))
    assert prices.cost("openai", "gpt-4o", MILLION, ns(2026, 1, 1)) == 1


def test_an_override_prices_what_the_public_data_does_not_know() -> None:
    """A model or provider of one's own must be priced by its override, and stay unknown without one."""
    prices = book(row("in-house", "7", provider="ollama"))
    assert prices.cost("ollama", "in-house", MILLION, 0) == 7
    other = prices.cost("ollama", "other", MILLION, 0)
    assert isinstance(other, Unpriced)
    assert other.reason == "unknown_provider"


@pytest.mark.parametrize("written", ["aws.bedrock", "aws", "amazon_bedrock"])
@pytest.mark.parametrize("named", ["aws.bedrock", "AWS", "bedrock"])
def test_every_spelling_of_a_provider_is_the_same_provider(written: str, named: str) -> None:
    """An override must hold for each name by which spans call its provider."""
    assert book(row("nova*", "7", provider=written)).cost(named, "nova-1", MILLION, 0) == 7


def test_a_span_without_provider_finds_the_override_of_the_models_maker() -> None:
    """Naming no provider must not lead around the tenant's own price."""
    assert book(row("gpt-4o", "3")).cost("", "gpt-4o", MILLION, 0) == 3


@pytest.mark.parametrize(
    ("provider", "model", "written"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o"), ("openai", "gpt-4o", "OpenAI/gpt-4o "),
        ("gcp.gemini", "gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("gcp.vertex_ai", "gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"),
    ],
)  # fmt: skip
def test_a_model_costs_the_same_with_its_path(provider: str, model: str, written: str) -> None:
    """A vendor before the name leads to the tenant's own price of the model, else to the public one."""
    at = ns(2026, 1, 1)
    public = PriceBook().cost(provider, model, MILLION, at)
    assert isinstance(public, Decimal)
    assert PriceBook().cost(provider, written, MILLION, at) == public
    assert book(row(model, "77", provider=provider)).cost(provider, written, MILLION, at) == 77
    assert (
        book(row(written.strip(), "78", provider=provider)).cost(provider, written.strip(), MILLION, at) == 78
    )
    for elsewhere in ("anthropic/gpt-4o", "other/gemini-2.5-flash"):
        assert isinstance(PriceBook().cost(provider, elsewhere, MILLION, at), Unpriced), "another vendor's"


def test_an_override_replaces_the_public_price_whole() -> None:
    """A pool without a rate in the override must cost its parent's rate, and have none without a parent."""
    prices = book(
        {
            "provider": "openai",
            "model": "gpt-4o",
            "input_mtok": "2",
            "cache_write_mtok": "5",
            "cache_write_1h_mtok": "6",
            "input_audio_mtok": "9",
        }
    )
    million = 10**6
    for pools, price in (
        (Pools(cache_read=million), 2),
        (Pools(cache_write_5m=million), 5),
        (Pools(cache_write_1h=million), 6),
        (Pools(audio_in=million), 9),
    ):
        assert prices.cost("openai", "gpt-4o", pools, 0) == price
    unpriced = prices.cost("openai", "gpt-4o", Pools(input=1, output=1, reasoning=1), 0)
    assert unpriced == Unpriced("no_price_for_pool", "output, reasoning")


def test_costs_are_exact_to_the_last_digit() -> None:
    """A price of a tenth of a nano-dollar per token must not be rounded, nor a cost of a trillion tokens."""
    prices = book(row("gpt-4o", "0.0001") | {"reasoning_mtok": "0.000000001"})
    cost = prices.cost("openai", "gpt-4o", Pools(input=999_999_999_999, reasoning=1), 0)
    assert cost == Decimal("99.9999999999") + Decimal("0.000000000000001")


def test_describe_names_the_override() -> None:
    """`price show` must say that the price is the tenant's own."""
    shown = book(row("gpt-4o", "3", "2026-02-01")).describe("openai", "gpt-4o", ns(2026, 2, 1))
    assert shown["origin"] == "price override openai/gpt-4o from 2026-02-01"
    assert shown["perCall"] == "0"
    assert shown["perMtok"] == dict.fromkeys(
        ("input", "cache_read", "cache_write_5m", "cache_write_1h", "audio_in"), "3"
    )
