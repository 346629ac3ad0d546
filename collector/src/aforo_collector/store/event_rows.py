"""Usage events of the writer: appended, never changed; roll-ups and postings kept in the same transaction."""

from __future__ import annotations

import sqlite3
from array import array
from decimal import Decimal
from typing import Any

from aforo_collector.domain.money import ZERO
from aforo_collector.domain.usage import Booking, Kind, Occurrence

from .interning import Bounded, Interning

SEGMENT_EVENTS = 16_384
_VOID = int(Kind.VOID)
HOUR_NS = 3_600_000_000_000

_INSERT = f"INSERT INTO usage_events VALUES ({', '.join('?' * 27)})"
_ROLL_UP_KEYS = 8
_ROLL_UP_COUNTS = (
    "events", "calls", "input", "output", "reasoning", "cache_read", "cache_write", "called", "inputs", "outputs",
    "reasonings", "cache_reads", "cache_writes", "costs", "unpriced",
)  # fmt: skip
_ROLL_UP = (
    f"INSERT INTO usage_hourly VALUES ({', '.join('?' * (_ROLL_UP_KEYS + len(_ROLL_UP_COUNTS) + 3))})"
    " ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _ROLL_UP_COUNTS)
    + ", "
    + ", ".join(f"{name} = decimal_add({name}, excluded.{name})" for name in ("quantity", "cost", "revenue"))
)


def occurrence_of(row: Any, text: Any) -> Occurrence:
    """The occurrence of a `usage_events` row; `text` turns name numbers into names."""
    return Occurrence(
        row["kind"], text(row["label_no"]), text(row["status_no"]), text(row["step_no"]), text(row["metric_no"]),
        row["calls"], row["model_calls"], row["input"], row["output"], row["reasoning"], row["cache_read"],
        row["cache_write"], Decimal(row["quantity"]) if row["quantity"] else ZERO,
        Decimal(row["cost"]) if row["cost"] is not None else None, text(row["reason_no"]), text(row["quality_no"]),
        Decimal(row["revenue"]) if row["revenue"] is not None else None,
    )  # fmt: skip


