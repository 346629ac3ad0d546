"""Whether the values that units go by are those of the usage events that count, one each, and all metrics noted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from aforo_collector.domain.usage import Kind

_OF = "customer_no, occurred_ns, event_no, payer_no, label_no, status_no"
_EVENTS = (
    f"SELECT {_OF} FROM usage_events JOIN strands USING (strand_no) JOIN payers USING (payer_no)"
    f" WHERE tenant_no = :tenant AND metric_no = :metric AND kind = {Kind.USAGE:d}"
    " AND event_no NOT IN (SELECT event_no FROM voided)"
)
_KEPT = (
    f"SELECT {_OF} FROM samples JOIN customers USING (customer_no)"
    " WHERE tenant_no = :tenant AND metric_no = :metric"
)
_DIFFERENCES: Final = {
    "has no value": f"{_EVENTS} EXCEPT {_KEPT}",
    "has a value that is not its own": f"{_KEPT} EXCEPT {_EVENTS}",
}
_UNNOTED = (
    "SELECT DISTINCT tenant_no, metric_no FROM usage_events JOIN strands USING (strand_no) JOIN payers USING (payer_no)"
    f" WHERE kind = {Kind.USAGE:d} EXCEPT SELECT tenant_no, metric_no FROM used_metrics"
)


def sample_differences(connection: sqlite3.Connection, tenant_no: int, metric: str) -> Iterator[str]:
    """One sentence for each event of a metric, whose unit goes by values, that has none or another event's."""
    [metric_no] = connection.execute(
        "SELECT coalesce((SELECT name_no FROM names WHERE name = ?), 0)", (metric,)
    ).fetchone()
    for problem, query in _DIFFERENCES.items():
        for row in connection.execute(query, {"tenant": tenant_no, "metric": metric_no}):
            yield f"event {row[2]} of metric {metric!r}, tenant number {tenant_no}, {problem}"


def unnoted_metrics(connection: sqlite3.Connection) -> Iterator[str]:
    """One sentence for each metric that has events, but is not among those whose units may not change any more."""
    for tenant_no, metric_no in connection.execute(_UNNOTED):
        yield f"metric number {metric_no} of tenant number {tenant_no} has events and is not noted as used"
