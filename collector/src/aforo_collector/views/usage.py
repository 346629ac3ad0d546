"""Usage events as users see them: one for each metric of an occurrence that is written."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from aforo_collector.domain.ids import final_event_id, span_event_id
from aforo_collector.domain.measures import Measure, measures_of
from aforo_collector.domain.money import plain
from aforo_collector.domain.session import NS_PER_MS
from aforo_collector.domain.span import span_id_text
from aforo_collector.domain.usage import Entry, Kind

from .wire import Wire, instant

_SHOWN = ("toolName", "model", "executionStatus", "stepType")


def event_views(entry: Entry, tenant_id: str) -> list[Wire]:
    """The usage events that one occurrence is, in the order of `measures_of`; nothing in them says when or
    in which order they arrived.
    """
    base = _base(entry)
    notes = _notes(entry)
    views = []
    for index, measure in enumerate(measures_of(entry.occurrence, entry.units, entry.payer)):
        event_id = _event_id(entry, tenant_id, measure.metric, index)
        views.append({
            "eventId": event_id,
            "idempotencyKey": event_id,
            **base,
            "metricName": measure.metric,
            "quantity": plain(Decimal(measure.quantity)),
            **_details(entry, measure),
            "metadata": notes,
        })  # fmt: skip
    return views


def correction_views(entry: Entry, target: Entry | None, tenant_id: str) -> list[Wire]:
    """The usage events of an occurrence with their place in the books.

    `target` is the entry that a VOID takes back: a void reads as what it takes back, with an id of its own.
    """
    shown = entry
    if target is not None:
        shown = entry._replace(
            occurrence=target.occurrence,
            units=target.units,
            duration_ns=target.duration_ns,
            metadata=target.metadata,
            sent=target.sent,
        )
    place = {
        "eventNo": entry.event_no,
        "type": "usage" if target is None else "void",
        "corrects": entry.corrects or None,
        "voidedBy": entry.voided_by or None,
        "recordedAt": instant(entry.recorded_ns),
    }
    views = [{**view, **place} for view in event_views(shown, tenant_id)]
    if target is not None:
        for view in views:
            view["eventId"] = view["idempotencyKey"] = f"{view['eventId']}-void-{entry.event_no}"
    return views


def _base(entry: Entry) -> Wire:
    payer, sent = entry.payer, entry.sent
    details = _fields(sent.details if sent is not None else None)
    base: Wire = {
        **details,
        "customerId": payer.customer_id,
        "teamId": payer.team_id or None,
        "agentId": payer.agent_id or None,
        "appId": payer.app_id or None,
        "productType": payer.product_type,
        "occurredAt": instant(entry.occurred_ns),
        "sessionId": entry.session_id or None,
        "traceId": trace_id_of(entry) or None,
        "spanId": span_id_text(entry.span_id) if entry.trace_id else details.get("spanId"),
        "adjustment": entry.adjustment,
        "door": _door(entry),
    }
    if entry.occurrence.kind in (Kind.TOOL, Kind.MODEL) or (entry.duration_ns and sent is not None):
        base["executionDurationMs"] = entry.duration_ns // NS_PER_MS
    return base


def _notes(entry: Entry) -> dict[str, Any]:
    notes = _fields(entry.metadata)
    if entry.occurrence.quality:
        notes["usageQuality"] = entry.occurrence.quality
    return notes


def _fields(text: str | None) -> dict[str, Any]:
    """What an event says, every number as exact as it came."""
    found: dict[str, Any] = json.loads(text, parse_float=Decimal) if text else {}
    return found


def trace_id_of(entry: Entry) -> str:
    """The trace that an entry belongs to, as its sender wrote it; "" for none."""
    return entry.trace_id.hex() if entry.sent is None else entry.sent.trace_id


def _door(entry: Entry) -> str:
    if entry.sent is not None:
        return entry.sent.door
    return "otlp" if entry.trace_id else "session"


def _event_id(entry: Entry, tenant_id: str, metric: str, index: int) -> str:
    if entry.sent is not None:
        key, part = entry.sent.key, entry.sent.part
        return f"{key}#{metric}" if index or part else key
    if entry.occurrence.kind == Kind.FINAL:
        return final_event_id(tenant_id, entry.payer.customer_id, entry.session_id, metric)
    return span_event_id(entry.trace_id, entry.span_id, metric)


def _details(entry: Entry, measure: Measure) -> dict[str, str]:
    """What the event is about, whether or not its price can depend on it."""
    occurrence = entry.occurrence
    found = {name: value for name, value in measure.dimensions.items() if name in _SHOWN}
    if occurrence.kind == Kind.TOOL:
        found = {"toolName": occurrence.label, "executionStatus": occurrence.status, **found}
    if occurrence.kind == Kind.MODEL and occurrence.label:
        found = {"model": occurrence.label, **found}
    if occurrence.kind == Kind.FINAL:
        found = {"closeReason": occurrence.status, **found}
    return found
