"""Tenants and their catalogs in force, as a collector reads them when it starts."""

from __future__ import annotations

import sqlite3


def tenants(connection: sqlite3.Connection) -> dict[int, str]:
    """Every tenant's name by its number."""
    return dict(connection.execute("SELECT tenant_no, tenant_id FROM tenants ORDER BY tenant_no").fetchall())


def newest_catalogs(connection: sqlite3.Connection) -> dict[int, str]:
    """The body of the newest catalog by tenant number."""
    rows = connection.execute(
        "SELECT tenant_no, body FROM catalogs WHERE catalog_no IN (SELECT max(catalog_no) FROM catalogs"
        " GROUP BY tenant_no)"
    )
    return dict(rows.fetchall())
