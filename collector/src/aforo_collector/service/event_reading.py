"""Pages of usage events: in sequence, or of a session or trace in the order in which they happened."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from aforo_collector.domain.measures import units_named
from aforo_collector.domain.usage import Entry, Kind
from aforo_collector.store.event_reads import CHUNK_EVENTS
from aforo_collector.store.sqlite_reads import Snapshot
from aforo_collector.views import Wire, correction_views, event_views, page, trace_id_of

from .queries import InvalidQuery, cursor_of, parts_of

_TRACE_ID_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which usage events; None is any. With `corrections` also what was taken back, and the voids."""

    customer_id: str | None = None
    metric_name: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    corrections: bool = False


class EventReading:
    """Answers one request for usage events from one snapshot."""

    def __init__(self, snapshot: Snapshot, wanted: Wanted) -> None:
        self._snapshot = snapshot
        self._wanted = wanted
        self._tenant_id = snapshot.tenant_id()

    def page(self, cursor: str | None, limit: int) -> Wire:
        """The events after the cursor, at most `limit`; raises `InvalidQuery`."""
        wanted = self._wanted
        customer_no = None
        if wanted.customer_id is not None:
            customer_no = self._snapshot.customer_no(wanted.customer_id)
            if customer_no is None:
                return page([], None)
        if wanted.session_id is None and wanted.trace_id is None:
            return self._in_sequence(customer_no, cursor, limit)
        return self._as_they_happened(self._of_session_or_trace(customer_no), cursor, limit)

    def _in_sequence(self, customer_no: int | None, cursor: str | None, limit: int) -> Wire:
        metric = self._wanted.metric_name
        after = (0, -1) if cursor is None else tuple(parts_of(cursor, 2)[0])
        items: list[Wire] = []
        last = after
        found = self._snapshot.events.in_sequence(
            customer_no,
            max(0, after[0]),
            None if metric is None else (units_named(metric), metric),
            net=not self._wanted.corrections,
        )
        for entry in found:
            for index, view in enumerate(self._views(entry)):
                place = (entry.event_no, index)
                if place <= after or metric not in (None, view["metricName"]):
                    continue
                if len(items) == limit:
                    return page(items, cursor_of(*last))
                items.append(view)
                last = place
        return page(items, None)

    def _views(self, entry: Entry) -> list[Wire]:
        if not self._wanted.corrections:
            return event_views(entry, self._tenant_id)
        target = None
        if entry.occurrence.kind == Kind.VOID:
            target = self._snapshot.events.entries([entry.corrects])[0]
        return correction_views(entry, target, self._tenant_id)

    def _of_session_or_trace(self, customer_no: int | None) -> list[tuple[int, int]]:
        """(occurred_ns, event number) of what belongs to the session, else to the trace, in order."""
        wanted, events = self._wanted, self._snapshot.events
        net = not wanted.corrections
        if wanted.session_id is not None:
            sessions = self._snapshot.sessions.by_id(wanted.session_id, customer_no)
            return list(
                heapq.merge(*(events.of_session(s.session_no, s.final_event_no, net) for s in sessions))
            )
        trace_id = _trace_id(wanted.trace_id or "")
        return events.of_trace(self._snapshot.trace_no(trace_id), trace_id.hex(), net)

    def _as_they_happened(self, dated: list[tuple[int, int]], cursor: str | None, limit: int) -> Wire:
        """Only as many entries are read as the page needs, though all of them were put in order."""
        after = ("", "", 0)
        start = 0
        if cursor is not None:
            (microsecond, event_no), text = parts_of(cursor, 2, text=True)
            occurred_at, _, event_id = text.partition("|")
            after = (occurred_at, event_id, event_no)
            start = bisect_left(dated, (microsecond * 1000, 0))
        keyed: list[tuple[tuple[str, str, int], int, Wire]] = []
        while start < len(dated) and len(keyed) <= limit:
            end = min(start + CHUNK_EVENTS, len(dated))
            while end < len(dated) and dated[end][0] // 1000 == dated[end - 1][0] // 1000:
                end += 1  # the wire shows microseconds, and what it shows alike is ordered by id
            entries = self._snapshot.events.entries(number for _, number in dated[start:end])
            found = sorted(self._keyed(entries), key=itemgetter(0))
            keyed += [item for item in found if item[0] > after]
            start = end
        items = [view for _, _, view in keyed[:limit]]
        if len(keyed) <= limit:
            return page(items, None)
        (occurred_at, event_id, event_no), microsecond, _ = keyed[limit - 1]
        return page(items, cursor_of(microsecond, event_no, f"{occurred_at}|{event_id}"))

    def _keyed(self, entries: Iterable[Entry]) -> Iterable[tuple[tuple[str, str, int], int, Wire]]:
        wanted = self._wanted
        for entry in entries:
            if wanted.customer_id not in (None, entry.payer.customer_id):
                continue
            if wanted.trace_id is not None and wanted.trace_id.lower() != trace_id_of(entry).lower():
                continue
            for view in self._views(entry):
                if wanted.metric_name in (None, view["metricName"]):
                    key = (view["occurredAt"], view["eventId"], entry.event_no)
                    yield key, entry.occurred_ns // 1000, view


def _trace_id(text: str) -> bytes:
    if len(text) == _TRACE_ID_LENGTH:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    raise InvalidQuery("traceId", f"{text[:40]!r} is not a trace id; give 32 hexadecimal digits")
