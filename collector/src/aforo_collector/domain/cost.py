"""What a model call costs us: exclusive token pools times the provider's rates (billing-rules sections 2.3
and 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

from aforo_collector.domain.money import CONTEXT, ZERO

__all__ = ["Cost", "Pools", "Rates", "Reason", "Unpriced", "cost_of", "pools_of"]

_fma = CONTEXT.fma

Reason: TypeAlias = Literal["unknown_provider", "unknown_model", "no_price_for_pool", "no_usage"]
"""Why a cost is unknown; `no_usage` is for callers that have no token counts to price."""


class Pools(NamedTuple):
    """Tokens of one call, each token in exactly one pool; the sum is the provider's total."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0

    @property
    def input_total(self) -> int:
        """All tokens the provider counts as input: fresh, cached and audio."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.audio_in

    @property
    def output_total(self) -> int:
        """All tokens the provider counts as output: text, reasoning and audio."""
        return self.output + self.reasoning + self.audio_out


_pools_from = partial(tuple.__new__, Pools)
"""The named constructor takes three times as long, and every model call needs one."""


class Rates(NamedTuple):
    """US dollars per token of each pool, in the order of `Pools`; None where the provider names no price.

    `per_call` is what the provider charges for the request itself, 0 for nearly all.
    """

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None
    audio_in: Decimal | None = None
    audio_out: Decimal | None = None
    per_call: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A cost that is not known, with the reason; never zero, never a block, priced later when a price
    arrives.
    """

    reason: Reason
    detail: str = ""


Cost: TypeAlias = Decimal | Unpriced
"""What the provider charges us for one call in US dollars, unrounded, or why that is unknown."""


def pools_of(
    input_total: int = 0,
    output_total: int = 0,
    cache_read: int = 0,
    cache_write: int = 0,
    cache_write_5m: int = 0,
    cache_write_1h: int = 0,
    reasoning: int = 0,
    audio_in: int = 0,
    audio_out: int = 0,
) -> tuple[Pools, bool]:
    """Exclusive pools from a provider's inclusive totals and its details; the flag says whether they agree.

    `cache_write` is the total of both lifetimes: what the two details leave over is counted as 5 minutes, the
    default of the providers; without it the details are the total. Negative counts read as 0. When the
    details exceed a total, the rest pool is 0, the details stand, and the flag is False.
    """
    if (
        input_total < 0 or output_total < 0 or cache_read < 0 or cache_write < 0 or cache_write_5m < 0
        or cache_write_1h < 0 or reasoning < 0 or audio_in < 0 or audio_out < 0
    ):  # fmt: skip
        counts = (
            input_total, output_total, cache_read, cache_write, cache_write_5m, cache_write_1h, reasoning,
            audio_in, audio_out,
        )  # fmt: skip
        return pools_of(*[max(0, count) for count in counts])[0], False
    written = cache_write_5m + cache_write_1h
    agree = True
    if cache_write:
        agree = written <= cache_write
        written = max(written, cache_write)
    fresh = input_total - cache_read - written - audio_in
    if fresh < 0:
        fresh, agree = 0, False
    text = output_total - reasoning - audio_out
    if text < 0:
        text, agree = 0, False
    pools = _pools_from(
        (fresh, cache_read, written - cache_write_1h, cache_write_1h, text, reasoning, audio_in, audio_out)
    )
    return pools, agree


def cost_of(pools: Pools, rates: Rates) -> Cost:
    """Exact cost of one call in US dollars, or Unpriced when a pool with tokens has no rate."""
    total = rates[-1]
    for tokens, rate in zip(pools, rates, strict=False):
        if tokens:
            if rate is None:
                return _no_price(pools, rates)
            total = _fma(tokens, rate, total)
    return total


def _no_price(pools: Pools, rates: Rates) -> Unpriced:
    missing = [
        name
        for name, tokens, rate in zip(Pools._fields, pools, rates, strict=False)
        if tokens and rate is None
    ]
    return Unpriced("no_price_for_pool", ", ".join(missing))
