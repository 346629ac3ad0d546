"""Closing sessions: explicitly, or because their time is over, with one final billing event each."""

from __future__ import annotations

import json
from decimal import Decimal

from aforo_collector.domain.money import ZERO
from aforo_collector.domain.session import NS_PER_MS, CloseReason, Policy, Session
from aforo_collector.domain.usage import Kind, Occurrence
from aforo_collector.store.event_rows import occurrence_of
from aforo_collector.store.sqlite_writer import SqliteWriter
from aforo_collector.views import session_totals

from .contracts import Contracts


class Finals:
    """Closes sessions inside the writer's transaction."""

    def __init__(self, store: SqliteWriter, contracts: Contracts, policy: Policy) -> None:
        self._store = store
        self._contracts = contracts
        self._policy = policy

    def current(self, session: Session, now_ns: int) -> Session:
        """The session, closed first if its time is over: the deadline decides, not who notices."""
        if not session.closed_ns and session.touched_ns:
            deadline_ns, reason = session.deadline_ns(self._policy)
            if now_ns >= deadline_ns:
                self._close(session, reason, deadline_ns, now_ns)
        return session

    def close(self, session_no: int, now_ns: int) -> None:
        """Close a session because somebody asked for it; one that is closed stays as it is."""
        session = self.current(self._store.sessions.load(session_no), now_ns)
        if not session.closed_ns:
            self._close(session, CloseReason.EXPLICIT, now_ns, now_ns)

    def close_due(self, now_ns: int, count_max: int = 500) -> int:
        """Close sessions whose time is over; returns how many were looked at."""
        due = self._store.sessions.due(now_ns, count_max)
        for due_ns, session_no in due:
            session = self._store.sessions.find(session_no)
            again_ns = None
            if session is not None and not session.closed_ns:
                current = self.current(session, now_ns)
                again_ns = None if current.closed_ns else current.deadline_ns(self._policy)[0]
            self._store.sessions.looked_at(due_ns, session_no, again_ns)
        return len(due)

    def _close(self, session: Session, reason: CloseReason, closed_ns: int, now_ns: int) -> None:
        """Write the final billing event; once, because CLOSED is terminal."""
        tenant_no = session.tenant_no
        payer = self._contracts.payer(tenant_no, session.lead)
        payer_no, customer_no = self._store.interning.payer(tenant_no, payer)
        terms = self._contracts.terms(tenant_no, payer_no, payer)
        session.closed_ns = closed_ns
        session.close_reason = reason.value
        occurred_ns = session.last_ns or closed_ns
        terms = terms.at(occurred_ns)
        active_s = Decimal(session.active_ns // NS_PER_MS) / 1000
        occurrence = Occurrence(Kind.FINAL, status=reason.value, quantity=active_s)
        units = 0
        if (
            session.totals.events
        ):  # one without a call, such as what another instrumentation saw of it, is free
            occurrence, units = terms.rated(occurrence._replace(calls=1)), terms.mask(occurrence)
        if occurrence.revenue is not None:
            session.totals.revenue += occurrence.revenue
        strand = self._store.traces.new_strand(0, b"", payer, (payer_no, customer_no), session.session_no)
        session.final_event_no = self._store.events.append(
            tenant_no, strand, 0, occurred_ns, session.last_ns - session.first_ns,
            units, occurrence, adjustment=False, now_ns=now_ns,
            metadata=json.dumps({"final": True, "totals": session_totals(session)}, sort_keys=True),
        )  # fmt: skip
        self._store.sessions.changed(session)

    def rebook(self, event_no: int, now_ns: int) -> bool:
        """Write a session's final event again if the terms of its payer make another one of it by now."""
        row = self._store.events.load(event_no)
        strand, _ = self._store.traces.stored_strand(row["strand_no"])
        session = self._store.sessions.load(strand.session_no)
        recorded = occurrence_of(row, self._store.interning.text)
        if session.final_event_no != event_no or not recorded.calls:
            return False
        payer = self._contracts.payer(session.tenant_no, session.lead)
        numbers = self._store.interning.payer(session.tenant_no, payer)
        terms = self._contracts.terms(session.tenant_no, numbers[0], payer).at(row["occurred_ns"])
        wanted, units = terms.rated(recorded._replace(revenue=None)), terms.mask(recorded)
        if (numbers[0], wanted, units) == (strand.payer_no, recorded, row["units"]):
            return False
        events = self._store.events
        void_no = events.take_back(event_no, session.tenant_no, strand, row, recorded, False, now_ns)
        session.totals.revenue += (wanted.revenue or ZERO) - (recorded.revenue or ZERO)
        strand = self._store.traces.new_strand(0, b"", payer, numbers, session.session_no)
        session.final_event_no = events.append(
            session.tenant_no, strand, 0, row["occurred_ns"], row["duration_ns"], units, wanted, False, now_ns,
            void_no, row["metadata"],
        )  # fmt: skip
        self._store.sessions.changed(session)
        return True
