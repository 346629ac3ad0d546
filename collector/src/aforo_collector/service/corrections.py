"""Corrections by hand: an event is taken back, or booked again with other contents; nothing is ever changed.

An event is named by its id: the idempotency key of one that was submitted, or trace, span and metric of one
that a span became. Voiding any metric of an occurrence voids all that it was billed for.
"""

from __future__ import annotations

from collections.abc import Mapping

from aforo_collector.domain.ids import span_of_event_id
from aforo_collector.store.sqlite_writer import SqliteWriter

from .intake import Intake


class NoSuchEvent(LookupError):
    """There is no event of that id, or it is another tenant's. Nothing was changed."""


class NotCorrectable(ValueError):
    """An event that cannot be corrected like this; says why and what to do. Nothing was changed."""


class Corrections:
    """Takes events back, and books them again, inside the writer's transaction."""

    def __init__(self, store: SqliteWriter, intake: Intake) -> None:
        self._store = store
        self._intake = intake

    def void(self, tenant_no: int, event_id: str, now_ns: int) -> bool:
        """Take an event back; False if it was taken back before. Raises `NoSuchEvent`, `NotCorrectable`."""
        submitted_no = self._submitted_no(tenant_no, event_id)
        if submitted_no:
            bookings = self._intake.bookings
            return bookings.take_back(tenant_no, bookings.recall(submitted_no), now_ns) > 0
        return self._intake.strike(tenant_no, self._span_event_no(tenant_no, event_id), now_ns) > 0

    def amend(self, tenant_no: int, event_id: str, changes: Mapping[str, object], now_ns: int) -> bool:
        """Book a submitted event again with some of its fields changed; False if that changes nothing.

        The event keeps its id, whoever pays for it then and whenever it was. Raises `NoSuchEvent`,
        `NotCorrectable`, and `Refused` for changes that no event may have.
        """
        event_no = self._submitted_no(tenant_no, event_id)
        if not event_no:
            self._span_event_no(tenant_no, event_id)
            raise NotCorrectable(
                "the event was made of a span; void it, and send an event that says what is right"
            )
        return self._intake.amendments.amend(tenant_no, event_no, changes, now_ns)

    def _submitted_no(self, tenant_no: int, event_id: str) -> int:
        """The number of the event of an idempotency key, also under the id of one of its other metrics."""
        if number := self._number_of(tenant_no, event_id):
            return number
        key, _, metric = event_id.rpartition("#")
        number = self._number_of(tenant_no, key)
        return number if number and metric in self._intake.bookings.metrics_of(number) else 0

    def _number_of(self, tenant_no: int, key: str) -> int:
        found = self._store.keys.find(tenant_no, [key]).get(key) if key else None
        return found[1] if found is not None and found[1] > 0 else 0

    def _span_event_no(self, tenant_no: int, event_id: str) -> int:
        """The number of the event that a span is billed as."""
        if event_id.startswith("final-"):
            raise NotCorrectable("a session's final event follows from its events; correct those")
        named = span_of_event_id(event_id)
        node = self._intake.node_of(tenant_no, *named) if named is not None else None
        if node is None:
            raise NoSuchEvent(f"there is no event {event_id!r}")
        if not node.event_no:
            raise NotCorrectable(f"event {event_id!r} was taken back before, or its span is not billed")
        return node.event_no
