"""The span tree of a session: rows for its shape, the bodies that were delivered for everything else."""

from __future__ import annotations

from collections import defaultdict

import zstandard

from aforo_collector.domain.session import Session
from aforo_collector.domain.span import Role, Span
from aforo_collector.domain.trace import CUT, Standing, standing
from aforo_collector.domain.usage import Entry
from aforo_collector.doors.otlp import decode
from aforo_collector.doors.otlp_detail import Detail, details
from aforo_collector.store.span_reads import StoredSpan
from aforo_collector.store.sqlite_reads import Snapshot
from aforo_collector.views import Placed, Wire, instant, span_view, trace_view

SPANS_SHOWN_MAX = 20_000
"""A tree beyond this many spans shows those that arrived first and says how many it leaves out."""


def trace_of(snapshot: Snapshot, session: Session) -> Wire:
    """The session's spans as a forest; markers of the session's end are left out."""
    spans, count = snapshot.spans.of_session(session.session_no, SPANS_SHOWN_MAX)
    by_batch: dict[int, list[StoredSpan]] = defaultdict(list)
    for stored in spans:
        if stored.node.role != Role.CLOSE:
            by_batch[stored.node.batch_no].append(stored)
    billed = _billed(snapshot, session)
    tenant_id = snapshot.tenant_id()
    nodes = []
    for batch_no, members in by_batch.items():
        content_type, packed, caller = snapshot.spans.batch(batch_no)
        body = zstandard.ZstdDecompressor().decompress(packed)
        spans_of_batch = decode(body, content_type, None, caller)
        found = details(body, content_type, {stored.node.position for stored in members})
        for stored in members:
            entry = billed.get((stored.trace_id, stored.node.span_id))
            span = spans_of_batch[stored.node.position]
            assert isinstance(span, Span), "what is in a tree was accepted"
            nodes.append(_placed(stored, span, found[stored.node.position], entry, tenant_id))
    return trace_view(session.session_id, nodes, left_out=count - len(spans))


def _billed(snapshot: Snapshot, session: Session) -> dict[tuple[bytes, int], Entry]:
    """What each span of the session is billed for, by (trace id, span id)."""
    events = snapshot.events
    numbers = [number for _, number in events.of_session(session.session_no, 0, net=True)]
    return {(entry.trace_id, entry.span_id): entry for entry in events.entries(numbers)}


def _placed(stored: StoredSpan, span: Span, detail: Detail, entry: Entry | None, tenant_id: str) -> Placed:
    trace_no, _, node = stored
    what = standing(node)
    # What has a session has a payer: only the conditions of its unit keep the record of something off the books.
    said = "filtered" if what is Standing.RECORD and not node.event_no else what.value
    view = span_view(span, detail.status_code, detail.attributes, said, entry, tenant_id)
    view["statusMessage"] = detail.status_message or None
    view["resourceAttributes"] = detail.resource
    view["spanEvents"] = [
        {"name": name, "occurredAt": instant(time_ns), "attributes": attributes}
        for name, time_ns, attributes in detail.events
    ]
    parent = (trace_no, node.parent_id) if node.parent_id and not node.flags & CUT else None
    return Placed((trace_no, node.span_id), parent, span.start_ns, view)
