"""What SQLite alone takes for the rows of an upload: as a collector has written them, ready-made and in its order.

Nothing is read, checked, priced or looked up, and random keys, which have an index of their own, are left out: no
collector that keeps these rows in SQLite can be quicker.
"""

import sqlite3
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from aforo_collector.service.upload_jobs import STRETCH_ROWS
from aforo_collector.store.sqlite import CACHE_KIB, FILE_NAME

Rows = list[tuple[Any, ...]]

TABLES = ("usage_events", "submitted", "event_keys", "usage_hourly", "usage_daily")
SUMS = {"usage_hourly": 3_600_000_000_000, "usage_daily": 86_400_000_000_000}
"""The roll-ups, and the period of a row in ns."""
_OF = "payer_no, occurred_ns / {period}, kind, units, metric_no, label_no, status_no, step_no"
_SUMMED = (
    "SELECT {of}, count(*), sum(calls), sum(input), sum(output), sum(reasoning), sum(cache_read), sum(cache_write),"
    " 0, 0, 0, 0, 0, 0, 0, 0, coalesce(sum(quantity), 0), 0, 0, 0, coalesce(sum(revenue), 0), 0, NULL"
    " FROM usage_events JOIN strands USING (strand_no) WHERE event_no BETWEEN ? AND ? GROUP BY {of}"
)
_ADDED = (
    " ON CONFLICT DO UPDATE SET events = events + excluded.events, calls = calls + excluded.calls,"
    " quantity = quantity + excluded.quantity, revenue = revenue + excluded.revenue"
)


def floor(data: Path, work: Path) -> float:
    """Rows per second of CPU time into a new file in `work`, in transactions as big as the collector's."""
    source = sqlite3.connect(data / FILE_NAME)
    target = sqlite3.connect(work / "floor.db", isolation_level=None)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"cache_size=-{CACHE_KIB}",
        "wal_autocheckpoint=0",
    ):
        target.execute(f"PRAGMA {pragma}")
    marks = ", ".join("?" * len(TABLES))
    for (made,) in source.execute(
        f"SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name IN ({marks})", TABLES
    ):
        target.execute(made)
    keys = defaultdict(list)
    for row in source.execute("SELECT * FROM event_keys ORDER BY key"):
        keys[row[-1] // STRETCH_ROWS].append(row)
    [(last,)] = source.execute("SELECT max(event_no) FROM usage_events")
    used_s = 0.0
    for first in range(0, last + 1, STRETCH_ROWS):
        found = _stretch(source, first, first + STRETCH_ROWS - 1, keys[first // STRETCH_ROWS])
        begun = time.process_time()
        target.execute("BEGIN")
        for table, rows in found.items():
            if rows:
                values = ", ".join("?" * len(rows[0]))
                target.executemany(
                    f"INSERT INTO {table} VALUES ({values}){_ADDED if table in SUMS else ''}", rows
                )
        target.execute("COMMIT")
        used_s += time.process_time() - begun
    source.close()
    target.close()
    (work / "floor.db").unlink()
    return float(last) / used_s


def _stretch(source: sqlite3.Connection, first: int, last: int, keys: Rows) -> dict[str, Rows]:
    """The rows of one transaction by their table."""
    found: dict[str, Rows] = {"event_keys": keys}
    for table in TABLES[:2]:
        rows = source.execute(f"SELECT * FROM {table} WHERE event_no BETWEEN ? AND ?", (first, last))
        found[table] = rows.fetchall()
    for table, period_ns in SUMS.items():
        summed = _SUMMED.format(of=_OF.format(period=period_ns))
        found[table] = source.execute(summed, (first, last)).fetchall()
    return found
