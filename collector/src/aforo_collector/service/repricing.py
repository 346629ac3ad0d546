"""Costs that were unknown when their calls came in, recorded once a price has arrived."""

from __future__ import annotations

from aforo_collector.store.sqlite_writer import SqliteWriter

from .writer import Writer

EVENTS_AT_ONCE = 500


def reprice(store: SqliteWriter, writer: Writer, tenant_no: int) -> int:
    """Record every unpriced event again whose cost the tenant's price book knows now; returns how many.

    A transaction for every few hundred, so that spans that come in meanwhile do not wait long. What a
    crash leaves undone is done at the next start.
    """
    intake = writer.intake
    events: list[int] = writer.run(lambda _: store.unpriced(tenant_no))
    booked = 0
    for at in range(0, len(events), EVENTS_AT_ONCE):
        some = events[at : at + EVENTS_AT_ONCE]

        def book(now_ns: int, some: list[int] = some) -> int:
            return sum(intake.reprice(tenant_no, event_no, now_ns) for event_no in some)

        booked += writer.run(book)
    return booked
