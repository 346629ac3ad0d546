"""The history of one event: when it came, as it was recorded, what took it back, what was recorded instead."""

from __future__ import annotations

from aforo_collector.domain.ids import span_of_event_id
from aforo_collector.domain.usage import Entry, Kind
from aforo_collector.store.sqlite_reads import Snapshot
from aforo_collector.views import Wire, correction_views, instant


def history_of(snapshot: Snapshot, event_id: str) -> list[Wire]:
    """The bookings of an event in sequence; empty when there is no such event."""
    events = snapshot.events
    named = span_of_event_id(event_id)
    if named is not None and (trace_no := snapshot.trace_no(named[0])) is not None:
        numbers = events.of_span(trace_no, named[1])
    else:
        numbers = events.of_key(event_id) or events.of_key(event_id.rpartition("#")[0])
    entries = {entry.event_no: entry for entry in events.entries(sorted(numbers))}
    told = []
    received = {"receivedAt": _received(snapshot, entries)}
    for entry in entries.values():
        views = correction_views(entry, _target(entry, entries), snapshot.tenant_id())
        told += [view | received for view in views if _is(view, event_id, entry)]
    return told


def _received(snapshot: Snapshot, entries: dict[int, Entry]) -> str | None:
    """When an event came in, which may be before it was recorded first."""
    if not entries:
        return None
    first_no = min(entries)
    return instant(snapshot.events.received_ns(first_no) or entries[first_no].recorded_ns)


def _target(entry: Entry, entries: dict[int, Entry]) -> Entry | None:
    return entries.get(entry.corrects) if entry.occurrence.kind == Kind.VOID else None


def _is(view: Wire, event_id: str, entry: Entry) -> bool:
    return bool(view["eventId"] in (event_id, f"{event_id}-void-{entry.event_no}"))
