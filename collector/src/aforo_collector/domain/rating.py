"""From usage to charges: pure, exact, and the same for every order of the same usage (billing-rules section
2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from aforo_collector.domain.aggregation import ADDITIVE, merged
from aforo_collector.domain.catalog import RatePlan
from aforo_collector.domain.money import CONTEXT, ZERO
from aforo_collector.domain.pricing.terms import Charge, Price, Usage, by_dimension, total_of

__all__ = ["Rated", "Unrated", "billable", "bills", "estimate", "rate"]


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
    priced: dict[str, list[Usage]] = {}
    rest: dict[tuple[str, str | None], list[Usage]] = {}
    for entry in usage:
        price = plan.price_of(entry.metric) if plan is not None else None
        if price is None:
            rest.setdefault((entry.metric, None), []).append(entry)
        elif price.terms.covers(entry.dimensions) or not price.terms.weight(entry.dimensions):
            priced.setdefault(entry.metric, []).append(entry)
        else:
            value = entry.dimensions.get(price.terms.dimension or "")
            rest.setdefault((entry.metric, value), []).append(entry)
    charges = [
        charge
        for price in (plan.prices if plan is not None else ())
        for charge in price.terms.charges(price, billable(price, priced.get(price.metric, ())))
    ]
    return Rated(
        tuple(charges), tuple(_unrated(key, entries) for key, entries in sorted(rest.items(), key=_order))
    )


def billable(price: Price, usage: Iterable[Usage]) -> list[Usage]:
    """What of a price's usage in a whole period counts, weighed by its outcome.

    Values that do not add up are put together here, one entry for each value of the price's dimension.
    """
    found: list[Usage] = []
    for entry in usage:
        weight = price.terms.weight(entry.dimensions)
        if weight and price.terms.covers(entry.dimensions):
            found.append(_weighed(price, entry, weight))
    if price.aggregation in ADDITIVE:
        return found
    name = price.terms.dimension
    return [
        _together(entries, {} if name is None or value is None else {name: value})
        for value, entries in by_dimension(found, name)
    ]


def estimate(
    plan: RatePlan | None, metric: str, dimensions: Mapping[str, str], quantity: Decimal
) -> Decimal | None:
    """What one event earns at list price, unrounded; None when no price covers it or it earns nothing by
    itself.

    Under COUNT an event is one unit; an aggregation that does not add up tells nothing before the period ends.
    Included units, minimums and flat fees are left out: they belong to the period, not to an event.
    """
    price = plan.price_of(metric) if plan is not None else None
    if price is None:
        return None
    terms = price.terms
    weight = terms.weight(dimensions)
    if not weight:
        return ZERO
    if price.aggregation not in ADDITIVE:
        return None
    counted = weight if price.aggregation == "COUNT" else CONTEXT.multiply(quantity, weight)
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
    if price.aggregation == "COUNT":
        used = Decimal(entry.event_count)
    elif price.aggregation == "SUM":
        used = entry.quantity if entry.tally is None else entry.tally.total()
    else:
        return entry  # the catalog lets nothing but 0 and 1 weigh these
    return replace(entry, quantity=CONTEXT.multiply(used, weight), tally=None)


def _together(entries: Sequence[Usage], dimensions: Mapping[str, str]) -> Usage:
    """One entry for several; a quantity that is no sum comes from all their values at once."""
    quantity, event_count = total_of(entries)
    tallies = [entry.tally for entry in entries if entry.tally is not None]
    if tallies:
        quantity = merged(tallies).total()
    return Usage(entries[0].metric, dimensions, quantity, event_count)


def _unrated(key: tuple[str, str | None], entries: list[Usage]) -> Unrated:
    together = _together(entries, {})
    return Unrated(*key, together.quantity, together.event_count)


def _order(item: tuple[tuple[str, str | None], list[Usage]]) -> tuple[str, bool, str]:
    (metric, dimension), _ = item
    return metric, dimension is not None, dimension or ""
