"""The times of a session counted anew from its spans and events, for the rare case that it lost some."""

from __future__ import annotations

from aforo_collector.domain.ids import moment_no
from aforo_collector.domain.session import Session
from aforo_collector.store.sqlite_writer import SqliteWriter

from .archive import Archive


def settle(store: SqliteWriter, archive: Archive, session: Session, idle_ns: int) -> None:
    """Take a session away that lost its last span or event; count the times of one anew that lost some."""
    if session.spans:
        _recount(store, archive, session, idle_ns)
    else:
        store.sessions.remove(session)


def _recount(store: SqliteWriter, archive: Archive, session: Session, idle_ns: int) -> None:
    """Set lead, first, last and active times to what the session's remaining spans and its events say."""
    spans = session.spans
    session.spans = 0
    session.active = []
    for strand_no, node in store.traces.spans_of_session(session.session_no):
        span = archive.span_of(node)
        # What was assigned to a customer does not say so; its session knows.
        said = store.traces.identity(strand_no)._replace(customer_id=session.customer_id)
        session.leads(span.start_ns, span.span_id, said)
        session.cover(span.start_ns, span.end_ns, idle_ns)
        session.spans += 1
    store.events.flush_rows()
    booked = store.submitted.of_session(session.session_no)
    known = store.keys.find(session.tenant_no, [key for _, key, *_ in booked])
    for number, key, start_ns, end_ns, strand_no in booked:
        if known[key][1] != number:
            continue  # amended since to be of another session
        session.leads(start_ns, moment_no(key), store.traces.identity(strand_no))
        session.cover(start_ns, end_ns, idle_ns)
        session.spans += 1
    assert session.spans == spans, "a session knows how many spans it has"
    store.sessions.changed(session)
