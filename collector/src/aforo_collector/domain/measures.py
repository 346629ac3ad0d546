"""Which metrics an occurrence is written under, in which quantity, and what a price of them can depend on."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from aforo_collector.domain.catalog import RatePlan
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.metrics import PRODUCT_TYPES, metric_name, tool_metric_of
from aforo_collector.domain.pricing.terms import Usage
from aforo_collector.domain.usage import UNITS, Kind, Occurrence, RollUp, dimensions, measure


class Measure(NamedTuple):
    """One metric of an occurrence: a usage event."""

    metric: str
    quantity: Decimal
    dimensions: dict[str, str]


def metric_of(product_type: str, unit: str) -> str:
    """The metric name of a unit under a product type."""
    return tool_metric_of(product_type) if unit == "tool_calls" else metric_name(product_type, unit)


def units_named(metric: str) -> int:
    """Bit mask of the units that go by this name under some product type."""
    return sum(
        1 << bit
        for bit, unit in enumerate(UNITS)
        if any(metric_of(product_type, unit) == metric for product_type in PRODUCT_TYPES)
    )


def units_in(mask: int) -> list[str]:
    """The units of a bit mask, in order."""
    return [unit for bit, unit in enumerate(UNITS) if mask >> bit & 1]


def measures_of(
    occurrence: Occurrence, units: int, payer: Identity, plan: RatePlan | None = None
) -> list[Measure]:
    """The usage events that an occurrence is, in the order of `UNITS`.

    A hand-recorded event has the dimension that the plan's price of its metric asks for, and none without
    `plan`.
    """
    if occurrence.kind == Kind.USAGE:
        return [Measure(occurrence.metric, occurrence.quantity, stated(occurrence, plan))]
    found = []
    for unit in units_in(units):
        quantity = measure(occurrence, unit)
        if quantity is None and unit == "session_seconds":
            quantity = 0  # a session too short to measure was a session
        if quantity is not None:
            known = dimensions(occurrence, unit, payer.agent_id)
            found.append(Measure(metric_of(payer.product_type, unit), Decimal(quantity), known))
    return found


def usage_of(roll_up: RollUp, payer: Identity, plan: RatePlan | None) -> list[Usage]:
    """What a roll-up adds to the usage of a period: the sums of `measures_of` over its occurrences."""
    total, counts = roll_up.total, roll_up.counts
    if total.kind == Kind.USAGE:
        if not counts.events:
            return []
        return [Usage(total.metric, stated(total, plan), total.quantity, counts.events)]
    found = []
    for unit in units_in(roll_up.units):
        event_count = counts.of(total.kind, unit)
        if event_count:
            quantity = event_count if unit == "sessions" else measure(total, unit)
            found.append(
                Usage(
                    metric_of(payer.product_type, unit),
                    dimensions(total, unit, payer.agent_id),
                    Decimal(quantity or 0),
                    event_count,
                )
            )
    return found


def stated(occurrence: Occurrence, plan: RatePlan | None) -> dict[str, str]:
    """What the plan's price of a hand-recorded event's metric can depend on."""
    price = plan.price_of(occurrence.metric) if plan is not None else None
    name = price.terms.dimension if price is not None else None
    known = {"executionStatus": occurrence.status} if occurrence.status else {}
    return known | {name: occurrence.label} if name and occurrence.label else known
