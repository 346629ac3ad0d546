"""Rows of webhook sources and of what was delivered to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

UNVERIFIED_MAX: Final = 100
"""How many deliveries are kept of a source that nobody known has signed."""

_NS_PER_DAY: Final = 86_400_000_000_000
_SOURCE: Final = (
    "source_no, tenant_no, source_id, provider, settings, active, retention_days, created_ns, secret, former,"
    " former_until_ns"
)
_LISTED: Final = "delivery_no, source_id, received_ns, verified, outcome, detail, size_bytes, replayed_ns"


class Source(NamedTuple):
    """A source; `settings` is the JSON of what the tenant said of it, secrets are sealed.

    `former` is the secret before the last rotation, which holds until `former_until_ns`.
    """

    source_no: int
    tenant_no: int
    source_id: str
    provider: str
    settings: str
    active: bool
    retention_days: int
    created_ns: int
    secret: bytes
    former: bytes
    former_until_ns: int


class Listed(NamedTuple):
    """A delivery as a list shows it."""

    delivery_no: int
    source_id: str
    received_ns: int
    verified: bool
    outcome: str
    detail: str
    size_bytes: int
    replayed_ns: int


class Stored(NamedTuple):
    """A delivery as it came, and what became of it: `headers` and `events` are JSON, `body` is packed.

    `delivery_no` is 0 for one that is not stored yet, `replayed_ns` for one that was taken as it came.
    """

    delivery_no: int
    source_no: int
    received_ns: int
    verified: bool
    outcome: str
    detail: str
    url: str
    headers: str
    body: bytes
    size_bytes: int
    events: str
    replayed_ns: int


class WebhookRows:
    """Reads and writes sources and deliveries through one connection, inside its transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def put_source(self, source: Source) -> None:
        """Store a source under its id: a new one, or one that has changed."""
        self._db.execute(
            "INSERT INTO webhook_sources (tenant_no, source_id, provider, settings, active, retention_days,"
            " created_ns, secret, former, former_until_ns, deleted_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
            " ON CONFLICT (source_id) DO UPDATE SET settings = excluded.settings, active = excluded.active,"
            " retention_days = excluded.retention_days, secret = excluded.secret, former = excluded.former,"
            " former_until_ns = excluded.former_until_ns",
            source[1:],
        )

    def source(self, source_id: str, tenant_no: int | None = None) -> Source | None:
        """A source by its id, of a tenant if one is given."""
        row = self._db.execute(
            f"SELECT {_SOURCE} FROM webhook_sources WHERE source_id = ? AND deleted_ns = 0", (source_id,)
        ).fetchone()
        return Source(*row) if row and tenant_no in (None, row[1]) else None

    def sources(self, tenant_no: int, after_no: int, limit: int) -> list[Source]:
        """Sources of a tenant after a number, oldest first."""
        rows = self._db.execute(
            f"SELECT {_SOURCE} FROM webhook_sources WHERE tenant_no = ? AND source_no > ? AND deleted_ns = 0"
            " ORDER BY source_no LIMIT ?",
            (tenant_no, after_no, limit),
        )
        return [Source(*row) for row in rows]

    def delete_source(self, source_id: str, now_ns: int) -> None:
        """Take a source out of use; what it has in the log goes with the next sweeps."""
        self._db.execute(
            "UPDATE webhook_sources SET deleted_ns = ?, secret = x'', former = x'' WHERE source_id = ?",
            (now_ns, source_id),
        )

    def put_delivery(self, tenant_no: int, delivery: Stored) -> int:
        """Store a delivery, or what a replay made of it; returns its number."""
        if delivery.delivery_no:
            self._db.execute(
                "UPDATE webhook_deliveries SET verified = ?, outcome = ?, detail = ?, events = ?, replayed_ns = ?"
                " WHERE delivery_no = ?",
                (
                    delivery.verified, delivery.outcome, delivery.detail, delivery.events,
                    delivery.replayed_ns, delivery.delivery_no,
                ),
            )  # fmt: skip
            return delivery.delivery_no
        row = self._db.execute(
            "INSERT INTO webhook_deliveries (tenant_no, source_no, received_ns, verified, outcome, detail, url,"
            " headers, body, size_bytes, events, replayed_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (tenant_no, *delivery[1:]),
        )
        assert row.lastrowid is not None
        return row.lastrowid

    def trim_unverified(self, source_no: int) -> None:
        """Forget all but the latest `UNVERIFIED_MAX` deliveries of a source that were not signed."""
        self._db.execute(
            "DELETE FROM webhook_deliveries WHERE source_no = ?1 AND verified = 0 AND delivery_no <="
            " (SELECT delivery_no FROM webhook_deliveries WHERE source_no = ?1 AND verified = 0"
            f" ORDER BY delivery_no DESC LIMIT 1 OFFSET {UNVERIFIED_MAX})",
            (source_no,),
        )

    def delivery(self, tenant_no: int, delivery_no: int) -> tuple[Stored, Source] | None:
        """A delivery of a tenant with its source."""
        row = self._db.execute(
            "SELECT delivery_no, source_no, received_ns, verified, outcome, detail, url, headers, body, size_bytes,"
            " events, replayed_ns, source_id FROM webhook_deliveries JOIN webhook_sources USING (source_no)"
            " WHERE delivery_no = ? AND webhook_deliveries.tenant_no = ? AND deleted_ns = 0",
            (delivery_no, tenant_no),
        ).fetchone()
        if row is None:
            return None
        source = self.source(row[-1])
        assert source is not None, "a delivery is shown with its source"
        return Stored(*row[:-1]), source

    def deliveries(
        self, tenant_no: int, source_no: int | None, outcome: str | None, before_no: int, limit: int
    ) -> list[Listed]:
        """Deliveries before a number, latest first."""
        where, bound = _where(tenant_no, source_no, outcome)
        rows = self._db.execute(
            f"SELECT {_LISTED} FROM webhook_deliveries JOIN webhook_sources USING (source_no)"
            f" WHERE {where} AND deleted_ns = 0 AND delivery_no < ? ORDER BY delivery_no DESC LIMIT ?",
            (*bound, before_no, limit),
        )
        return [Listed(*row) for row in rows]

    def rejected(self, source_no: int, after_no: int, limit: int) -> list[int]:
        """Numbers of rejected deliveries of a source after a number, oldest first."""
        rows = self._db.execute(
            "SELECT delivery_no FROM webhook_deliveries WHERE source_no = ? AND outcome = 'rejected'"
            " AND delivery_no > ? ORDER BY delivery_no LIMIT ?",
            (source_no, after_no, limit),
        )
        return [row[0] for row in rows]

    def sweep(self, now_ns: int, limit: int) -> int:
        """Delete up to `limit` deliveries whose time is over; returns how many there were."""
        swept = 0
        rows = self._db.execute(
            "SELECT source_no, retention_days, deleted_ns FROM webhook_sources"
        ).fetchall()
        for source_no, days, deleted_ns in rows:
            until_ns = now_ns + 1 if deleted_ns else now_ns - days * _NS_PER_DAY
            done = self._db.execute(
                "DELETE FROM webhook_deliveries WHERE delivery_no IN (SELECT delivery_no FROM webhook_deliveries"
                " WHERE source_no = ? AND received_ns < ? LIMIT ?)",
                (source_no, until_ns, limit - swept),
            ).rowcount
            swept += done
            if swept >= limit:
                break
            if deleted_ns and not done:
                self._db.execute("DELETE FROM webhook_sources WHERE source_no = ?", (source_no,))
        return swept


def _where(tenant_no: int, source_no: int | None, outcome: str | None) -> tuple[str, Iterable[int | str]]:
    """The narrowest index that answers: by source and outcome, by source, else by tenant."""
    asked: dict[str, int | str] = (
        {"webhook_deliveries.tenant_no": tenant_no} if source_no is None else {"source_no": source_no}
    )
    if outcome is not None:
        asked["outcome"] = outcome
    return " AND ".join(f"{name} = ?" for name in asked), asked.values()
