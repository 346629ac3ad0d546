"""Amendments: a submitted event booked again with other contents, in another session, or under another payer."""

from __future__ import annotations

from aforo_collector.domain.identity import NOBODY
from aforo_collector.domain.session import NS_PER_S, Policy, Session
from aforo_collector.domain.submission import WINDOW_NS, RawEvent, UsageEvent
from aforo_collector.pipeline.admit import Refused, admit, stated
from aforo_collector.pipeline.enrich import session_of_event
from aforo_collector.pipeline.wire_names import NAMES
from aforo_collector.store.sqlite_writer import SqliteWriter

from .archive import Archive
from .bookings import Bookings
from .bounds import settle
from .contracts import Contracts
from .event_texts import FILTERED, fields_text
from .finals import Finals
from .series import accepted
from .submissions import routed

_KEY = "idempotencyKey"
_RESTATED = {"teamId": "team_id", "appId": "app_id"}
"""What a credential may have said of an event, by its name on the wire: an amendment that names it knows better."""


class Amendments:
    """Works inside the writer's transaction."""

    def __init__(
        self,
        store: SqliteWriter,
        archive: Archive,
        contracts: Contracts,
        finals: Finals,
        bookings: Bookings,
        policy: Policy,
    ) -> None:
        self._store = store
        self._archive = archive
        self._contracts = contracts
        self._finals = finals
        self._bookings = bookings
        self._idle_ns = policy.idle_s * NS_PER_S

    def amend(self, tenant_no: int, event_no: int, changes: RawEvent, now_ns: int) -> bool:
        """Book an event again with some fields changed; raises `Refused`. False if that changes nothing.

        What it was is voided in its session, and what it is joins its session, as if it had been sent like that. A
        session that is closed stays as it was; the difference is an adjustment of it.
        """
        recalled = self._bookings.recall(event_no)
        before = recalled.item.event
        named = {NAMES.get(name, name): value for name, value in changes.items()}
        event = self._amended(tenant_no, before, named, now_ns)
        voided_by = self._store.events.voided_by(event_no)
        if event == before and not voided_by:
            return False
        corrects = self._bookings.take_back(tenant_no, recalled, now_ns) or voided_by
        moved = _place(event) != _place(before)
        left = self._leave(event_no, now_ns) if moved else None
        metadata, details = fields_text(event.metadata), fields_text(event.details)
        item = accepted(event, metadata, details, key=before.key)
        again = recalled._replace(item=item)
        if event.customer_id != before.customer_id:
            again = again._replace(caller=NOBODY)  # its team and app were the other customer's
        else:
            restated = {field: "" for name, field in _RESTATED.items() if name in named}
            again = again._replace(caller=again.caller._replace(**restated))
        self._bookings.book_again(tenant_no, again, corrects, now_ns, joins=moved)
        if left is not None:
            settle(self._store, self._archive, left, self._idle_ns)
        return True

    def _amended(self, tenant_no: int, before: UsageEvent, named: RawEvent, now_ns: int) -> UsageEvent:
        """The event with the changes, as it would have been admitted."""
        catalog = self._contracts.catalog(tenant_no)
        if _KEY in named:
            detail = "the key is the event's identity; void the event and send another one"
            raise Refused("NOT_AMENDABLE", detail, _KEY)
        past_ns, future_ns = WINDOW_NS
        bounds_ns = min(before.occurred_ns, now_ns - past_ns), max(before.occurred_ns, now_ns + future_ns)
        event = admit({**stated(before), **named, _KEY: before.key}, catalog, bounds_ns, NOBODY)
        if not event.occurred_ns:
            event = event._replace(occurred_ns=before.occurred_ns)
        if event.boundary:
            raise Refused(
                "NOT_AMENDABLE", "usage cannot become a signal; void the event instead", "metricName"
            )
        if not routed(event, catalog):
            detail = f"the conditions of {event.metric!r} would not hold; void the event instead"
            raise Refused(FILTERED, detail)
        return event

    def _leave(self, event_no: int, now_ns: int) -> Session | None:
        """Take an event's time out of its session, which has to be settled then; None if it counts in none."""
        submitted = self._store.submitted.load(event_no)
        if submitted is None or not submitted.session_no:
            return None
        session = self._finals.current(self._store.sessions.load(submitted.session_no), now_ns)
        if session.closed_ns:
            return None
        session.spans -= 1
        self._store.sessions.changed(session)
        return session


def _place(event: UsageEvent) -> tuple[object, ...]:
    """The session that an event counts in, and when."""
    return event.customer_id, session_of_event(event), event.occurred_ns, event.duration_ns
