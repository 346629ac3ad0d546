"""What events that were submitted, not traced, say beside what every event says: their key and their door."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from .interning import Interning

_INSERT = "INSERT INTO submitted VALUES (?, ?, ?, ?, ?, ?, ?)"


class Submitted(NamedTuple):
    """A submitted event as it is stored; `part` is 0 for the event itself, more for what was derived of it."""

    part: int
    door: str
    key: str
    session_no: int
    trace_id: str
    details: str


class SubmittedRows:
    """Appends and reads on the writing connection."""

    def __init__(self, connection: sqlite3.Connection, interning: Interning) -> None:
        self._db = connection
        self._interning = interning
        self._rows: list[tuple[int, int, int, str, int, str, str]] = []

    def forget(self) -> None:
        """Drop what is held."""
        self._rows.clear()

    def append(
        self, event_no: int, part: int, door: str, key: str, session_no: int, trace_id: str, details: str
    ) -> None:
        """Hold a row for `flush`; see `Submitted`."""
        self._rows.append((event_no, part, self._interning.name(door), key, session_no, trace_id, details))

    def receive(self, event_nos: Iterable[int], received_ns: int) -> None:
        """Note when events came that were recorded later than that; no event has a number below 1."""
        rows = [(event_no, received_ns) for event_no in event_nos if event_no > 0]
        self._db.executemany("INSERT INTO received VALUES (?, ?)", rows)

    def flush(self) -> None:
        """Write what is held."""
        if self._rows:
            self._db.executemany(_INSERT, self._rows)
            self._rows.clear()

    def load(self, event_no: int) -> Submitted | None:
        """The row of an event, None for one that was traced."""
        self.flush()
        row = self._db.execute(
            "SELECT part, door_no, key, session_no, trace_id, details FROM submitted WHERE event_no = ?",
            (event_no,),
        ).fetchone()
        return None if row is None else Submitted(row[0], self._interning.text(row[1]), *row[2:])

    def of_session(self, session_no: int) -> list[tuple[int, str, int, int, int]]:
        """(number, key, start, end, strand) of the last booking in a session under each key, times in ns."""
        self.flush()
        return self._db.execute(
            "SELECT max(event_no), key, occurred_ns - duration_ns, occurred_ns, strand_no FROM submitted"
            " CROSS JOIN usage_events USING (event_no) WHERE submitted.session_no = ? AND part = 0 GROUP BY key",
            (session_no,),
        ).fetchall()

    def last_no(self) -> int:
        """The number of the last event that is written, 0 for none."""
        row = self._db.execute("SELECT max(event_no) FROM usage_events").fetchone()
        return int(row[0] or 0)

    def since(self, event_no: int) -> tuple[int, int, int]:
        """Of the submitted events behind a number: the last one's, first and last moment; 0 each for none."""
        self.flush()
        row = self._db.execute(
            "SELECT max(event_no), min(occurred_ns), max(occurred_ns) FROM submitted"
            " CROSS JOIN usage_events USING (event_no) WHERE event_no > ?",
            (event_no,),
        ).fetchone()
        return row[0] or 0, row[1] or 0, row[2] or 0

    def keys_between(self, first_no: int, last_no: int, count: int) -> list[tuple[int, str]]:
        """(number, key) of the first events between two numbers, both included."""
        return self._db.execute(
            "SELECT event_no, key FROM submitted WHERE event_no BETWEEN ? AND ? AND part = 0"
            " ORDER BY event_no LIMIT ?",
            (first_no, last_no, count),
        ).fetchall()
