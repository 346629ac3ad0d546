"""Public prices from the data that ships with genai-prices; the network is never asked.

The package is imported on first use: it takes half a second.
"""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Final

from aforo_collector.domain.cost import Rates, Unpriced
from aforo_collector.prices.tariff import DAY_NS, Period, Schedule, Step, Tariff, rates_of

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider

__all__ = ["named_or_maker", "public_providers", "public_schedule", "without_path"]

_EPOCH: Final = date(1970, 1, 1)


@cache
def public_providers() -> list[Provider]:
    """All providers of the price data with their models; loads the data when first called."""
    from genai_prices.data import providers

    return providers


def named_or_maker(provider_id: str, model: str) -> tuple[str, str]:
    """Provider and model to look up: the named provider, or the model's own maker when none is named ("" when
    nobody is known to make it). LiteLLM names the real provider in the model, like
    "anthropic/claude-haiku-4-5".
    """
    from genai_prices.data_snapshot import find_provider_by_id

    if provider_id not in {"", "litellm"}:
        return provider_id, model
    prefix, slash, rest = model.partition("/")
    if provider_id and slash and prefix and find_provider_by_id(public_providers(), prefix) is not None:
        return prefix.lower(), rest
    makers = (
        provider.id
        for provider in public_providers()
        if model and provider.model_match is not None and provider.model_match.is_match(model.lower())
    )
    return next(makers, ""), model


def without_path(provider_id: str, model: str) -> str:
    """The model's name alone where what stands before it says nothing else: `openai/gpt-4o` at OpenAI,
    `models/gemini-2.5-flash` and `publishers/google/models/gemini-2.5-flash` at Google.
    """
    path, _, name = model.rpartition("/")
    return name if path.lower() == provider_id or path.rpartition("/")[2] == "models" else model


def public_schedule(provider_id: str, model: str) -> Schedule:
    """What a model costs at a provider.

    The model is matched as genai-prices does it: aliases, dated names, models that one provider sells for
    another.
    """
    from genai_prices.data_snapshot import find_provider_by_id

    providers = public_providers()
    provider = find_provider_by_id(providers, provider_id) if provider_id else None
    if provider is None:
        return Schedule((), Unpriced("unknown_provider", provider_id or "none named"))
    found = provider.find_model(model, all_providers=providers) if model else None
    unpriced = Unpriced("unknown_model", f"{provider.id}/{model}")
    return Schedule((), unpriced) if found is None else Schedule(_periods(provider, found), unpriced)


def _periods(provider: Provider, model: ModelInfo) -> tuple[Period, ...]:
    """The model's prices, the last one first as it takes precedence; when none is active, the first one
    counts.
    """
    from genai_prices.types import ModelPrice

    origin = f"genai-prices {provider.id}/{model.id}"
    if isinstance(model.prices, ModelPrice):
        return (Period(_tariff(model.prices), origin),)
    periods = [_period(price, origin) for price in reversed(model.prices)]
    if periods and not periods[-1].always:
        periods.append(Period(periods[-1].tariff, origin))
    return tuple(periods)


def _period(price: ConditionalPrice, origin: str) -> Period:
    from genai_prices.types import StartDateConstraint

    tariff, constraint = _tariff(price.prices), price.constraint
    if constraint is None:
        return Period(tariff, origin)
    if isinstance(constraint, StartDateConstraint):
        return Period(tariff, origin, start_ns=(constraint.start_date - _EPOCH).days * DAY_NS)
    return Period(
        tariff, origin, day_ns=(_since_midnight(constraint.start_time), _since_midnight(constraint.end_time))
    )


def _since_midnight(moment: time) -> int:
    """Nanoseconds since midnight UTC; a time without a zone is UTC."""
    offset = moment.utcoffset()
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second
    if offset is not None:
        seconds -= offset.days * 86_400 + offset.seconds
    return (seconds * 10**9 + moment.microsecond * 1000) % DAY_NS


def _tariff(prices: ModelPrice) -> Tariff:
    """The rates below all thresholds, and one step for each threshold that any of the prices has."""
    from genai_prices.types import TieredPrices

    tiered = [price for price in vars(prices).values() if isinstance(price, TieredPrices)]
    starts = sorted({tier.start for price in tiered for tier in price.tiers}, reverse=True)

    def rates_above(start: int) -> Rates:
        def price_of(key: str) -> Decimal | None:
            price: Decimal | TieredPrices | None = getattr(prices, key)
            if not isinstance(price, TieredPrices):
                return price
            reached = [tier.price for tier in price.tiers if tier.start <= start]
            return reached[-1] if reached else price.base

        return rates_of(price_of)

    return Tariff(rates_above(-1), tuple(Step(start, rates_above(start)) for start in starts))
