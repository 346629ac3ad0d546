"""Rates that depend on the moment and on the size of the call: dates, times of day, and input-size
thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from aforo_collector.domain.cost import Rates, Unpriced
from aforo_collector.domain.money import CONTEXT, ZERO

__all__ = ["DAY_NS", "Period", "Schedule", "Step", "Tariff", "rates_of"]

DAY_NS: Final = 86_400 * 10**9

_PARENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "input": ("input_mtok",),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    "output": ("output_mtok",),
    "reasoning": ("output_reasoning_mtok", "output_mtok"),
    "audio_in": ("input_audio_mtok", "input_mtok"),
    "audio_out": ("output_audio_mtok", "output_mtok"),
}
"""The prices that a pool's tokens may cost, the most specific first: what has none of its own costs its
parent's.
"""


def rates_of(price_of: Callable[[str], Decimal | None]) -> Rates:
    """Rates per token from prices in US dollars per million tokens, looked up by key (`input_mtok` and so
    on).

    `requests_kcount`, a price per thousand requests, becomes the rate per call.
    """
    rates: dict[str, Decimal] = {}
    for pool, keys in _PARENTS.items():
        price = next((price for price in map(price_of, keys) if price is not None), None)
        if price is not None:
            rates[pool] = price.scaleb(-6, CONTEXT)
    per_call = price_of("requests_kcount")
    return Rates(**rates, per_call=ZERO if per_call is None else per_call.scaleb(-3, CONTEXT))


@dataclass(frozen=True, slots=True)
class Step:
    """Rates for all tokens of a call whose input is larger than `input_above` tokens."""

    input_above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Tariff:
    """Rates by input size: `base`, and `steps` from the highest threshold to the lowest."""

    base: Rates
    steps: tuple[Step, ...] = ()

    def rates(self, input_total: int) -> Rates:
        """The rates of a call with that many input tokens, cached ones included."""
        for step in self.steps:
            if input_total > step.input_above:
                return step.rates
        return self.base


@dataclass(frozen=True, slots=True)
class Period:
    """When a tariff applies, and where it is from.

    From `start_ns` on (epoch nanoseconds; None: always), and only within `day_ns` when given: [start, end) in
    nanoseconds since midnight UTC, across midnight when the end lies before the start.
    """

    tariff: Tariff
    origin: str
    start_ns: int | None = None
    day_ns: tuple[int, int] | None = None

    @property
    def always(self) -> bool:
        """Whether the tariff applies at every moment."""
        return self.start_ns is None and self.day_ns is None

    def active(self, at_ns: int) -> bool:
        """Whether the tariff applies at that moment."""
        if self.start_ns is not None and at_ns < self.start_ns:
            return False
        if self.day_ns is None:
            return True
        start, end = self.day_ns
        now = at_ns % DAY_NS
        return now >= start or now < end if end < start else start <= now < end


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that one model costs: the first active period counts, else `otherwise` says why there is none."""

    periods: tuple[Period, ...]
    otherwise: Unpriced
    plain: Rates | None = field(init=False)

    def __post_init__(self) -> None:
        first = self.periods[0] if self.periods else None
        plain = first.tariff.base if first is not None and first.always and not first.tariff.steps else None
        object.__setattr__(self, "plain", plain)

    def period(self, at_ns: int) -> Period | None:
        """The period in force at that moment."""
        return next((period for period in self.periods if period.active(at_ns)), None)

    def rates(self, at_ns: int, input_total: int) -> Rates | Unpriced:
        """The rates in force at that moment for a call with that many input tokens."""
        period = self.period(at_ns)
        return self.otherwise if period is None else period.tariff.rates(input_total)