class EventRows:
    """Appends usage events on the writing connection."""

    def __init__(self, connection: sqlite3.Connection, interning: Interning) -> None:
        self._db = connection
        self._interning = interning
        self._postings: dict[int, array[int]] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._roll_ups: dict[tuple[int, ...], list[Any]] = {}
        self._shapes: Bounded[tuple[str, ...], tuple[int, ...]] = Bounded(20_000)
        self.forget()

    def forget(self) -> None:
        """Start again from what is committed."""
        self._rows.clear()
        self._roll_ups.clear()
        self._shapes.clear()
        row = self._db.execute("SELECT max(event_no) FROM usage_events").fetchone()
        self._next_no = int(row[0] or 0) + 1
        self._segment = (self._next_no - 1) // SEGMENT_EVENTS
        self._postings = {}
        for event_no, customer_no in self._db.execute(
            "SELECT event_no, customer_no FROM usage_events JOIN strands USING (strand_no)"
            " JOIN payers USING (payer_no) WHERE event_no >= ?",
            (self._segment * SEGMENT_EVENTS,),
        ):
            if event_no // SEGMENT_EVENTS == self._segment:
                self._post(customer_no, event_no)

    def _post(self, customer_no: int, event_no: int) -> None:
        offsets = self._postings.get(customer_no)
        if offsets is None:
            offsets = self._postings[customer_no] = array("H")
        offsets.append(event_no % SEGMENT_EVENTS)

    def append(self, event: Booking, now_ns: int) -> int:
        """Give an event its number and hold it for `flush`; folds it into the roll-ups."""
        event_no = self._next_no
        self._next_no = event_no + 1
        if event_no // SEGMENT_EVENTS != self._segment:
            self._seal(event_no // SEGMENT_EVENTS)
        (tenant_no, strand_no, payer_no, customer_no, span_id, occurred_ns, duration_ns, units, occurrence,
         adjustment, corrects, metadata) = event  # fmt: skip
        (kind, label, status, step_type, metric, calls, model_calls, input_, output, reasoning, cache_read,
         cache_write, quantity, cost, reason, quality, revenue) = occurrence  # fmt: skip
        offsets = self._postings.get(customer_no)
        if offsets is None:
            offsets = self._postings[customer_no] = array("H")
        offsets.append(event_no % SEGMENT_EVENTS)
        label_no, status_no, step_no, metric_no, reason_no, quality_no = self._numbers(
            (label, status, step_type, metric, reason, quality)
        )
        self._rows.append((
            event_no, kind, strand_no, span_id, occurred_ns, duration_ns, now_ns, units, label_no, status_no,
            step_no, metric_no, calls, model_calls, input_, output, reasoning, cache_read, cache_write,
            str(quantity) if quantity else None, None if cost is None else str(cost), reason_no, quality_no,
            None if revenue is None else str(revenue), 1 if adjustment else 0, corrects, metadata,
        ))  # fmt: skip
        if kind == _VOID:
            self._db.execute("INSERT INTO voided VALUES (?, ?)", (corrects, event_no))
        else:
            key = (payer_no, occurred_ns // HOUR_NS, kind, units, metric_no, label_no, status_no, step_no)
            self._fold(key, occurrence, 1)
            if reason:
                self._db.execute("INSERT INTO unpriced VALUES (?, ?)", (event_no, tenant_no))
        return event_no

    def _numbers(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        numbers = self._shapes.get(texts)
        if numbers is None:
            numbers = tuple(self._interning.name(text) for text in texts)
            self._shapes.put(texts, numbers)
        return numbers

    def _fold(self, key: tuple[int, ...], occurrence: Occurrence, sign: int) -> None:
        sums = self._roll_ups.get(key)
        if sums is None:
            sums = self._roll_ups[key] = [0] * len(_ROLL_UP_COUNTS) + [ZERO, ZERO, ZERO]
        (_, _, _, _, _, calls, _, input_, output, reasoning, cache_read, cache_write, quantity, cost, reason, _,
         revenue) = occurrence  # fmt: skip
        sums[0] += sign
        if calls:
            sums[1] += sign * calls
            sums[7] += sign
        if input_:
            sums[2] += sign * input_
            sums[8] += sign
        if output:
            sums[3] += sign * output
            sums[9] += sign
        if reasoning:
            sums[4] += sign * reasoning
            sums[10] += sign
        if cache_read:
            sums[5] += sign * cache_read
            sums[11] += sign
        if cache_write:
            sums[6] += sign * cache_write
            sums[12] += sign
        if cost:
            sums[13] += sign
            sums[16] += sign * cost
        if reason:
            sums[14] += sign
        if quantity:
            sums[15] += sign * quantity
        if revenue:
            sums[17] += sign * revenue

    def take_back(self, event_no: int, event: Booking, now_ns: int) -> int:
        """Void an earlier event by a new one; returns the new one's number."""
        occurrence = event.occurrence
        name = self._interning.name
        key = (event.payer_no, event.occurred_ns // HOUR_NS, occurrence.kind, event.units, name(occurrence.metric),
               name(occurrence.label), name(occurrence.status), name(occurrence.step_type))  # fmt: skip
        self._fold(key, occurrence, -1)
        self._db.execute("DELETE FROM unpriced WHERE event_no = ?", (event_no,))
        void = Booking(
            event.tenant_no, event.strand_no, event.payer_no, event.customer_no, event.span_id, event.occurred_ns,
            0, 0, Occurrence(Kind.VOID), event.adjustment, event_no,
        )  # fmt: skip
        return self.append(void, now_ns)

    def load(self, event_no: int) -> Any:
        """The row of an event, also of one that is not flushed yet."""
        self.flush_rows()
        return self._one("SELECT * FROM usage_events WHERE event_no = ?", event_no)

    def later_cost(self, event_no: int) -> Any:
        """The row of the cost that was booked for an event when its price arrived, or None."""
        self.flush_rows()
        return self._one(
            "SELECT * FROM usage_events WHERE corrects = ? AND kind = 5"
            " AND event_no NOT IN (SELECT event_no FROM voided)",
            event_no,
        )

    def _one(self, query: str, event_no: int) -> Any:
        cursor = self._db.execute(query, (event_no,))
        row = cursor.fetchone()
        return dict(zip((column[0] for column in cursor.description), row, strict=True)) if row else None

    def flush_rows(self) -> None:
        """Write the held rows, without the roll-ups."""
        if self._rows:
            self._db.executemany(_INSERT, self._rows)
            self._rows.clear()

    def flush(self) -> None:
        """Write everything that is held."""
        self.flush_rows()
        if self._roll_ups:
            self._db.executemany(
                _ROLL_UP,
                [
                    (*key, *sums[:15], str(sums[15]), str(sums[16]), str(sums[17]))
                    for key, sums in self._roll_ups.items()
                ],
            )
            self._roll_ups.clear()

    def _seal(self, segment: int) -> None:
        """Write down who the events of the full segment belong to, so that a customer's are found."""
        self._db.executemany(
            "INSERT OR REPLACE INTO event_segments VALUES (?, ?, ?)",
            [
                (customer, self._segment, offsets.tobytes())
                for customer, offsets in sorted(self._postings.items())
            ],
        )
        self._postings = {}
        self._segment = segment
