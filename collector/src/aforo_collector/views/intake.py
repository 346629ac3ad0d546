"""The books of the doors, and what they set aside."""

from __future__ import annotations

from collections.abc import Mapping

from aforo_collector.domain.span import span_id_text
from aforo_collector.domain.usage import SetAside

from .wire import Wire, instant

OUTCOMES = ("received", "recorded", "duplicates", "conflicts", "rejected")


def balance_view(doors: Mapping[str, tuple[int, ...]]) -> Wire:
    """The books: received = recorded + duplicates + conflicts + rejected: over all doors, then by door."""
    total = [sum(counts) for counts in zip(*doors.values(), strict=True)] or [0] * len(OUTCOMES)
    return {
        **dict(zip(OUTCOMES, total, strict=True)),
        "doors": {door: dict(zip(OUTCOMES, counts, strict=True)) for door, counts in sorted(doors.items())},
    }


def quarantine_view(aside: SetAside) -> Wire:
    """Something that was set aside, and why."""
    return {
        "quarantineId": str(aside.quarantine_no),
        "door": aside.door,
        "code": aside.code,
        "detail": aside.detail,
        "traceId": aside.trace_id.hex() if aside.trace_id else None,
        "spanId": span_id_text(aside.span_id) if aside.trace_id else None,
        "receivedAt": instant(aside.received_ns),
    }
