"""Tenants, their API keys and their catalogs in force, as a collector reads them when it starts."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class StoredKey(NamedTuple):
    """An API key by its SHA-256, and whose it is."""

    digest: bytes
    tenant_no: int
    tenant_id: str


def stored_keys(connection: sqlite3.Connection) -> list[StoredKey]:
    """Every API key."""
    rows = connection.execute(
        "SELECT digest, tenant_no, tenant_id FROM api_keys JOIN tenants USING (tenant_no)"
    )
    return [StoredKey(*row) for row in rows]


def newest_catalogs(connection: sqlite3.Connection) -> dict[int, str]:
    """The body of the newest catalog by tenant number."""
    rows = connection.execute(
        "SELECT tenant_no, body FROM catalogs WHERE catalog_no IN (SELECT max(catalog_no) FROM catalogs"
        " GROUP BY tenant_no)"
    )
    return dict(rows.fetchall())
