"""What occurrences come to metric by metric: quantity, events, and the part of cost and revenue that each one bears.

An occurrence has one cost and one revenue, and often several metrics. Its cost, known or not, stands with the
metric that counts it (`provider_cost`), its revenue with the metrics that the plan prices; what no metric of it
bears stands under no metric (""). So the shares of an occurrence always add up to the occurrence.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal
from functools import reduce
from typing import NamedTuple

from aforo_collector.domain.catalog import RatePlan
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.measures import metric_of, usage_of
from aforo_collector.domain.metrics import PRODUCT_TYPES
from aforo_collector.domain.money import CONTEXT, ZERO
from aforo_collector.domain.pricing.terms import Usage
from aforo_collector.domain.rating import estimate
from aforo_collector.domain.usage import UNITS, UNITS_OF_KIND, Kind, RollUp

_ONE = Decimal(1)
_COST = 1 << UNITS.index("provider_cost")
_ABOUT = Context(prec=16)
"""For shares that are in proportion; their sum is exact all the same."""


class Share(NamedTuple):
    """What one metric has of some occurrences; `cost` in US dollars, `unpriced` calls of unknown cost."""

    metric: str
    quantity: Decimal = ZERO
    event_count: int = 0
    cost: Decimal = ZERO
    revenue: Decimal = ZERO
    unpriced: int = 0


def shares_of(roll_up: RollUp, payer: Identity, plan: RatePlan | None) -> list[Share]:
    """The shares of a roll-up that are not nothing; `plan` is the payer's."""
    total = roll_up.total
    usage = usage_of(roll_up, payer, plan)
    shares = {found.metric: Share(found.metric, found.quantity, found.event_count) for found in usage}
    cost = total.cost or ZERO
    if total.kind == Kind.USAGE:
        share = shares.get(total.metric, Share(total.metric))
        return [share._replace(cost=cost, revenue=total.revenue or ZERO, unpriced=roll_up.counts.unpriced)]
    for metric, amount in _revenues(total.revenue or ZERO, usage, plan):
        shares[metric] = shares.get(metric, Share(metric))._replace(revenue=amount)
    if cost or roll_up.counts.unpriced:
        metric = metric_of(payer.product_type, "provider_cost") if roll_up.units & _COST else ""
        share = shares.get(metric, Share(metric))
        shares[metric] = share._replace(cost=cost, unpriced=roll_up.counts.unpriced)
    return list(shares.values())


def splits_revenue(plans: Iterable[RatePlan]) -> bool:
    """Whether a plan prices several metrics of one call: then what happened decides how revenue is shared."""
    return any(
        sum(plan.price_of(metric_of(product_type, unit)) is not None for unit in units) > 1
        for plan in plans
        for product_type in PRODUCT_TYPES
        for units in UNITS_OF_KIND.values()
    )


def _revenues(total: Decimal, usage: list[Usage], plan: RatePlan | None) -> list[tuple[str, Decimal]]:
    """(metric, revenue), together exactly the total.

    Of several metrics each has what it earns at list price. When prices have changed since, that does not add
    up, and the total is shared in proportion.
    """
    if not total:
        return []
    priced = [found for found in usage if plan is not None and plan.price_of(found.metric) is not None]
    if len(priced) < 2:
        return [(priced[0].metric if priced else "", total)]
    earned = [_earned(found, plan) for found in priced]
    expected = _sum(earned)
    if expected and expected != total:
        earned = [_ABOUT.multiply(amount, _ABOUT.divide(total, expected)) for amount in earned]
    largest = earned.index(max(earned))
    earned[largest] = CONTEXT.add(earned[largest], CONTEXT.subtract(total, _sum(earned)))
    return [(found.metric, amount) for found, amount in zip(priced, earned, strict=True)]


def _earned(usage: Usage, plan: RatePlan | None) -> Decimal:
    each = estimate(plan, usage.metric, usage.dimensions, _ONE)
    return CONTEXT.multiply(each, usage.quantity) if each else ZERO


def _sum(amounts: list[Decimal]) -> Decimal:
    return reduce(CONTEXT.add, amounts)
