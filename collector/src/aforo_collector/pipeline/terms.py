"""Enrich and estimate: which metrics of an occurrence are written for a payer, and what it earns.

A payer's product type names its metrics, its plan prices them. What the plan prices, or the tenant asked
for, is written as usage events; the rest of an occurrence is kept all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.event_fields import other_spelling
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.measures import metric_of, stated
from aforo_collector.domain.money import CONTEXT
from aforo_collector.domain.rating import estimate
from aforo_collector.domain.usage import (
    FIELDS,
    UNITS,
    UNITS_OF_KIND,
    Kind,
    Occurrence,
    dimensions,
    occurrence_from,
)

from .wire_names import snake

_ONE = Decimal(1)
_REMEMBERED_MAX = 4_096
_ALL = (1 << len(UNITS)) - 1
_TOOL = int(Kind.TOOL)
_TOKENS = sum(1 << bit for bit, unit in enumerate(UNITS) if unit.endswith("_tokens"))
_DERIVED = sum(1 << bit for bit, unit in enumerate(UNITS) if unit.endswith(("_tokens", "_cost")))


class Terms:
    """What one payer's occurrences become under one catalog; made once per payer, then looked up."""

    __slots__ = (
        "_agent_id",
        "_beyond",
        "_earns",
        "_masks",
        "_plan",
        "_product_type",
        "_rated",
        "_submitted",
        "sold_ns",
    )

    def __init__(self, catalog: Catalog, payer: Identity, *, is_sold: bool = True) -> None:
        self._product_type = payer.product_type
        self._agent_id = payer.agent_id
        self._plan = catalog.basis(payer.customer_id, payer.product_type) if is_sold else None
        self.sold_ns = catalog.term_ns(payer.customer_id, payer.product_type) if is_sold else None
        """[start, until) of what the plan bills, in ns; None for all that the payer uses."""
        self._beyond = self if self.sold_ns is None else Terms(catalog, payer, is_sold=False)
        self._masks: dict[int, int] = {}
        self._rated: dict[int, list[str]] = {}
        self._earns: dict[tuple[int, str, str, str, str], list[tuple[int, Decimal]]] = {}
        self._submitted: dict[tuple[int, str, str, str, str, int], list[tuple[int, Decimal]]] = {}
        for kind, units in UNITS_OF_KIND.items():
            written = [unit for unit in units if self._writes(catalog, unit)]
            self._masks[kind] = sum(1 << UNITS.index(unit) for unit in written)
            self._rated[kind] = [unit for unit in written if self._prices(unit)]

    def at(self, occurred_ns: int) -> Terms:
        """The terms that hold for what happened at a moment: no plan bills it outside of the subscription."""
        sold = self.sold_ns
        return self if sold is None or sold[0] <= occurred_ns < sold[1] else self._beyond

    def _prices(self, unit: str) -> bool:
        return self._plan is not None and self._plan.price_of(metric_of(self._product_type, unit)) is not None

    def _writes(self, catalog: Catalog, unit: str) -> bool:
        # The final event of a session is written for every session, priced or not.
        return (
            unit == "sessions" or self._prices(unit) or catalog.records(metric_of(self._product_type, unit))
        )

    def mask(self, occurrence: Occurrence) -> int:
        """Bit mask over `UNITS` of the metrics that are written of an occurrence."""
        mask = self._masks[occurrence[0]]
        return mask & ~_TOKENS if occurrence[0] == _TOOL and not occurrence.model_calls else mask

    def rated(self, occurrence: Occurrence) -> Occurrence:
        """The occurrence with what it earns at list price, unrounded; as it is when no plan prices any of it."""
        try:
            earns = self._earns[occurrence[:5]]
        except KeyError:
            earns = self._remember(occurrence)
        return _earning(occurrence, earns)

    def mask_of(self, kind: int, own: str) -> int:
        """As `mask`, for an occurrence that was submitted as an event of its measure `own`, "" for none.

        Its cost and its tokens are written as a span's would be; what else it could count, it does not.
        """
        derived = _DERIVED & ~_TOKENS if kind == _TOOL else _DERIVED
        return self._masks[kind] & derived | (1 << UNITS.index(own) if own else 0)

    def rated_as(self, occurrence: Occurrence, units: int) -> Occurrence:
        """As `rated`, for the units of a bit mask alone."""
        key = (*occurrence[:5], units)
        earns = self._submitted.get(key)
        if earns is None:
            earns = self._earnings(occurrence, units)
            if len(self._submitted) < _REMEMBERED_MAX:
                self._submitted[key] = earns
        return _earning(occurrence, earns)

    def _remember(self, occurrence: Occurrence) -> list[tuple[int, Decimal]]:
        earns = self._earnings(occurrence, _ALL)
        if len(self._earns) < _REMEMBERED_MAX:
            self._earns[occurrence[:5]] = earns
        return earns

    def _earnings(self, occurrence: Occurrence, units: int) -> list[tuple[int, Decimal]]:
        """What one of each priced measure earns, as (field, amount), for occurrences of this description."""
        earns = []
        for unit in self._rated[occurrence.kind]:
            if units >> UNITS.index(unit) & 1:
                known = dimensions(occurrence, unit, self._agent_id)
                each = estimate(self._plan, metric_of(self._product_type, unit), known, _ONE)
                if each is not None:
                    earns.append((FIELDS[unit], each))
        return earns

    def prices_usage(self, metric: str) -> bool:
        """Whether the plan has a price for a usage event of any metric."""
        return self._plan is not None and self._plan.price_of(metric) is not None

    def usage_revenue(self, usage: Occurrence, quantity: Decimal) -> Decimal | None:
        """What so much of a usage event of any metric earns at list price, by what an invoice knows of it."""
        return self.usage_revenues(usage)(quantity)

    def usage_revenues(self, usage: Occurrence) -> Callable[[Decimal], Decimal | None]:
        """As `usage_revenue`, for many events that are like one but for their quantity."""
        plan, metric, known = self._plan, usage.metric, stated(usage, self._plan)
        return lambda quantity: estimate(plan, metric, known, CONTEXT.plus(quantity))

    def dimension(self, metric: str, known: dict[str, str]) -> str:
        """The value that the plan's price of a metric depends on, "" if it depends on none.

        A measurement of a compound event says it as its `dimensionKey`.
        """
        price = self._plan.price_of(metric) if self._plan is not None else None
        name = price.terms.dimension if price is not None else None
        if not name:
            return ""
        spellings = (name, other_spelling(name), snake(name), "dimensionKey")
        return next((known[spelling] for spelling in spellings if known.get(spelling)), "")


def _earning(occurrence: Occurrence, earns: list[tuple[int, Decimal]]) -> Occurrence:
    """The occurrence with what its measures earn, each as (field, amount of one)."""
    total: Decimal | None = None
    for field, each in earns:
        quantity = occurrence[field]
        if quantity:
            earned = each * quantity  # type: ignore[operator]  # a number by FIELDS
            total = earned if total is None else total + earned
    return occurrence if total is None else occurrence_from((*occurrence[:-1], total))
