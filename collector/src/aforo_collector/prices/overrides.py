"""A tenant's own prices: exact model before prefix, long prefix before short, later day before earlier."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from aforo_collector.domain.catalog import PriceOverride
from aforo_collector.prices.providers import canonical_provider
from aforo_collector.prices.tariff import DAY_NS, Period, Tariff, rates_of

__all__ = ["override_periods"]

_EPOCH: Final = date(1970, 1, 1)
_OWN_KEYS: Final = {"output_reasoning_mtok": "reasoning_mtok"}


def override_periods(overrides: Iterable[PriceOverride], provider_id: str, model: str) -> tuple[Period, ...]:
    """The periods of all overrides that match a model of a provider, in order of precedence.

    `provider_id` is canonical; names are compared without case.
    """
    model = model.lower()
    matching = [
        override
        for override in overrides
        if canonical_provider(override.provider) == provider_id and _matches(override.model.lower(), model)
    ]
    return tuple(_period(override) for override in sorted(matching, key=_precedence, reverse=True))


def _matches(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _precedence(override: PriceOverride) -> tuple[bool, int, str]:
    return not override.model.endswith("*"), len(override.model), override.start or ""


def _period(override: PriceOverride) -> Period:
    tariff = Tariff(rates_of(lambda key: override.rates_mtok.get(_OWN_KEYS.get(key, key))))
    origin = f"price override {override.provider}/{override.model}"
    if override.start is None:
        return Period(tariff, origin)
    days = (date.fromisoformat(override.start) - _EPOCH).days
    return Period(tariff, f"{origin} from {override.start}", start_ns=days * DAY_NS)
