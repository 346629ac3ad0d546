"""Usage events of the writer: appended, never changed; roll-ups and postings kept in the same transaction."""

from __future__ import annotations

import sqlite3
from array import array
from decimal import Decimal
from typing import Any

from aforo_collector.domain.money import ZERO
from aforo_collector.domain.usage import Kind, Occurrence

from .interning import Bounded, Interning
from .roll_up_rows import RollUps, Track
from .sample_rows import SampleRows
from .trace_rows import Strand

SEGMENT_EVENTS = 16_384
_USAGE, _VOID = int(Kind.USAGE), int(Kind.VOID)
_CALLS = f"({int(Kind.MODEL)}, {int(Kind.TOOL)})"
HOUR_NS = 3_600_000_000_000

_INSERT = f"INSERT INTO usage_events VALUES ({', '.join('?' * 27)})"


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
        self._roll_ups = RollUps(connection)
        self._samples = SampleRows(connection)
        self._lifted: dict[tuple[int, int], str] = {}
        """By VOID and metric: the value of the event that it took back, for whoever follows it."""
        self._shapes: Bounded[tuple[str, ...], tuple[int, ...]] = Bounded(20_000)
        self.forget()

    def forget(self) -> None:
        """Start again from what is committed."""
        self._rows.clear()
        self._roll_ups.forget()
        self._samples.forget()
        self._lifted.clear()
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

    def append(
        self, tenant_no: int, strand: Strand, span_id: int, occurred_ns: int, duration_ns: int, units: int,
        occurrence: Occurrence, adjustment: bool, now_ns: int, corrects: int = 0, metadata: str | None = None,
        sample: str | None = None,
    ) -> int:  # fmt: skip
        """Hold an event for `flush`, fold it into the roll-ups and return its number.

        `units` is the bit mask of the metrics that are written as usage events, `corrects` the event that a
        VOID takes back or the VOID that a new record follows; `adjustment` marks what arrived after its
        session had closed; `sample` is what the metric's unit keeps of the event (`Counted.sample`).
        """
        event_no = self._next_no
        self._next_no = event_no + 1
        if event_no // SEGMENT_EVENTS != self._segment:
            self._seal(event_no // SEGMENT_EVENTS)
        strand_no, payer_no, customer_no, _ = strand
        (kind, label, status, step_type, metric, calls, model_calls, input_, output, reasoning, cache_read,
         cache_write, quantity, cost, reason, quality, revenue) = occurrence  # fmt: skip
        offsets = self._postings.get(customer_no)
        if offsets is None:
            offsets = self._postings[customer_no] = array("H")
        offsets.append(event_no % SEGMENT_EVENTS)
        texts = (label, status, step_type, metric, reason, quality)
        numbers = self._shapes.get(texts) or self._numbers(texts)
        label_no, status_no, step_no, metric_no, reason_no, quality_no = numbers
        self._rows.append((
            event_no, kind, strand_no, span_id, occurred_ns, duration_ns, now_ns, units, label_no, status_no,
            step_no, metric_no, calls, model_calls, input_, output, reasoning, cache_read, cache_write,
            str(quantity) if quantity else None, None if cost is None else str(cost), reason_no, quality_no,
            None if revenue is None else str(revenue), 1 if adjustment else 0, corrects, metadata,
        ))  # fmt: skip
        if kind == _VOID:
            self._db.execute("INSERT INTO voided VALUES (?, ?)", (corrects, event_no))
            return event_no
        key = (payer_no, occurred_ns // HOUR_NS, kind, units, metric_no, label_no, status_no, step_no)
        self._roll_ups.fold(key, occurrence)
        if kind == _USAGE:
            self._samples.used(tenant_no, metric_no)
            if sample is None:  # perhaps for want of the unit: what it kept of the event before still holds
                sample = self._lifted.get((corrects, metric_no))
            if sample is not None:
                self._samples.add(
                    customer_no, metric_no, occurred_ns, event_no, payer_no, label_no, status_no, sample
                )
        if reason:
            self._db.execute("INSERT INTO unpriced VALUES (?, ?)", (event_no, tenant_no))
        return event_no

    def track(self, tenant_no: int, strand: Strand, usage: Occurrence) -> Track:
        """The track of USAGE events that are like this one but for times, quantity and revenue."""
        texts = (usage.label, usage.status, usage.step_type, usage.metric, "", "")
        label_no, status_no, step_no, metric_no, _, _ = self._shapes.get(texts) or self._numbers(texts)
        self._samples.used(tenant_no, metric_no)
        head = (int(usage.kind), strand.strand_no, 0)
        return Track(strand.customer_no, head, (0, label_no, status_no, step_no, metric_no), strand.payer_no)

    def append_alike(
        self, track: Track, occurred_ns: int, duration_ns: int, quantity: Decimal, revenue: Decimal | None,
        adjustment: bool, now_ns: int, metadata: str | None,
    ) -> int:  # fmt: skip
        """As `append`, for one of the events of a track."""
        event_no = self._next_no
        self._next_no = event_no + 1
        if event_no // SEGMENT_EVENTS != self._segment:
            self._seal(event_no // SEGMENT_EVENTS)
        self._post(track.customer_no, event_no)
        self._rows.append((
            event_no, *track.head, occurred_ns, duration_ns, now_ns, *track.names, 0, 0, 0, 0, 0, 0, 0,
            str(quantity) if quantity else None, None, 0, 0, None if revenue is None else str(revenue),
            1 if adjustment else 0, 0, metadata,
        ))  # fmt: skip
        self._roll_ups.fold_usage(track, occurred_ns // HOUR_NS, quantity, revenue)
        return event_no

    def _numbers(self, texts: tuple[str, ...]) -> tuple[int, ...]:
        numbers = tuple(self._interning.name(text) for text in texts)
        self._shapes.put(texts, numbers)
        return numbers

    def take_back(
        self, event_no: int, tenant_no: int, strand: Strand, row: Any, occurrence: Occurrence, adjustment: bool,
        now_ns: int,
    ) -> int:  # fmt: skip
        """Void an earlier event, of which `row` and `occurrence` are read, by a new one; returns its number."""
        hour = row["occurred_ns"] // HOUR_NS
        key = (strand.payer_no, hour, row["kind"], row["units"], row["metric_no"], row["label_no"],
               row["status_no"], row["step_no"])  # fmt: skip
        self._roll_ups.fold(key, occurrence, -1)
        lifted = None
        if row["kind"] == _USAGE:
            lifted = self._samples.remove(strand.customer_no, row["metric_no"], row["occurred_ns"], event_no)
        self._db.execute("DELETE FROM unpriced WHERE event_no = ?", (event_no,))
        void_no = self.append(
            tenant_no, strand, row["span_id"], row["occurred_ns"], 0, 0, Occurrence(_VOID), adjustment, now_ns,
            event_no,
        )  # fmt: skip
        if lifted is not None:
            self._lifted[void_no, row["metric_no"]] = lifted
        return void_no

    def voided_by(self, event_no: int) -> int:
        """The number of the VOID that took an event back, 0 for none."""
        row = self._db.execute("SELECT by_event_no FROM voided WHERE event_no = ?", (event_no,)).fetchone()
        return int(row[0]) if row is not None else 0

    def latest_calls(self, customer_no: int, count_max: int) -> list[tuple[bytes, int, int]]:
        """(trace id, span id, event number) of a customer's latest model and tool calls, newest first."""
        self.flush_rows()
        found: list[tuple[bytes, int, int]] = []
        segment, offsets = self._segment, self._postings.get(customer_no, array("H"))
        while len(found) < count_max:
            for offset in reversed(offsets):
                found += self._db.execute(
                    "SELECT trace_id, span_id, event_no FROM usage_events JOIN strands USING (strand_no)"
                    f" WHERE event_no = ? AND kind IN {_CALLS}",
                    (segment * SEGMENT_EVENTS + offset,),
                )
            older = self._db.execute(
                "SELECT segment, offsets FROM event_segments WHERE customer_no = ? AND segment < ?"
                " ORDER BY segment DESC LIMIT 1",
                (customer_no, segment),
            ).fetchone()
            if older is None:
                break
            segment, offsets = older[0], array("H", older[1])
        return found[:count_max]

    def load(self, event_no: int) -> Any:
        """The row of an event, also of one that is not flushed yet."""
        self.flush_rows()
        cursor = self._db.execute("SELECT * FROM usage_events WHERE event_no = ?", (event_no,))
        return dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))

    def flush_rows(self) -> None:
        """Write the held rows, without the roll-ups."""
        if self._rows:
            self._db.executemany(_INSERT, self._rows)
            self._rows.clear()

    def flush(self) -> None:
        """Write everything that is held."""
        self.flush_rows()
        self._samples.flush()
        self._lifted.clear()
        self._roll_ups.flush()

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
