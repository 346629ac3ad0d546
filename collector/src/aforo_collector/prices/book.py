"""The price book of one tenant: what any model call costs us, by provider, model, moment and tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aforo_collector.domain.catalog import PriceOverride
from aforo_collector.domain.cost import Cost, Pools, Rates, Unpriced, cost_of
from aforo_collector.domain.money import CONTEXT, plain
from aforo_collector.prices.overrides import override_periods
from aforo_collector.prices.providers import canonical_provider
from aforo_collector.prices.public import named_or_maker, public_providers, public_schedule, without_path
from aforo_collector.prices.tariff import Schedule

__all__ = ["PriceBook"]

_MODELS_CACHED_MAX: Final = 4096


class PriceBook:
    """Costs from the tenant's overrides first, then from public prices, dated; immutable but for its cache.

    Providers are named as spans name them (OpenTelemetry, LangChain); "" means that the span names none. The
    cache is bounded, so that made-up model names cannot fill memory. One book may be shared by threads.
    """

    __slots__ = ("_overrides", "_schedules")

    def __init__(self, overrides: Iterable[PriceOverride] = ()) -> None:
        self._overrides = tuple(overrides)
        self._schedules: dict[tuple[str, str], Schedule] = {}

    def preload(self) -> None:
        """Loads the public prices now (half a second) rather than with the first cost that is asked for."""
        public_providers()

    def cost(self, provider: str, model: str, pools: Pools, at_ns: int) -> Cost:
        """Cost in US dollars of a call at `at_ns` (epoch nanoseconds), exact and unrounded, or why it is
        unknown.
        """
        schedule = self._schedules.get((provider, model)) or self._find(provider, model)
        rates = schedule.plain or schedule.rates(at_ns, pools.input_total)
        return rates if isinstance(rates, Unpriced) else cost_of(pools, rates)

    def rates_for(self, provider: str, model: str, at_ns: int, input_total: int = 0) -> Rates | Unpriced:
        """Rates per token at a moment for a call with that many input tokens, or why there are none."""
        schedule = self._schedules.get((provider, model)) or self._find(provider, model)
        return schedule.rates(at_ns, input_total)

    def describe(self, provider: str, model: str, at_ns: int) -> dict[str, object]:
        """What a model costs at a moment, for people: US dollars per million tokens by pool, and where from.

        Keys: provider, model, origin, currency, perMtok {pool: price}, perCall, steps [{inputAbove,
        perMtok}]; or provider, model, unpriced (the reason) and detail.
        """
        schedule = self._schedules.get((provider, model)) or self._find(provider, model)
        named: dict[str, object] = {"provider": canonical_provider(provider), "model": model}
        period = schedule.period(at_ns)
        if period is None:
            return named | {"unpriced": schedule.otherwise.reason, "detail": schedule.otherwise.detail}
        tariff = period.tariff
        return named | {
            "origin": period.origin,
            "currency": "USD",
            "perMtok": _per_mtok(tariff.base),
            "perCall": plain(tariff.base.per_call),
            "steps": [
                {"inputAbove": step.input_above, "perMtok": _per_mtok(step.rates)}
                for step in reversed(tariff.steps)
            ],
        }

    def _find(self, provider: str, model: str) -> Schedule:
        provider_id, model_name = named_or_maker(canonical_provider(provider), model.strip())
        schedule = self._schedule(provider_id, model_name)
        if not schedule.periods and (short := without_path(provider_id, model_name)) != model_name:
            schedule = Schedule(self._schedule(provider_id, short).periods, schedule.otherwise)
        while len(self._schedules) >= _MODELS_CACHED_MAX:
            self._schedules.pop(next(iter(self._schedules)), None)
        self._schedules[provider, model] = schedule
        return schedule

    def _schedule(self, provider_id: str, model: str) -> Schedule:
        public = public_schedule(provider_id, model)
        return Schedule(
            override_periods(self._overrides, provider_id, model) + public.periods, public.otherwise
        )


def _per_mtok(rates: Rates) -> dict[str, str]:
    return {
        pool: plain(rate.scaleb(6, CONTEXT))
        for pool, rate in zip(Pools._fields, rates, strict=False)
        if rate is not None
    }
