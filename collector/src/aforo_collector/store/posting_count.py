"""Posting lists counted anew from the usage events: who the events of every full segment belong to."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator

from .event_rows import SEGMENT_EVENTS

Postings = dict[int, bytes]
"""Customer number → the places of its events in a segment."""


def posting_differences(connection: sqlite3.Connection) -> Iterator[str]:
    """One sentence for each segment whose posting lists are not what its events say."""
    for segment, kept, counted in _segments(connection):
        if kept != counted:
            wrong = sorted(no for no in {*kept, *counted} if kept.get(no) != counted.get(no))
            yield f"the posting lists of segment {segment} do not lead to the events of customers {wrong}"


def rebuild_postings(connection: sqlite3.Connection) -> None:
    """Replace the posting lists by what the events say, inside the caller's transaction."""
    counted = [(segment, counted) for segment, _, counted in _segments(connection)]
    connection.execute("DELETE FROM event_segments")
    connection.executemany(
        "INSERT INTO event_segments VALUES (?, ?, ?)",
        ((no, segment, offsets) for segment, postings in counted for no, offsets in postings.items()),
    )


def _segments(connection: sqlite3.Connection) -> Iterator[tuple[int, Postings, Postings]]:
    """(segment, its lists as they are, as its events say) of the segments that are full."""
    last = connection.execute("SELECT max(event_no) FROM usage_events").fetchone()[0] or 0
    for segment in range(last // SEGMENT_EVENTS):
        kept = connection.execute(
            "SELECT customer_no, offsets FROM event_segments WHERE segment = ?", (segment,)
        )
        counted: dict[int, array[int]] = {}
        first = segment * SEGMENT_EVENTS
        for event_no, customer_no in connection.execute(
            "SELECT event_no, customer_no FROM usage_events JOIN strands USING (strand_no)"
            " JOIN payers USING (payer_no) WHERE event_no >= ? AND event_no < ? ORDER BY event_no",
            (first, first + SEGMENT_EVENTS),
        ):
            counted.setdefault(customer_no, array("H")).append(event_no - first)
        yield segment, dict(kept.fetchall()), {no: found.tobytes() for no, found in counted.items()}
