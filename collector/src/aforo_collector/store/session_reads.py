"""Sessions as readers see them."""

from __future__ import annotations

import sqlite3

from aforo_collector.domain.session import Session

from .session_keys import session_numbers
from .session_rows import decode


class SessionReads:
    """Finds the sessions of one tenant."""

    def __init__(self, connection: sqlite3.Connection, tenant_no: int) -> None:
        self._db = connection
        self._tenant_no = tenant_no

    def by_id(self, session_id: str, customer_no: int | None) -> list[Session]:
        """The sessions of that id, in the order of their customers' ids: several customers may use one id."""
        found = []
        for number in session_numbers(self._db, self._tenant_no, session_id):
            rows = self._db.execute(
                "SELECT body FROM sessions WHERE session_no = ?1 AND session_id = ?2 AND tenant_no = ?3"
                " AND (?4 IS NULL OR customer_no = ?4)",
                (number, session_id, self._tenant_no, customer_no),
            )
            found += [decode(row[0]) for row in rows]
        return sorted(found, key=lambda session: session.customer_id)

    def latest(
        self, customer_no: int | None, is_open: bool | None, before_no: int | None, count_max: int
    ) -> list[Session]:
        """Sessions below number `before_no`, newest first; of a customer, open or closed ones, if said."""
        conditions, values = ["tenant_no = ?"], [self._tenant_no]
        if customer_no is not None:
            conditions.append("customer_no = ?")
            values.append(customer_no)
        if is_open is not None:
            conditions.append("closed_ns = 0" if is_open else "closed_ns > 0")
        if before_no is not None:
            conditions.append("session_no < ?")
            values.append(before_no)
        rows = self._db.execute(
            f"SELECT body FROM sessions WHERE {' AND '.join(conditions)} ORDER BY session_no DESC LIMIT ?",
            (*values, count_max),
        )
        return [decode(row[0]) for row in rows]
