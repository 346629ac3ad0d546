"""Roll-ups counted anew from the usage events: to check what was kept with the writes, and to rebuild it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from aforo_collector.domain.usage import Kind

from .event_rows import HOUR_NS, occurrence_of
from .roll_up_rows import KEYS, RollUps, Sums, nothing, sums_in
from .texts import Texts

TABLES: Final = {"usage_hourly": "hour", "usage_daily": "day"}
"""Where roll-ups are kept, and the period of a row."""
DUE: Final = "roll_ups_due"
"""The counter of a file whose roll-ups have yet to be counted from its events."""

_FLUSH_EVENTS = 50_000
_NET = (
    "SELECT e.*, payer_no FROM usage_events e JOIN strands USING (strand_no)"
    f" LEFT JOIN voided v ON v.event_no = e.event_no WHERE e.kind <> {Kind.VOID:d} AND v.event_no IS NULL"
    " ORDER BY e.event_no"
)


def count_due(connection: sqlite3.Connection) -> None:
    """Count the roll-ups of a file that came from an earlier version; one transaction, so once."""
    if connection.execute("SELECT 1 FROM counters WHERE name = ?", (DUE,)).fetchone():
        connection.execute("BEGIN IMMEDIATE")
        try:
            rebuild(connection)
            connection.execute("DELETE FROM counters WHERE name = ?", (DUE,))
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def rebuild(connection: sqlite3.Connection) -> None:
    """Replace the roll-ups by what the events say, inside the caller's transaction."""
    for table in TABLES:
        connection.execute(f"DELETE FROM {table}")
    _count_events(connection, "main")


def differences(connection: sqlite3.Connection) -> Iterator[str]:
    """One sentence for each roll-up that is not what the events say; changes nothing of the file."""
    _make_temporary(connection)
    try:
        _count_events(connection, "temp")
        for table, period in TABLES.items():
            yield from _compare(connection, table, period)
    finally:
        for table in TABLES:
            connection.execute(f"DROP TABLE temp.{table}")


def _make_temporary(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        row = connection.execute("SELECT sql FROM main.sqlite_schema WHERE name = ?", (table,)).fetchone()
        connection.execute(row[0].replace("CREATE TABLE", "CREATE TEMP TABLE", 1))


def _count_events(connection: sqlite3.Connection, schema: str) -> None:
    roll_ups = RollUps(connection, schema)
    texts = Texts(connection)
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    for number, row in enumerate(cursor.execute(_NET), 1):
        key = (row["payer_no"], row["occurred_ns"] // HOUR_NS, *(row[name] for name in KEYS[2:]))
        roll_ups.fold(key, occurrence_of(row, texts))
        if number % _FLUSH_EVENTS == 0:
            roll_ups.flush()
    roll_ups.flush()


def _compare(connection: sqlite3.Connection, table: str, period: str) -> Iterator[str]:
    """Keys whose sums differ between the file and the recount; a row of zeros is as good as none."""
    keys = ", ".join((KEYS[0], period, *KEYS[2:]))
    kept, counted = f"main.{table}", f"temp.{table}"
    differing = " UNION ".join(
        f"SELECT {keys} FROM (SELECT * FROM {one} EXCEPT SELECT * FROM {other})"
        for one, other in ((kept, counted), (counted, kept))
    )
    for key in connection.execute(f"{differing} ORDER BY {keys}"):
        found, expected = (_sums(connection, where, keys, key) for where in (kept, counted))
        if found != expected:
            yield f"{table} ({keys}) = {key} has {_said(found)}; its events say {_said(expected)}"


def _sums(connection: sqlite3.Connection, table: str, keys: str, key: tuple[int, ...]) -> Sums:
    found = connection.execute(
        f"SELECT * FROM {table} WHERE ({keys}) = ({', '.join('?' * len(key))})", key
    ).fetchone()
    return nothing() if found is None else sums_in(found[len(key) :])


def _said(sums: Sums) -> str:
    return f"[{', '.join(map(str, sums))}]"
