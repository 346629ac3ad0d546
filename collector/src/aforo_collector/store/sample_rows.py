"""What billable units need of their events beside the sums: which metrics are in use, and single values."""

from __future__ import annotations

import sqlite3


class SampleRows:
    """Values of usage events on the writing connection, by customer, metric and time; net of what was taken back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._rows: list[tuple[int | str, ...]] = []
        self._used: set[tuple[int, int]] = set()

    def forget(self) -> None:
        """Drop what is held and remembered: after a rollback it is not there."""
        self._rows.clear()
        self._used.clear()

    def used(self, tenant_no: int, metric_no: int) -> None:
        """Note that a tenant has events of a metric: from now on its unit aggregates as it does."""
        if (tenant_no, metric_no) not in self._used:
            self._db.execute("INSERT OR IGNORE INTO used_metrics VALUES (?, ?)", (tenant_no, metric_no))
            self._used.add((tenant_no, metric_no))

    def add(
        self, customer_no: int, metric_no: int, occurred_ns: int, event_no: int, payer_no: int, label_no: int,
        status_no: int, value: str,
    ) -> None:  # fmt: skip
        """Hold the value of an event for `flush`; see `BillableUnit.counted`."""
        self._rows.append(
            (customer_no, metric_no, occurred_ns, event_no, payer_no, label_no, status_no, value)
        )

    def remove(self, customer_no: int, metric_no: int, occurred_ns: int, event_no: int) -> str | None:
        """Take back the value of an event; returns it, None if it has none."""
        self.flush()
        row = self._db.execute(
            "DELETE FROM samples WHERE customer_no = ? AND metric_no = ? AND occurred_ns = ? AND event_no = ?"
            " RETURNING value",
            (customer_no, metric_no, occurred_ns, event_no),
        ).fetchone()
        return None if row is None else str(row[0])

    def flush(self) -> None:
        """Write what is held."""
        if self._rows:
            self._db.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._rows)
            self._rows.clear()
