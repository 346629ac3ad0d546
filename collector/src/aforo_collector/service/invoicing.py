"""Invoice previews: whole hours from roll-ups, the hours that the period cuts from their events; units that go
by the values of their events from those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from aforo_collector.domain.aggregation import Tally
from aforo_collector.domain.catalog import FOREVER_NS, Catalog, RatePlan
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.invoice import Invoice, InvoiceLine, build, to_wire
from aforo_collector.domain.measures import measures_of, stated, units_named, usage_of
from aforo_collector.domain.money import CONTEXT, ZERO
from aforo_collector.domain.pricing.terms import Price, Usage, total_of
from aforo_collector.domain.rating import billable, bills
from aforo_collector.domain.usage import Entry, Kind, Occurrence, model_of
from aforo_collector.store.event_rows import HOUR_NS
from aforo_collector.store.sqlite_reads import Snapshot
from aforo_collector.views import EPOCH, Wire, event_views, page

from .queries import InvalidQuery, cursor_of, parts_of

_Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""(code of the plan, metric, dimensions)."""


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end) as aware datetimes and in ns since 1970, at most `FOREVER_NS`: SQLite knows no larger numbers."""

    start: datetime
    end: datetime

    @property
    def start_ns(self) -> int:
        """Start in ns."""
        return min(ns_of(self.start), FOREVER_NS)

    @property
    def end_ns(self) -> int:
        """End in ns."""
        return min(ns_of(self.end), FOREVER_NS)

    @property
    def hours(self) -> tuple[int, int]:
        """The hours since 1970 that the period touches, as [from, to)."""
        return self.start_ns // HOUR_NS, -(-self.end_ns // HOUR_NS)


def period_of(start: datetime | None, end: datetime | None, now_ns: int) -> Period:
    """The period asked for, by default the current month in UTC; raises `InvalidQuery`."""
    for field, moment in (("from", start), ("to", end)):
        if moment is not None and moment.utcoffset() is None:
            raise InvalidQuery(field, "has no UTC offset; write it like 2026-01-31T00:00:00Z")
    now = EPOCH + timedelta(microseconds=now_ns // 1000)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = (start or month).astimezone(UTC)
    end = (end or (month + timedelta(days=31)).replace(day=1)).astimezone(UTC)
    if start >= end:
        raise InvalidQuery("to", f"{end.isoformat()} is not after the start, {start.isoformat()}")
    if start < EPOCH:
        raise InvalidQuery("from", f"{start.isoformat()} is before 1970; nothing can have happened then")
    return Period(start, end)


class Billing:
    """One customer's bill from one snapshot."""

    def __init__(self, snapshot: Snapshot, catalog: Catalog, customer_id: str, period: Period) -> None:
        self._snapshot = snapshot
        self._catalog = catalog
        self._customer_id = customer_id
        self._period = period
        self._customer_no = snapshot.customer_no(customer_id)
        self._payers: Mapping[int, Identity] = {}
        if self._customer_no is not None:
            self._payers = snapshot.payers(self._customer_no, customer_id)

    @property
    def known(self) -> bool:
        """Whether the customer is in the catalog or anything was ever received for it."""
        return self._customer_no is not None or self._catalog.customer(self._customer_id) is not None

    def preview(self) -> Wire:
        """The invoice so far, with the calls whose cost is unknown.

        A `provisional` customer is not in the catalog: nothing is billed before it is.
        """
        invoice, unpriced = self._bill()
        models = sorted(model for model, calls in unpriced.items() if calls > 0)
        return {
            **to_wire(invoice),
            "provisional": self._catalog.customer(self._customer_id) is None,
            "unpriced": {"calls": sum(unpriced.values()), "models": [model for model in models if model]},
        }

    def line_events(self, number: int, cursor: str | None, limit: int) -> Wire | None:
        """A page of the events that a line of the preview counts, or None when there is no such line."""
        lines = self._bill()[0].lines
        if not 0 <= number < len(lines):
            return None
        line = lines[number]
        before_no, left = (None, None) if cursor is None else parts_of(cursor, 2)[0]
        items: list[Wire] = []
        last = (0, 0)
        tenant_id = self._snapshot.tenant_id()
        for remaining, entry in self._events(*self._period.hours, before_no, left):
            if not self._period.start_ns <= entry.occurred_ns < self._period.end_ns:
                continue
            index = self._counted(entry, line)
            if index is None:
                continue
            if len(items) == limit:
                return page(items, cursor_of(*last))
            items.append(event_views(entry, tenant_id)[index])
            last = (entry.event_no, remaining - 1)
        return page(items, None)

    def _counted(self, entry: Entry, line: InvoiceLine) -> int | None:
        """Which of an entry's usage events the line counts: one, because a line has one metric."""
        plan = self._plan(entry.payer, entry.occurred_ns)
        if plan is None or plan.code != line.plan:
            return None
        for index, measure in enumerate(measures_of(entry.occurrence, entry.units, entry.payer, plan)):
            if bills(line.charge, measure.metric, measure.dimensions):
                return index
        return None

    def used(self, metric: str) -> list[tuple[RatePlan, Price, Decimal]]:
        """How much of a metric counts toward each of the customer's prices of it, as on the invoice."""
        usage, _ = self._usage(metric)
        found = []
        for plan, entries in usage.by_plan():
            price = plan.price_of(metric) if plan is not None else None
            if plan is not None and price is not None:
                found.append((plan, price, total_of(billable(price, entries))[0]))
        return found

    def _bill(self) -> tuple[Invoice, Counter[str]]:
        usage, unpriced = self._usage()
        period, catalog = self._period, self._catalog
        invoice = build(self._customer_id, catalog.currency, period.start, period.end, usage.by_plan())
        return invoice, unpriced

    def _usage(self, metric: str | None = None) -> tuple[_UsageByPlan, Counter[str]]:
        """What was used, of one metric or of all, and how many calls of each model have no price."""
        usage = _UsageByPlan(self._plans())
        unpriced: Counter[str] = Counter()
        sampled = self._catalog.sampled_metrics()
        for start_ns, end_ns in self._stretches():
            self._add_stretch(usage, unpriced, metric, start_ns, end_ns)
        for name in sampled:
            if metric in (None, name):
                for start_ns, end_ns in self._stretches():
                    self._add_samples(usage, name, start_ns, end_ns)
        return usage, unpriced

    def _plans(self) -> Iterator[RatePlan]:
        """The plans of what the customer has at some time of the period."""
        for product_type, plan in self._catalog.plans_of(self._customer_id):
            term = self._catalog.term_ns(self._customer_id, product_type)
            if term is None or (term[0] < self._period.end_ns and self._period.start_ns < term[1]):
                yield plan

    def _stretches(self) -> list[tuple[int, int]]:
        """The period in pieces during which the same plans bill; they begin and end with it, or with a day."""
        customer = self._catalog.customer(self._customer_id)
        terms = customer.terms if customer is not None else ()
        bounds = {bound for term in terms for bound in term.span_ns}
        start_ns, end_ns = self._period.start_ns, self._period.end_ns
        edges = [start_ns, *sorted(bound for bound in bounds if start_ns < bound < end_ns), end_ns]
        return list(pairwise(edges))

    def _add_stretch(
        self, usage: _UsageByPlan, unpriced: Counter[str], metric: str | None, start_ns: int, end_ns: int
    ) -> None:
        sampled = self._catalog.sampled_metrics()
        wanted = None if metric is None else (units_named(metric), metric)
        first, last = -(-start_ns // HOUR_NS), end_ns // HOUR_NS
        for roll_up in self._snapshot.roll_ups.over(self._payers, first, last, wanted):
            payer = self._payers[roll_up.payer_no]
            plan = self._plan(payer, start_ns)
            for found in usage_of(roll_up, payer, plan):
                if found.metric not in sampled and metric in (None, found.metric):
                    usage.add(plan, found)
            unpriced[model_of(roll_up.total)] += roll_up.counts.unpriced
        for entry in self._cut_hours(start_ns, end_ns):
            plan = self._plan(entry.payer, entry.occurred_ns)
            for measure in measures_of(entry.occurrence, entry.units, entry.payer, plan):
                if measure.metric not in sampled and metric in (None, measure.metric):
                    usage.add(plan, Usage(measure.metric, measure.dimensions, measure.quantity))
            occurrence = entry.occurrence
            unpriced[model_of(occurrence)] += bool(occurrence.reason)

    def _add_samples(self, usage: _UsageByPlan, metric: str, start_ns: int, end_ns: int) -> None:
        """The events of a unit that goes by their values: whatever the period, they are read one by one."""
        unit = self._catalog.unit(metric)
        if self._customer_no is None or unit is None:
            return
        for payer_no, label, status, values in self._snapshot.samples.over(
            self._customer_no, metric, start_ns, end_ns
        ):
            plan = self._plan(self._payers[payer_no], start_ns)
            known = stated(Occurrence(Kind.USAGE, label, status, metric=metric), plan)
            tally = Tally(unit.aggregation, values)
            usage.add(plan, Usage(metric, known, ZERO, sum(values.values()), tally))

    def _cut_hours(self, start_ns: int, end_ns: int) -> Iterator[Entry]:
        """Events of the hours that lie only partly in [start, end)."""
        first, last = -(-start_ns // HOUR_NS), end_ns // HOUR_NS
        hour_from, hour_to = start_ns // HOUR_NS, -(-end_ns // HOUR_NS)
        edges = [(hour_from, min(first, hour_to)), (max(last, hour_from), hour_to)]
        for edge in edges if first <= last else edges[:1]:
            for _, entry in self._events(*edge):
                if start_ns <= entry.occurred_ns < end_ns:
                    yield entry

    def _events(
        self, hour_from: int, hour_to: int, before_no: int | None = None, left: int | None = None
    ) -> Iterator[tuple[int, Entry]]:
        """All events of the hours, latest recorded first; the roll-ups say how many there are."""
        if self._customer_no is None or hour_from >= hour_to:
            return iter(())
        if left is None:
            left = self._snapshot.roll_ups.events(self._payers, hour_from, hour_to)
        return self._snapshot.events.during(self._customer_no, (hour_from, hour_to), left, before_no)

    def _plan(self, payer: Identity, at_ns: int) -> RatePlan | None:
        return self._catalog.basis_at(payer.customer_id, payer.product_type, at_ns)


class _UsageByPlan:
    """Usage summed by plan, metric and dimensions; a plan is there even when nothing was used of it.

    One plan may price several product types of a customer: its fee and its included units are there once.
    """

    def __init__(self, plans: Iterator[RatePlan]) -> None:
        self._plans: dict[str, RatePlan | None] = {plan.code: plan for plan in plans}
        self._sums: dict[_Key, tuple[Decimal, int]] = {}
        self._tallies: dict[_Key, tuple[str, Counter[str]]] = {}

    def add(self, plan: RatePlan | None, usage: Usage) -> None:
        """Count some usage that a plan, or none, bills."""
        code = "" if plan is None else plan.code
        self._plans.setdefault(code, plan)
        key = (code, usage.metric, tuple(sorted(usage.dimensions.items())))
        quantity, count = self._sums.get(key, (ZERO, 0))
        self._sums[key] = (CONTEXT.add(quantity, usage.quantity), count + usage.event_count)
        if usage.tally is not None:
            _, values = self._tallies.setdefault(key, (usage.tally.aggregation, Counter()))
            values.update(usage.tally.values)

    def by_plan(self) -> Iterator[tuple[RatePlan | None, list[Usage]]]:
        """Each plan with its usage, in an order that only depends on what they are."""
        found: dict[str, list[Usage]] = {code: [] for code in sorted(self._plans)}
        for key, (quantity, count) in sorted(self._sums.items()):
            code, metric, dimensions = key
            tally = Tally(*self._tallies[key]) if key in self._tallies else None
            found[code].append(Usage(metric, dict(dimensions), quantity, count, tally))
        return ((self._plans[code], usage) for code, usage in found.items())


def ns_of(moment: datetime) -> int:
    """An aware datetime in ns since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000
