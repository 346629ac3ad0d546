"""Usage that a program recorded by hand: an event that travelled as a span, priced as any other event is."""

from __future__ import annotations

from aforo_collector.domain.metrics import BillableUnit, Counted
from aforo_collector.domain.span import Span
from aforo_collector.domain.usage import Occurrence

from .admit import recorded_metadata, scalars, status_of
from .terms import Terms


def rated_usage(
    span: Span, occurrence: Occurrence, unit: BillableUnit | None, terms: Terms
) -> tuple[Occurrence, str | None]:
    """A hand-recorded event as its price sees it, and what its unit keeps of it."""
    said = recorded_metadata(span)
    counted = Counted(occurrence.quantity) if unit is None else unit.counted(occurrence.quantity, said)
    status = status_of({}, said)
    known = scalars(said) | ({"executionStatus": status} if status else {})
    occurrence = occurrence._replace(label=terms.dimension(occurrence.metric, known), status=status)
    return occurrence._replace(revenue=terms.usage_revenue(occurrence, counted.value)), counted.sample
