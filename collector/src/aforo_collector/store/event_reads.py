"""Usage events as readers see them: by customer through postings, by session and trace through spans."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.usage import Entry, Kind, Sent

from .event_keys import event_no_of
from .event_rows import HOUR_NS, SEGMENT_EVENTS, occurrence_of
from .texts import Texts

CHUNK_EVENTS = 256

_ENTRIES = (
    "SELECT e.*, v.by_event_no, s.trace_id, p.team_id, p.agent_id, p.app_id, p.product_type, c.customer_id,"
    " se.session_id, u.key, u.door_no, u.part, u.trace_id AS sent_trace_id, u.details"
    " FROM json_each(?) j CROSS JOIN usage_events e ON e.event_no = j.value"
    " JOIN strands s USING (strand_no) JOIN payers p USING (payer_no)"
    " JOIN customers c ON c.customer_no = p.customer_no"
    " LEFT JOIN sessions se USING (session_no) LEFT JOIN voided v ON v.event_no = e.event_no"
    " LEFT JOIN submitted u ON u.event_no = e.event_no"
)
_NET = f"e.kind <> {Kind.VOID:d} AND v.event_no IS NULL"


class EventReads:
    """Finds the usage events of one tenant."""

    def __init__(self, connection: sqlite3.Connection, tenant_no: int, texts: Texts) -> None:
        self._db = connection
        self._tenant_no = tenant_no
        self._texts = texts

    def entries(
        self, event_nos: Iterable[int], conditions: Iterable[str] = (), values: Iterable[int] = ()
    ) -> list[Entry]:
        """Entries by number, ascending; of those that meet all conditions."""
        where = " AND ".join(conditions)
        cursor = self._db.cursor()
        cursor.row_factory = sqlite3.Row
        cursor.execute(
            f"{_ENTRIES}{' WHERE ' if where else ''}{where} ORDER BY e.event_no",
            (json.dumps(list(event_nos)), *values),
        )
        return [self._entry(row) for row in cursor]

    def _entry(self, row: Any) -> Entry:
        return Entry(
            row["event_no"],
            occurrence_of(row, self._texts),
            row["units"],
            Identity(row["customer_id"], row["team_id"], row["agent_id"], row["app_id"], row["product_type"]),
            row["session_id"] or "",
            row["trace_id"],
            row["span_id"],
            row["occurred_ns"],
            row["duration_ns"],
            row["recorded_ns"],
            bool(row["adjustment"]),
            row["corrects"],
            row["by_event_no"] or 0,
            row["metadata"],
            self._sent(row),
        )

    def _sent(self, row: Any) -> Sent | None:
        if row["key"] is None:
            return None
        return Sent(
            self._texts(row["door_no"]), row["key"], row["part"], row["sent_trace_id"], row["details"]
        )

    def in_sequence(
        self, customer_no: int | None, from_no: int, written: tuple[int, str] | None, net: bool
    ) -> Iterator[Entry]:
        """Entries from a number on, of a customer or of the whole tenant.

        `written` is (bit mask of units, name of a metric): only occurrences that have one of them, and voids.
        """
        conditions: list[str] = [_NET] if net else []
        values: list[int] = []
        if written is not None:
            conditions.append(f"(e.units & ? OR e.metric_no = ? OR e.kind = {Kind.VOID:d})")
            values += [written[0], self._texts.number(written[1])]
        for numbers in self._ascending(customer_no, from_no):
            for start in range(0, len(numbers), CHUNK_EVENTS):
                yield from self.entries(numbers[start : start + CHUNK_EVENTS], conditions, values)

    def numbers(self, customer_no: int, from_no: int, count_max: int) -> list[int]:
        """The next numbers of a customer's events, corrections included, from a number on."""
        found: list[int] = []
        for numbers in self._ascending(customer_no, from_no):
            found += numbers
            if len(found) >= count_max:
                break
        return found[:count_max]

    def during(
        self, customer_no: int, hours: tuple[int, int], left: int, before_no: int | None = None
    ) -> Iterator[tuple[int, Entry]]:
        """Net entries that occurred in the hours [from, to) since 1970, latest recorded first.

        `left` is how many there are below `before_no`; the search ends when all are found, so that a recent
        period costs the same however long the history is. Yields how many were left, and the entry.
        """
        conditions = [_NET, "e.occurred_ns >= ?", "e.occurred_ns < ?"]
        values = [hour * HOUR_NS for hour in hours]
        for numbers in self._descending(customer_no, before_no):
            for end in range(len(numbers), 0, -CHUNK_EVENTS):
                if left <= 0:
                    return
                chunk = numbers[max(0, end - CHUNK_EVENTS) : end]
                for entry in reversed(self.entries(chunk, conditions, values)):
                    yield left, entry
                    left -= 1

    def of_everybody(self, hour: int, left: int) -> Iterator[Entry]:
        """Net entries of the tenant that occurred in an hour since 1970, latest recorded first.

        `left` is how many there are. It is looked through the events of all, backwards, until they are found.
        """
        found = self._db.execute(
            "SELECT event_no FROM usage_events WHERE occurred_ns >= ? AND occurred_ns < ? ORDER BY event_no DESC",
            (hour * HOUR_NS, (hour + 1) * HOUR_NS),
        )
        while left > 0 and (chunk := found.fetchmany(min(left, CHUNK_EVENTS))):
            entries = self.entries((row[0] for row in chunk), [_NET, "p.tenant_no = ?"], [self._tenant_no])
            yield from reversed(entries)
            left -= len(entries)

    def _ascending(self, customer_no: int | None, from_no: int) -> Iterator[list[int]]:
        """Numbers of a customer's or the tenant's events, segment by segment."""
        open_segment = self._open_segment()
        for segment in range(from_no // SEGMENT_EVENTS, open_segment):
            if customer_no is None:
                postings = self._db.execute(
                    "SELECT offsets FROM customers c JOIN event_segments s"
                    " ON s.customer_no = c.customer_no AND s.segment = ? WHERE c.tenant_no = ?",
                    (segment, self._tenant_no),
                )
            else:
                postings = self._db.execute(
                    "SELECT offsets FROM event_segments WHERE segment = ? AND customer_no = ?",
                    (segment, customer_no),
                )
            numbers = sorted(number for row in postings for number in _numbers(segment, row[0]))
            yield [number for number in numbers if number >= from_no]
        yield self._tail(customer_no, max(from_no, open_segment * SEGMENT_EVENTS))

    def _descending(self, customer_no: int, before_no: int | None) -> Iterator[list[int]]:
        """The same backwards; the numbers of each segment are ascending."""
        open_segment = self._open_segment()
        if before_no is None or before_no > open_segment * SEGMENT_EVENTS:
            yield _below(self._tail(customer_no, open_segment * SEGMENT_EVENTS), before_no)
        last = open_segment if before_no is None else min(open_segment, before_no // SEGMENT_EVENTS + 1)
        for segment, offsets in self._db.execute(
            "SELECT segment, offsets FROM event_segments WHERE customer_no = ? AND segment < ?"
            " ORDER BY segment DESC",
            (customer_no, last),
        ):
            yield _below(_numbers(segment, offsets), before_no)

    def _open_segment(self) -> int:
        """The segment that is being written, which has no postings yet."""
        row = self._db.execute("SELECT max(event_no) FROM usage_events").fetchone()
        return int(row[0] or 0) // SEGMENT_EVENTS

    def _tail(self, customer_no: int | None, from_no: int) -> list[int]:
        rows = self._db.execute(
            "SELECT event_no FROM usage_events JOIN strands USING (strand_no) JOIN payers USING (payer_no)"
            " WHERE event_no >= ? AND tenant_no = ? AND (? IS NULL OR customer_no = ?) ORDER BY event_no",
            (from_no, self._tenant_no, customer_no, customer_no),
        )
        return [row[0] for row in rows]

    def of_session(self, session_no: int, final_event_no: int, net: bool) -> list[tuple[int, int]]:
        """(occurred_ns, event number) of a session's events."""
        spans = "strands st JOIN spans sp ON sp.trace_no = st.trace_no"
        session = "st.session_no = ? AND st.session_no > 0 AND st.trace_no > 0"
        numbers = self._numbers(
            f"SELECT sp.event_no FROM {spans} WHERE {session} AND sp.strand_no = st.strand_no", (session_no,)
        )
        numbers.add(final_event_no)
        numbers |= self._submitted("session_no = ? AND u.session_no > 0", session_no, net)
        if not net:
            numbers |= self._corrections(f"{spans} WHERE {session}", "es.session_no = ?", session_no)
        return self._dated(numbers, net)

    def of_trace(self, trace_no: int | None, trace_id: str, net: bool) -> list[tuple[int, int]]:
        """(occurred_ns, event number) of a trace's events, of spans and of events that name the trace."""
        numbers: set[int] = set()
        for spelled in (trace_id.lower(), trace_id.upper()):
            numbers |= self._submitted("trace_id = ? AND u.trace_id <> ''", spelled, net)
        if trace_no is not None:
            numbers |= self._numbers("SELECT event_no FROM spans WHERE trace_no = ?", (trace_no,))
        if not net and trace_no is not None:
            numbers |= self._corrections("spans sp WHERE sp.trace_no = ?", "es.trace_no = ?", trace_no)
        return self._dated(numbers, net)

    def of_span(self, trace_no: int, span_id: int) -> set[int]:
        """Numbers of all bookings of a span, voids included."""
        spans = "SELECT event_no FROM spans WHERE trace_no = ? AND span_id = ? AND event_no > 0"
        found = self._numbers(spans, (trace_no, span_id))
        one = "spans sp WHERE sp.trace_no = ? AND sp.span_id = ?"
        rows = self._db.execute(
            f"SELECT e.event_no, e.corrects FROM (SELECT span_id FROM {one}) sp"
            " CROSS JOIN usage_events e ON e.span_id = sp.span_id AND e.kind >= 5"
            " JOIN strands es ON es.strand_no = e.strand_no WHERE es.trace_no = ?",
            (trace_no, span_id, trace_no),
        )
        return found | {number for row in rows for number in row}

    def of_key(self, key: str) -> set[int]:
        """Numbers of all bookings under an idempotency key, voids included."""
        found: set[int] = set()
        number = event_no_of(self._db, self._tenant_no, key)
        while number > 0:
            found |= self._parts(number)
            number = self._before(number)
        return found

    def received_ns(self, event_no: int) -> int:
        """When an event came that was recorded later than that, 0 for any other."""
        row = self._db.execute("SELECT received_ns FROM received WHERE event_no = ?", (event_no,)).fetchone()
        return int(row[0]) if row is not None else 0

    def _parts(self, main_no: int) -> set[int]:
        """An event with what was derived of it, and what took them back."""
        found = {main_no}
        while True:
            number = max(found) + 1
            row = self._db.execute(
                "SELECT part FROM submitted WHERE event_no = ? AND part = ?", (number, number - main_no)
            ).fetchone()
            if row is None:
                break
            found.add(number)
        marks = ", ".join("?" * len(found))
        voids = f"SELECT by_event_no FROM voided WHERE event_no IN ({marks})"
        return found | self._numbers(voids, tuple(found))

    def _before(self, event_no: int) -> int:
        """The event that one replaced, 0 for none: it follows the VOID that took the other back."""
        row = self._db.execute(
            "SELECT v.corrects FROM usage_events e JOIN usage_events v ON v.event_no = e.corrects"
            " WHERE e.event_no = ?",
            (event_no,),
        ).fetchone()
        return row[0] if row is not None else 0

    def _submitted(self, condition: str, value: int | str, net: bool) -> set[int]:
        """Numbers of submitted events, and unless `net` of what took them back."""
        found = (
            "SELECT u.event_no FROM submitted u JOIN usage_events USING (event_no) JOIN strands USING (strand_no)"
            f" JOIN payers USING (payer_no) WHERE u.{condition} AND tenant_no = ?"
        )
        numbers = self._numbers(found, (value, self._tenant_no))
        if not net:
            taken_back = f"SELECT by_event_no FROM voided WHERE event_no IN ({found})"
            numbers |= self._numbers(taken_back, (value, self._tenant_no))
        return numbers

    def _corrections(self, spans: str, of_strand: str, number: int) -> set[int]:
        """Numbers of the voids about these spans, and of the events that they took back."""
        rows = self._db.execute(
            f"SELECT e.event_no, e.corrects FROM (SELECT DISTINCT span_id FROM {spans}) sp"
            " CROSS JOIN usage_events e ON e.span_id = sp.span_id AND e.kind >= 5"
            f" JOIN strands es ON es.strand_no = e.strand_no WHERE {of_strand}",
            (number, number),
        )
        return {number for row in rows for number in row}

    def _numbers(self, statement: str, values: tuple[int | str, ...]) -> set[int]:
        return {row[0] for row in self._db.execute(statement, values)}

    def _dated(self, numbers: set[int], net: bool) -> list[tuple[int, int]]:
        rows = self._db.execute(
            "SELECT occurred_ns, e.event_no FROM json_each(?) j"
            " CROSS JOIN usage_events e ON e.event_no = j.value"
            f" LEFT JOIN voided v ON v.event_no = e.event_no{' WHERE ' + _NET if net else ''}"
            " ORDER BY occurred_ns, e.event_no",
            (json.dumps(sorted(numbers)),),
        )
        return rows.fetchall()


def _numbers(segment: int, offsets: bytes) -> list[int]:
    first = segment * SEGMENT_EVENTS
    return [first + offset for offset in array("H", offsets)]


def _below(numbers: list[int], before_no: int | None) -> list[int]:
    return numbers if before_no is None else [number for number in numbers if number < before_no]
