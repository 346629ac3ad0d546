"""Reading: everything that users look at, each answer from one moment of the store.

All of it is returned as wire values (see `views`); lists are pages `{"items": [...], "nextCursor": text or
None}`. Parameters that make no sense raise `InvalidQuery`; what does not exist in the tenant is None.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import islice

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.session import NS_PER_S, Policy, Session, State
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_reads import Snapshot, intake_totals, session_times
from aforo_collector.views import Wire, balance_view, page, quarantine_view, session_view

from .analytics import Analytics, UsageQuery
from .event_history import history_of
from .event_reading import EventReading, Wanted
from .invoicing import Billing, period_of
from .queries import InvalidQuery, check_limit, cursor_of, parts_of
from .quotas import check_quota
from .trace_reading import trace_of

__all__ = ["InvalidQuery", "Reading"]

SESSIONS_READ = 200


class Reading:
    """The reading use cases over one store; safe to call from any thread.

    `catalog_of` gives the catalog in force of a tenant number (`Catalogs.catalog`), `clock_ns` the time that
    the states of sessions and the default invoice period depend on.
    """

    def __init__(
        self,
        database: Database,
        catalog_of: Callable[[int], Catalog],
        policy: Policy,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._catalog_of = catalog_of
        self._policy = policy
        self._clock_ns = clock_ns

    @contextmanager
    def _snapshot(self, tenant_no: int) -> Iterator[Snapshot]:
        with self._database.reading() as connection:
            yield Snapshot(connection, tenant_no)

    def sessions(
        self,
        tenant_no: int,
        *,
        customer_id: str | None = None,
        state: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Wire:
        """A page of sessions, newest first; `state` is one of CREATED, ACTIVE, IDLE, CLOSED."""
        check_limit(limit)
        if state is not None and state not in set(State):
            raise InvalidQuery("state", f"{state[:40]!r} is none of {', '.join(State)}")
        before_no = None if cursor is None else parts_of(cursor, 1)[0][0]
        now_ns = self._clock_ns()
        found: list[Session] = []
        with self._snapshot(tenant_no) as snapshot:
            customer_no = None
            if customer_id is not None and (customer_no := snapshot.customer_no(customer_id)) is None:
                return page([], None)
            is_open = None if state is None else state != State.CLOSED
            while len(found) <= limit:
                read = snapshot.sessions.latest(customer_no, is_open, before_no, SESSIONS_READ)
                found += [s for s in read if state in (None, s.state(now_ns, self._policy))]
                if len(read) < SESSIONS_READ:
                    break
                before_no = read[-1].session_no
        items = [self._shown(tenant_no, session, now_ns) for session in found[:limit]]
        return page(items, cursor_of(found[limit - 1].session_no) if len(found) > limit else None)

    def session(self, tenant_no: int, session_id: str, *, customer_id: str | None = None) -> Wire | None:
        """One session, or None; raises `InvalidQuery` for customerId when several customers use its id."""
        with self._snapshot(tenant_no) as snapshot:
            session = _session(snapshot, session_id, customer_id)
        return self._shown(tenant_no, session, self._clock_ns()) if session is not None else None

    def _shown(self, tenant_no: int, session: Session, now_ns: int) -> Wire:
        lead = self._catalog_of(tenant_no).with_team(session.lead)
        return session_view(replace(session, lead=lead), now_ns, self._policy)

    def trace(self, tenant_no: int, session_id: str, *, customer_id: str | None = None) -> Wire | None:
        """The span tree of a session, or None; raises `InvalidQuery` as `session` does."""
        with self._snapshot(tenant_no) as snapshot:
            session = _session(snapshot, session_id, customer_id)
            return trace_of(snapshot, session) if session is not None else None

    def usage_events(
        self,
        tenant_no: int,
        *,
        customer_id: str | None = None,
        metric_name: str | None = None,
        session_id: str | None = None,
        trace_id: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
        corrections: bool = False,
    ) -> Wire:
        """A page of usage events, net of what was taken back.

        Of one session or trace (32 hexadecimal digits) in the order of (occurredAt, eventId), else in order
        of recording. With `corrections` the events that were taken back and the voids that did it are shown
        too, and every event has `eventNo`, `type`, `corrects`, `voidedBy` and `recordedAt`.
        """
        check_limit(limit)
        wanted = Wanted(customer_id, metric_name, session_id, trace_id, corrections)
        with self._snapshot(tenant_no) as snapshot:
            return EventReading(snapshot, wanted).page(cursor, limit)

    def usage(
        self, tenant_no: int, query: UsageQuery, *, cursor: str | None = None, limit: int = 100
    ) -> Wire:
        """A page of usage added up, in the order of the keys; see `UsageQuery` and `Analytics`."""
        check_limit(limit)
        query.check()
        with self._snapshot(tenant_no) as snapshot:
            return Analytics(snapshot, self._catalog_of(tenant_no), query).page(cursor, limit)

    def history(self, tenant_no: int, event_id: str) -> list[Wire] | None:
        """All bookings of an event, oldest first, voids included; None when there is no such event."""
        with self._snapshot(tenant_no) as snapshot:
            return history_of(snapshot, event_id) or None

    def provisional_customers(self, tenant_no: int, first: str, count_max: int) -> list[str]:
        """Ids of customers that usage names and the catalog does not have, in order from `first` on."""
        catalog = self._catalog_of(tenant_no)
        with self._snapshot(tenant_no) as snapshot:
            named = snapshot.customers_with_usage(first)
            return list(islice((name for name in named if catalog.customer(name) is None), count_max))

    def invoice_preview(
        self,
        tenant_no: int,
        customer_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Wire | None:
        """What a customer owes for [start, end) so far, or None for an unknown customer.

        Aware datetimes; `start` defaults to the first of the current month in UTC, `end` to the first of the
        next one. Lines are those of `domain.invoice.to_wire`; `unpriced` counts the calls of unknown cost.
        """
        with self._snapshot(tenant_no) as snapshot:
            billing = self._billing(snapshot, tenant_no, customer_id, start, end)
            return billing.preview() if billing.known else None

    def line_events(
        self,
        tenant_no: int,
        customer_id: str,
        line: int,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Wire | None:
        """A page of the usage events that line number `line` (from 0) of a preview counts, latest recorded
        first; None when there is no such customer or line.
        """
        check_limit(limit)
        with self._snapshot(tenant_no) as snapshot:
            billing = self._billing(snapshot, tenant_no, customer_id, start, end)
            return billing.line_events(line, cursor, limit) if billing.known else None

    def _billing(
        self,
        snapshot: Snapshot,
        tenant_no: int,
        customer_id: str,
        start: datetime | None,
        end: datetime | None,
    ) -> Billing:
        period = period_of(start, end, self._clock_ns())
        return Billing(snapshot, self._catalog_of(tenant_no), customer_id, period)

    def quota(self, tenant_no: int, customer_id: str, metric_name: str | None, quantity: Decimal) -> Wire:
        """Whether a customer may use so much more of a metric, or anything at all, in the current month in UTC."""
        catalog = self._catalog_of(tenant_no)
        with self._snapshot(tenant_no) as snapshot:
            return check_quota(snapshot, catalog, customer_id, metric_name, quantity, self._clock_ns())

    def intake_balance(self, tenant_no: int) -> Wire:
        """{received, recorded, duplicates, conflicts, rejected} over all doors, and by door under `doors`."""
        with self._snapshot(tenant_no) as snapshot:
            return balance_view(snapshot.intake())

    def quarantine(self, tenant_no: int, *, cursor: str | None = None, limit: int = 100) -> Wire:
        """A page of what was set aside, latest first."""
        check_limit(limit)
        before_no = None if cursor is None else parts_of(cursor, 1)[0][0]
        with self._snapshot(tenant_no) as snapshot:
            found = snapshot.quarantine(before_no, limit + 1)
        items = [quarantine_view(aside) for aside in found[:limit]]
        return page(items, cursor_of(found[limit - 1].quarantine_no) if len(found) > limit else None)

    def intake_totals(self) -> dict[str, dict[str, int]]:
        """{door: {received, recorded, duplicates, conflicts, rejected}} over all tenants."""
        with self._database.reading() as connection:
            doors: dict[str, dict[str, int]] = balance_view(intake_totals(connection))["doors"]
        return doors

    def session_counts(self) -> dict[str, int]:
        """{state: sessions} over all tenants; every session that is open and not idle counts as ACTIVE."""
        with self._database.reading() as connection:
            count, touched = session_times(connection)
        idle_since_ns = self._clock_ns() - self._policy.idle_s * NS_PER_S
        states = Counter(State.IDLE if at_ns <= idle_since_ns else State.ACTIVE for at_ns in touched)
        states[State.CLOSED] = count - len(touched)
        return {state.value: states[state] for state in (State.ACTIVE, State.IDLE, State.CLOSED)}


def _session(snapshot: Snapshot, session_id: str, customer_id: str | None) -> Session | None:
    customer_no = None
    if customer_id is not None and (customer_no := snapshot.customer_no(customer_id)) is None:
        return None
    found = snapshot.sessions.by_id(session_id, customer_no)
    if len(found) > 1:
        names = ", ".join(session.customer_id for session in found[:5])
        raise InvalidQuery(
            "customerId", f"{len(found)} customers have a session of this id ({names}); say whose is meant"
        )
    return found[0] if found else None
