"""The log of webhooks: every delivery as it came, and what became of it."""

from __future__ import annotations

import base64
import json
from typing import Final

import zstandard

from aforo_collector.domain.submission import DUPLICATE, REJECTED
from aforo_collector.doors.webhooks.provider import Incoming
from aforo_collector.store.sqlite import Database
from aforo_collector.store.webhook_rows import Listed, Stored, WebhookRows
from aforo_collector.views import Wire, instant, page

from .queries import InvalidQuery, check_limit, cursor_of, parts_of

ACCEPTED: Final = "accepted"
FILTERED: Final = "filtered"
OUTCOMES: Final = (REJECTED, ACCEPTED, DUPLICATE, FILTERED)
"""What becomes of an event; a delivery has the first of those that one of its events has."""

_NO_MAX: Final = 2**63 - 1


class WebhookLog:
    """Reads what is logged; safe to call from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        tenant_no: int,
        *,
        source_id: str | None = None,
        outcome: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Wire:
        """A page of deliveries, latest first; raises `InvalidQuery`."""
        check_limit(limit)
        if outcome is not None and outcome not in OUTCOMES:
            raise InvalidQuery("outcome", f"{outcome[:40]!r} is none of {', '.join(OUTCOMES)}")
        before_no = _NO_MAX if cursor is None else parts_of(cursor, 1)[0][0]
        with self._database.reading() as connection:
            rows = WebhookRows(connection)
            source = None if source_id is None else rows.source(source_id, tenant_no)
            if source_id is not None and source is None:
                return page([], None)
            source_no = None if source is None else source.source_no
            found = rows.deliveries(tenant_no, source_no, outcome, before_no, limit + 1)
        more = cursor_of(found[limit - 1].delivery_no) if len(found) > limit else None
        return page([_view(one) for one in found[:limit]], more)

    def get(self, tenant_no: int, delivery_no: int) -> Wire | None:
        """A delivery with its raw payload, None where the tenant has none of that number."""
        with self._database.reading() as connection:
            found = WebhookRows(connection).delivery(tenant_no, delivery_no)
        if found is None:
            return None
        stored, source = found
        incoming = incoming_of(stored)
        listed = Listed(
            stored.delivery_no, source.source_id, stored.received_ns, stored.verified, stored.outcome,
            stored.detail, stored.size_bytes, stored.replayed_ns,
        )  # fmt: skip
        view = {**_view(listed), "url": incoming.url, "headers": incoming.headers}
        view["events"] = json.loads(stored.events)
        return {**view, **_payload(incoming.body)}


def delivery_no_of(text: str) -> int:
    """The number of a delivery from its id, 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(_NO_MAX)) else 0


def incoming_of(stored: Stored) -> Incoming:
    """A delivery as it came; the body is empty where it was too large to be kept of a stranger."""
    body = zstandard.decompress(stored.body) if stored.body else b""
    return Incoming(json.loads(stored.headers), stored.url, body)


def _payload(body: bytes) -> Wire:
    try:
        return {"payload": body.decode()}
    except UnicodeDecodeError:
        return {"payloadBase64": base64.b64encode(body).decode()}


def _view(one: Listed) -> Wire:
    return {
        "deliveryId": str(one.delivery_no),
        "sourceId": one.source_id,
        "receivedAt": instant(one.received_ns),
        "verified": bool(one.verified),
        "outcome": one.outcome,
        "detail": one.detail,
        "sizeBytes": one.size_bytes,
        "replayedAt": instant(one.replayed_ns),
    }
