"""A file of any earlier version of the schema is brought to today's when it is opened."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from aforo_collector.store.sqlite import FILE_NAME, Database, StoreError
from aforo_collector.store.sqlite_schema import STEPS


def schema(folder: Path) -> list[tuple[str, ...]]:
    """Everything that a file consists of, once a collector has opened it."""
    database = Database(folder)
    try:
        return database.write.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    finally:
        database.close()


@pytest.mark.parametrize("version", range(1, len(STEPS)))
def test_an_older_file_becomes_like_a_new_one(tmp_path: Path, version: int) -> None:
    """What an earlier version wrote stays, and the tables are those of a new file."""
    old = sqlite3.connect(tmp_path / FILE_NAME)
    old.executescript(" ".join(STEPS[:version]) + f"PRAGMA user_version = {version};")
    old.execute("INSERT INTO tenants (tenant_id) VALUES ('acme')")
    old.commit()
    old.close()

    assert schema(tmp_path) == schema(tmp_path / "new")
    database = Database(tmp_path)
    assert database.write.execute("SELECT tenant_id FROM tenants").fetchall() == [("acme",)]
    database.close()


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """A program that does not know the schema says so and changes nothing."""
    Database(tmp_path).close()
    later = sqlite3.connect(tmp_path / FILE_NAME)
    later.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    later.close()
    before = (tmp_path / FILE_NAME).read_bytes()

    with pytest.raises(StoreError, match="Nothing was changed"):
        Database(tmp_path)

    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_values_of_units_that_could_not_be_priced_are_found_again(tmp_path: Path) -> None:
    """A file from before there were samples gets those of its net events, by the quantity that they had."""
    version = next(n for n, step in enumerate(STEPS) if "CREATE TABLE samples" in step)
    old = sqlite3.connect(tmp_path / FILE_NAME)
    old.executescript(" ".join(STEPS[:version]) + f"PRAGMA user_version = {version};")
    units = [{"name": name, "aggregation": name} for name in ("MAX", "COUNT_DISTINCT", "SUM")]
    old.executemany("INSERT INTO catalogs VALUES (?, 1, 0, ?)", [
        (1, json.dumps({"billable_units": [{"name": "SUM", "aggregation": "MAX"}]})),
        (2, json.dumps({"billable_units": units})),
    ])  # fmt: skip
    old.execute("INSERT INTO catalogs VALUES (3, 2, 0, '{}')")
    for number, name in enumerate(("MAX", "COUNT_DISTINCT", "SUM", "agent"), 1):
        old.execute("INSERT INTO names VALUES (?, ?)", (number, name))
    for tenant in (1, 2):
        old.execute("INSERT INTO payers VALUES (?, ?, ?, '', '', '', 'API')", (tenant, tenant, tenant + 10))
        old.execute("INSERT INTO strands VALUES (?, 0, NULL, ?, 0)", (tenant, tenant))
    events = [
        (1, 1, 1, "2.5"),
        (2, 1, 1, None),
        (3, 1, 1, "9"),
        (4, 1, 2, "3"),
        (5, 1, 3, "4"),
        (6, 2, 1, "7"),
    ]
    for event_no, strand_no, metric_no, quantity in events:
        row = (event_no, 3, strand_no, 0, event_no * 100, *([0] * 6), metric_no, *([0] * 7), quantity, None)
        old.execute(f"INSERT INTO usage_events VALUES ({'?, ' * 21} 0, 0, NULL, 0, 0, NULL)", row)
        hourly = (strand_no, 0, 3, 0, metric_no, event_no, *([0] * 17), "0", "0", "0")
        old.execute(f"INSERT INTO usage_hourly VALUES ({', '.join('?' * 26)})", hourly)
    old.execute("INSERT INTO voided VALUES (3, 7)")
    old.commit()
    old.close()

    database = Database(tmp_path)
    samples = database.write.execute(
        "SELECT event_no, customer_no, metric_no, occurred_ns, value FROM samples"
    )
    assert samples.fetchall() == [(1, 11, 1, 100, "2.5"), (2, 11, 1, 200, "0"), (4, 11, 2, 400, "")]
    used = database.write.execute("SELECT * FROM used_metrics").fetchall()
    assert used == [(1, 1), (1, 2), (1, 3), (2, 1)]
    database.close()
