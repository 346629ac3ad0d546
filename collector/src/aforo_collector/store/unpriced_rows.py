"""Calls whose cost is unknown, for people who want to know why."""

from __future__ import annotations

import sqlite3
from typing import Any

from aforo_collector.domain.usage import Kind


def unpriced_calls(connection: sqlite3.Connection, tenant_no: int) -> list[dict[str, Any]]:
    """`{model, reason, calls}` of a tenant, by model and reason."""
    rows = connection.execute(
        "SELECT model.name, why.name, count(*) FROM unpriced"
        " JOIN usage_events USING (event_no)"
        f" LEFT JOIN names model ON model.name_no = iif(kind = {Kind.TOOL:d}, metric_no, label_no)"
        " LEFT JOIN names why ON why.name_no = reason_no"
        " WHERE tenant_no = ? GROUP BY 1, 2 ORDER BY 1, 2",
        (tenant_no,),
    )
    return [{"model": model or "", "reason": reason or "", "calls": calls} for model, reason, calls in rows]
