"""Usage added up by what it is grouped by: whole hours and days from roll-ups, cut hours from their events.

Rows come in the order of who used something, then of the other keys. So a page adds up only the payers that are
on it, however many there are.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

from aforo_collector.domain.catalog import Catalog, RatePlan
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.measures import stated, units_named
from aforo_collector.domain.money import CONTEXT, ZERO, plain
from aforo_collector.domain.shares import Share, shares_of, splits_revenue
from aforo_collector.domain.usage import Entry, Kind, RollUp
from aforo_collector.store.event_rows import HOUR_NS
from aforo_collector.store.roll_up_reads import HOUR_LAST, Grain, Wanted, roll_up_of
from aforo_collector.store.roll_up_rows import DAY_HOURS
from aforo_collector.store.sqlite_reads import Snapshot
from aforo_collector.views import EPOCH, Wire, page

from .invoicing import ns_of
from .queries import InvalidQuery, cursor_of, parts_of

PAYER_KEYS: Final = {
    "customerId": "customer_id",
    "teamId": "team_id",
    "agentId": "agent_id",
    "appId": "app_id",
    "productType": "product_type",
}
NAME_KEYS: Final = ("toolName", "model", "executionStatus")
KEYS: Final = ("metricName", *PAYER_KEYS, *NAME_KEYS, "day", "hour")
"""What usage can be grouped by."""

_PAYERS_FIRST = 2
"""How many payers, or groups of them, are added up before it is known whether a page needs more."""


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to add up: [start, end) as aware datetimes, None for no bound.

    `group_by` has names of `KEYS`, `only` the value that a key must have.
    """

    group_by: tuple[str, ...]
    only: Mapping[str, str] = field(default_factory=dict)
    start: datetime | None = None
    end: datetime | None = None

    def check(self) -> None:
        """Raise `InvalidQuery` for what cannot be grouped by, and for a period that ends before it starts."""
        for name in self.group_by:
            if name not in KEYS:
                raise InvalidQuery("groupBy", f"{name[:40]!r} is none of {', '.join(KEYS)}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise InvalidQuery("to", f"{self.end.isoformat()} is not after {self.start.isoformat()}")

    def asks(self, *names: str) -> bool:
        """Whether one of the keys decides which row something belongs to."""
        return any(name in self.group_by or name in self.only for name in names)


class _Payers(NamedTuple):
    """Payers that the query does not tell apart, and whose usage is priced alike."""

    who: tuple[str, ...]
    payer: Identity
    plan: RatePlan | None


@dataclass(slots=True)
class _Row:
    """What a row has so far; `metrics` are those of its events."""

    quantity: Decimal = ZERO
    event_count: int = 0
    cost: Decimal = ZERO
    revenue: Decimal = ZERO
    unpriced: int = 0
    metrics: set[str] = field(default_factory=set)

    def add(self, share: Share) -> None:
        """Count a share in."""
        if share.event_count:
            self.metrics.add(share.metric)
        self.quantity = CONTEXT.add(self.quantity, share.quantity)
        self.event_count += share.event_count
        self.cost = CONTEXT.add(self.cost, share.cost)
        self.revenue = CONTEXT.add(self.revenue, share.revenue)
        self.unpriced += share.unpriced

    def __bool__(self) -> bool:
        return bool(self.event_count or self.cost or self.revenue or self.unpriced)

    def wire(self) -> Wire:
        """The sums; no quantity where it would add up different things."""
        return {
            "quantity": plain(self.quantity) if len(self.metrics) == 1 else None,
            "eventCount": self.event_count,
            "providerCost": plain(self.cost),
            "revenue": plain(self.revenue),
            "unpricedCalls": self.unpriced,
        }


class Analytics:
    """Answers one query from one snapshot."""

    def __init__(self, snapshot: Snapshot, catalog: Catalog, query: UsageQuery) -> None:
        self._snapshot = snapshot
        self._query = query
        self._who = [name for name in query.group_by if name in PAYER_KEYS]
        self._what = [name for name in query.group_by if name not in PAYER_KEYS]
        self._catalog = catalog
        by_metric = query.asks("metricName") and splits_revenue(catalog.rate_plans)
        period = "hour" if "hour" in self._what else "day" if "day" in self._what else ""
        self._grain = Grain(period, names=by_metric or query.asks(*NAME_KEYS))
        last_ns = HOUR_LAST * HOUR_NS
        start_ns = 0 if query.start is None else min(max(0, ns_of(query.start)), last_ns)
        end_ns = last_ns if query.end is None else min(max(start_ns, ns_of(query.end)), last_ns)
        self._hours, self._cuts = _divided(start_ns, end_ns)
        customer_id = query.only.get("customerId")
        self._customer_no = None if customer_id is None else snapshot.customer_no(customer_id)
        self._payers: Mapping[int, Identity] = {}
        if customer_id is None:
            self._payers = snapshot.every_payer()
        elif self._customer_no is not None:
            self._payers = snapshot.payers(self._customer_no, customer_id)
        self._groups: list[_Payers] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._members: dict[tuple[str, ...], list[int]] = {}
        """Who → payer numbers."""

    def page(self, cursor: str | None, limit: int) -> Wire:
        """The rows after the cursor, at most `limit`; raises `InvalidQuery`."""
        after = self._after(cursor)
        for payer_no, payer in self._payers.items():
            if self._admits(payer):
                self._members.setdefault(self._who_is(payer), []).append(payer_no)
        items: list[Wire] = []
        last: tuple[str, ...] = ()
        for key, row in self._rows(after, limit + 1):
            if len(items) == limit:
                return page(items, cursor_of(json.dumps(last)))
            said = dict(zip((*self._who, *self._what), key, strict=True))
            items.append({name: said[name] or None for name in self._query.group_by} | row.wire())
            if "customerId" in said:
                items[-1]["provisional"] = self._catalog.customer(said["customerId"]) is None
            last = key
        return page(items, None)

    def _after(self, cursor: str | None) -> tuple[str, ...] | None:
        if cursor is None:
            return None
        try:
            after = json.loads(parts_of(cursor, 0, text=True)[1])
        except ValueError:
            after = None
        if not isinstance(after, list) or list(map(type, after)) != [str] * len(self._query.group_by):
            raise InvalidQuery("cursor", "is not one that this list gave; start without a cursor")
        return tuple(after)

    def _admits(self, payer: Identity) -> bool:
        only = self._query.only
        return not only or all(
            getattr(payer, PAYER_KEYS[name]) == value for name, value in only.items() if name in PAYER_KEYS
        )

    def _who_is(self, payer: Identity) -> tuple[str, ...]:
        return tuple([getattr(payer, PAYER_KEYS[name]) for name in self._who])

    def _group_of(self, payer: Identity) -> int:
        who = self._who_is(payer)
        plan = self._catalog.basis(payer.customer_id, payer.product_type)
        # A price of steps can depend on the agent.
        agent_id = payer.agent_id if self._grain.names else ""
        key = (who, payer.product_type, agent_id, plan and plan.code)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._groups)
            self._groups.append(_Payers(who, payer, plan))
        return number

    def _rows(self, after: tuple[str, ...] | None, count: int) -> Iterator[tuple[tuple[str, ...], _Row]]:
        """Rows in order, from the first one after a key; `count` is how many will be wanted."""
        whos = sorted(self._members)
        at = first = 0 if after is None else bisect_left(whos, after[: len(self._who)])
        length, found = _PAYERS_FIRST, 0
        while at < len(whos):
            rows: dict[tuple[str, ...], _Row] = {}
            for period, roll_up in self._roll_ups(whos[at : at + length]):
                self._share_out(rows, period, roll_up)
            at += length
            for key in sorted(rows):
                if rows[key] and (after is None or key > after):
                    found += 1
                    yield key, rows[key]
            # As many as are missing, if the others have as much as these had.
            length = min(len(whos), (count - found) * (at - first) // max(found, 1)) + 1

    def _roll_ups(self, whos: list[tuple[str, ...]]) -> Iterator[tuple[int, RollUp]]:
        """(period, roll-up of a group) of what happened."""
        groups = {no: self._group_of(self._payers[no]) for who in whos for no in self._members[who]}
        reads = self._snapshot.roll_ups
        for key, sums in reads.sums(groups, self._hours, self._grain, self._wanted).items():
            yield key.period, reads.roll_up(key, sums)
        chosen = frozenset(groups.values())
        for period, roll_up in self._cut_hours:
            if roll_up.payer_no in chosen:
                yield period, roll_up

    @cached_property
    def _wanted(self) -> Wanted:
        """What can be left out before it is looked at."""
        number, only = self._snapshot.name_no, self._query.only
        metric, status = only.get("metricName"), only.get("executionStatus")
        label = only.get("toolName")  # the model of a tool that tells of tokens stands elsewhere
        return Wanted(
            (units_named(metric), number(metric)) if metric else None,
            number(label) if label else None,
            number(status) if status else None,
        )

    @cached_property
    def _cut_hours(self) -> list[tuple[int, RollUp]]:
        """The same of the events of hours that lie only partly in the period."""
        found = []
        period_ns = HOUR_NS * {"hour": 1, "day": DAY_HOURS, "": HOUR_LAST}[self._grain.period]
        for hour, start_ns, end_ns in self._cuts:
            for entry in self._events(hour):
                if start_ns <= entry.occurred_ns < end_ns and self._admits(entry.payer):
                    number = self._group_of(entry.payer)
                    roll_up = roll_up_of(number, entry.units, entry.occurrence)
                    found.append((entry.occurred_ns // period_ns, roll_up))
        return found

    def _events(self, hour: int) -> Iterator[Entry]:
        reads, hours = self._snapshot, (hour, hour + 1)
        left = reads.roll_ups.events(self._payers, *hours)
        if self._customer_no is None:
            return reads.events.of_everybody(hour, left)
        return (entry for _, entry in reads.events.during(self._customer_no, hours, left))

    def _share_out(self, rows: dict[tuple[str, ...], _Row], period: int, roll_up: RollUp) -> None:
        """Add a roll-up to the rows that it belongs to."""
        group, only = self._groups[roll_up.payer_no], self._query.only
        values = self._names(roll_up, group) if self._grain.names else {}
        if any(values[name] != only[name] for name in NAME_KEYS if name in only):
            return
        if self._grain.period:
            values |= _times(period, self._grain.period)
        for share in shares_of(roll_up, group.payer, group.plan):
            if only.get("metricName", share.metric) == share.metric:
                values["metricName"] = share.metric
                key = (*group.who, *(values[name] for name in self._what))
                row = rows.get(key)
                if row is None:
                    row = rows[key] = _Row()
                row.add(share)

    def _names(self, roll_up: RollUp, group: _Payers) -> dict[str, str]:
        total = roll_up.total
        found = {"toolName": "", "model": "", "executionStatus": ""}
        if total.kind == Kind.TOOL:
            found = {"toolName": total.label, "model": total.metric, "executionStatus": total.status}
        elif total.kind == Kind.MODEL:
            found["model"] = total.label
        elif total.kind == Kind.USAGE:
            known = stated(total, group.plan)
            found |= {name: known[name] for name in NAME_KEYS if name in known}
        return found


def _divided(start_ns: int, end_ns: int) -> tuple[tuple[int, int], list[tuple[int, int, int]]]:
    """The whole hours [first, last) of a period, and (hour, start, end) of those that it cuts."""
    first, last = -(-start_ns // HOUR_NS), end_ns // HOUR_NS
    if first > last:
        return (last, last), [(last, start_ns, end_ns)]
    edges = [(first - 1, start_ns, first * HOUR_NS), (last, last * HOUR_NS, end_ns)]
    return (first, last), [edge for edge in edges if edge[1] < edge[2]]


@lru_cache(maxsize=2_000)
def _times(period: int, unit: str) -> dict[str, str]:
    moment = EPOCH + timedelta(**{f"{unit}s": period})
    return {"day": f"{moment:%Y-%m-%d}", "hour": f"{moment:%Y-%m-%dT%H}:00:00Z"}
