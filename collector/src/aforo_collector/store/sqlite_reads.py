"""The reading side of a SQLite store: one tenant at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.usage import SetAside

from .event_reads import EventReads
from .roll_up_reads import RollUpReads
from .sample_reads import SampleReads
from .session_reads import SessionReads
from .span_reads import SpanReads
from .texts import Texts
from .trace_keys import trace_number


class Snapshot:
    """What a tenant has in the store, read through one connection inside one transaction.

    Nothing here writes, and nothing of another tenant is ever returned.
    """

    def __init__(self, connection: sqlite3.Connection, tenant_no: int) -> None:
        self._db = connection
        self._tenant_no = tenant_no
        self._texts = texts = Texts(connection)
        self.events = EventReads(connection, tenant_no, texts)
        self.roll_ups = RollUpReads(connection, texts)
        self.samples = SampleReads(connection, texts)
        self.sessions = SessionReads(connection, tenant_no)
        self.spans = SpanReads(connection, texts)

    def tenant_id(self) -> str:
        """The tenant's name."""
        row = self._db.execute(
            "SELECT tenant_id FROM tenants WHERE tenant_no = ?", (self._tenant_no,)
        ).fetchone()
        return str(row[0]) if row else ""

    def customer_no(self, customer_id: str) -> int | None:
        """The number of a customer that something was ever received for."""
        row = self._db.execute(
            "SELECT customer_no FROM customers WHERE tenant_no = ? AND customer_id = ?",
            (self._tenant_no, customer_id),
        ).fetchone()
        return row[0] if row else None

    def customers_with_usage(self, first: str) -> Iterator[str]:
        """Ids, from `first` on, of the customers that something is recorded of, net of what was taken back."""
        rows = self._db.execute(
            "SELECT customer_id FROM customers c WHERE tenant_no = ? AND customer_id >= ? AND EXISTS ("
            " SELECT 1 FROM payers p CROSS JOIN usage_daily USING (payer_no)"
            " WHERE p.customer_no = c.customer_no AND p.tenant_no = c.tenant_no AND events > 0)"
            " ORDER BY customer_id",
            (self._tenant_no, first),
        )
        return (row[0] for row in rows)

    def trace_no(self, trace_id: bytes) -> int | None:
        """The number of a trace."""
        return trace_number(self._db, self._tenant_no, trace_id)

    def payers(self, customer_no: int, customer_id: str) -> dict[int, Identity]:
        """Who has used something at a customer's expense, by payer number."""
        rows = self._db.execute(
            "SELECT payer_no, team_id, agent_id, app_id, product_type FROM payers"
            " WHERE customer_no = ? AND tenant_no = ?",
            (customer_no, self._tenant_no),
        )
        return {row[0]: Identity(customer_id, *row[1:]) for row in rows}

    def every_payer(self) -> dict[int, Identity]:
        """Who has used something at anybody's expense, by payer number."""
        rows = self._db.execute(
            "SELECT payer_no, customer_id, team_id, agent_id, app_id, product_type FROM customers c"
            " JOIN payers USING (customer_no) WHERE c.tenant_no = ?",
            (self._tenant_no,),
        )
        return {row[0]: Identity(*row[1:]) for row in rows}

    def name_no(self, name: str) -> int:
        """The number of a name, -1 if nothing has it."""
        return self._texts.number(name)

    def intake(self) -> dict[str, tuple[int, ...]]:
        """(received, recorded, duplicates, conflicts, rejected) by door."""
        rows = self._db.execute(
            "SELECT door, received, recorded, duplicates, conflicts, rejected FROM intake"
            " WHERE tenant_no = ?",
            (self._tenant_no,),
        )
        return {row[0]: row[1:] for row in rows}

    def quarantine(self, before_no: int | None, count_max: int) -> list[SetAside]:
        """What was set aside, latest first, of numbers below `before_no`."""
        bound = "" if before_no is None else " AND quarantine_no < ?"
        rows = self._db.execute(
            "SELECT quarantine_no, door, code, detail, trace_id, span_id, received_ns FROM quarantine"
            f" WHERE tenant_no = ?{bound} ORDER BY quarantine_no DESC LIMIT ?",
            (self._tenant_no, *([] if before_no is None else [before_no]), count_max),
        )
        return [SetAside(row[0], row[1], row[2], row[3], row[4] or b"", row[5], row[6]) for row in rows]


def intake_totals(connection: sqlite3.Connection) -> dict[str, tuple[int, ...]]:
    """(received, recorded, duplicates, conflicts, rejected) by door, over all tenants."""
    rows = connection.execute(
        "SELECT door, sum(received), sum(recorded), sum(duplicates), sum(conflicts), sum(rejected)"
        " FROM intake GROUP BY door"
    )
    return {row[0]: row[1:] for row in rows}


def session_times(connection: sqlite3.Connection) -> tuple[int, list[int]]:
    """(number of sessions, `touched_ns` of the open ones) over all tenants.

    Every open session has a moment when it has to be looked at, so the closed ones are only counted.
    """
    count = connection.execute("SELECT count(*) FROM sessions").fetchone()[0]
    rows = connection.execute(
        "SELECT DISTINCT session_no, touched_ns FROM session_due JOIN sessions USING (session_no)"
        " WHERE closed_ns = 0"
    )
    return count, [row[1] for row in rows]
