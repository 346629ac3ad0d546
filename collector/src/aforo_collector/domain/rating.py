"""From usage to charges: pure, exact, and the same for every order of the same usage (billing-rules section
2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from aforo_collector.domain.catalog import RatePlan
from aforo_collector.domain.money import CONTEXT, ZERO
from aforo_collector.domain.pricing.terms import Charge, Price, Usage, total_of

__all__ = ["Rated", "Unrated", "bills", "estimate", "rate"]


@dataclass(frozen=True, slots=True)
class Unrated:
    """Usage that no price covers: shown as such, never as $0.

    `dimension` is the value that a price on this metric does not name, None when the whole metric has no
    price.
    """

    metric: str
    dimension: str | None
    quantity: Decimal
    event_count: int


@dataclass(frozen=True, slots=True)
class Rated:
    """What a period's usage comes to, in the order of the plan's prices, and what could not be rated."""

    charges: tuple[Charge, ...]
    unrated: tuple[Unrated, ...]


def rate(plan: RatePlan | None, usage: Iterable[Usage]) -> Rated:
    """All charges of a plan for one period's usage; without a plan everything is unrated.

    Prices that charge without usage (FLAT_RATE, a minimum) do so once per call: rate a whole period at a
    time. The plan's own base fee and minimum are the invoice's business.
    """
    billable: dict[str, list[Usage]] = {}
    rest: dict[tuple[str, str | None], list[Usage]] = {}
    for entry in usage:
        price = plan.price_of(entry.metric) if plan is not None else None
        if price is None:
            rest.setdefault((entry.metric, None), []).append(entry)
            continue
        weight = price.terms.weight(entry.dimensions)
        if not weight:
            continue
        if not price.terms.covers(entry.dimensions):
            value = entry.dimensions.get(price.terms.dimension or "")
            rest.setdefault((entry.metric, value), []).append(entry)
            continue
        billable.setdefault(entry.metric, []).append(_weighed(price, entry, weight))
    charges = [
        charge
        for price in (plan.prices if plan is not None else ())
        for charge in price.terms.charges(price, billable.get(price.metric, ()))
    ]
    return Rated(
        tuple(charges), tuple(_unrated(key, entries) for key, entries in sorted(rest.items(), key=_order))
    )


def estimate(
    plan: RatePlan | None, metric: str, dimensions: Mapping[str, str], quantity: Decimal
) -> Decimal | None:
    """What one event earns at list price, unrounded; None when no price covers it or it earns nothing by
    itself.

    Included units, minimums and flat fees are left out: they belong to the period, not to an event.
    """
    price = plan.price_of(metric) if plan is not None else None
    if price is None:
        return None
    terms = price.terms
    weight = terms.weight(dimensions)
    if not weight:
        return ZERO
    counted = weight if price.counts_events else CONTEXT.multiply(quantity, weight)
    return terms.estimate(dimensions, counted)


def bills(charge: Charge, metric: str, dimensions: Mapping[str, str]) -> bool:
    """Whether an event is one of those a charge counts: this is how an invoice line lists its events."""
    price = charge.price
    if price is None or metric != charge.metric:
        return False
    terms = price.terms
    value = dimensions.get(terms.dimension) if terms.dimension is not None else None
    return value == charge.dimension and terms.covers(dimensions) and bool(terms.weight(dimensions))


def _weighed(price: Price, entry: Usage, weight: Decimal) -> Usage:
    counted = Decimal(entry.event_count) if price.counts_events else entry.quantity
    return replace(entry, quantity=CONTEXT.multiply(counted, weight))


def _unrated(key: tuple[str, str | None], entries: list[Usage]) -> Unrated:
    quantity, event_count = total_of(entries)
    return Unrated(*key, quantity, event_count)


def _order(item: tuple[tuple[str, str | None], list[Usage]]) -> tuple[str, bool, str]:
    (metric, dimension), _ = item
    return metric, dimension is not None, dimension or ""
