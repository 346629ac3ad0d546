"""A file of any earlier version of the schema is brought to today's when it is opened."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from aforo_collector.domain.identity import NOBODY
from aforo_collector.domain.session import Session
from aforo_collector.store.key_moves import index_keys
from aforo_collector.store.session_reads import SessionReads
from aforo_collector.store.session_rows import encode
from aforo_collector.store.sqlite import FILE_NAME, Database, StoreError
from aforo_collector.store.sqlite_reads import Snapshot
from aforo_collector.store.sqlite_schema import STEPS, take_steps
from aforo_collector.store.sqlite_writer import SqliteWriter


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
    old = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    take_steps(old, 0, version)
    old.execute("INSERT INTO tenants (tenant_id) VALUES ('acme')")
    old.close()

    assert schema(tmp_path) == schema(tmp_path / "new")
    database = Database(tmp_path)
    assert database.write.execute("SELECT tenant_id FROM tenants").fetchall() == [("acme",)]
    database.close()


def test_traces_and_sessions_of_an_older_file_are_found(tmp_path: Path) -> None:
    """A trace keeps its number, and every customer its session, when their ids move into the indexes."""
    traces = [(number.to_bytes(16), 1 + number % 2, number) for number in range(1, 30_001)]
    sessions = [(1, 1, 1, "s-1"), (2, 1, 2, "s-1"), (3, 2, 3, "s-1"), (4, 1, 1, "s-2")]
    old = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    take_steps(old, 0, STEPS.index(index_keys))
    old.execute("BEGIN")
    old.executemany("INSERT INTO tenants VALUES (?, ?)", [(1, "one"), (2, "two")])
    old.executemany("INSERT INTO customers VALUES (?, ?, ?)", [(1, 1, "a"), (2, 1, "b"), (3, 2, "a")])
    old.executemany("INSERT INTO traces VALUES (?, ?, ?)", traces)
    for number, tenant_no, customer_no, session_id in sessions:
        session = Session(
            number, tenant_no, "b" if customer_no == 2 else "a", session_id, NOBODY, created_ns=5
        )
        row = (number, tenant_no, customer_no, session_id, 5, 0, encode(session))
        old.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    old.execute("INSERT INTO counters VALUES ('trace', 30001)")
    old.execute("COMMIT")
    old.close()

    database = Database(tmp_path)
    store = SqliteWriter(database)
    store.begin()
    for tenant_no in (1, 2):
        ids = [trace_id for trace_id, tenant, _ in traces if tenant == tenant_no]
        known = {trace_id: (number, True) for trace_id, tenant, number in traces if tenant == tenant_no}
        assert store.traces.numbers(ids, tenant_no) == known
    assert store.traces.trace(traces[0][0], 1) == (30_001, False)  # the other tenant's
    opened = [
        store.sessions.open(tenant_no, NOBODY._replace(customer_id=customer_id), session_id, 6).session_no
        for tenant_no, customer_id, session_id in [
            (1, "a", "s-1"),
            (1, "b", "s-1"),
            (2, "a", "s-1"),
            (1, "b", "s-2"),
        ]
    ]
    assert opened == [1, 2, 3, 5]
    store.rollback()
    with database.reading() as connection:
        found = [SessionReads(connection, 1).by_id(session_id, None) for session_id in ("s-1", "s-2", "s-3")]
        assert [[session.session_no for session in some] for some in found] == [[1, 2], [4], []]
        assert Snapshot(connection, 2).trace_no(traces[0][0]) == 1
        assert Snapshot(connection, 1).trace_no(traces[0][0]) is None
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
