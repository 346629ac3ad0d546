"""CPU seconds to add up ten million usage events by customer, metric and day, beside a scan of the raw rows.

The events are those of 2,000 customers, five metrics and thirty days, spread evenly: `--events` occurrences are
folded and flushed by the collector's own `RollUps` in transactions of 8,192, with money of five digits behind the
point, so hourly and daily rows are what intake would have written; only the event rows themselves are left out.
The raw table is what the reference scans: customer, metric, time, quantity and price as integers (`--no-raw`
leaves it away). Then the reading use case answers as the endpoint does, before JSON. Best of `--repeats`; figures
of a shared machine vary, compare ratios of one run.

    python tests/bench/bench_analytics.py [--events 10000000] [--repeats 3] [--no-raw]
"""

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.session import Policy
from aforo_collector.domain.usage import Kind, Occurrence
from aforo_collector.service.analytics import UsageQuery
from aforo_collector.service.reading import Reading
from aforo_collector.store.roll_up_rows import RollUps
from aforo_collector.store.sqlite import Database
from aforo_collector.store.sqlite_writer import SqliteWriter

CUSTOMERS, DAYS = 2_000, 30
METRICS = ("api.calls", "llm.input_tokens", "llm.output_tokens", "tool.calls", "storage.gb_hours")
TRANSACTION_EVENTS = 8_192
FIRST_DAY = 20_750
BEGIN = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=FIRST_DAY)


def events(count: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(customer, metric, second since the first day, quantity, price in 1/100,000) in the order of time."""
    source = random.Random(5)
    for number in range(count):
        second = number * DAYS * 86_400 // count
        yield (
            source.randrange(CUSTOMERS),
            source.randrange(len(METRICS)),
            second,
            source.randrange(1, 5_000),
            source.randrange(1, 10**8),
        )


def fill(database: Database, count: int) -> int:
    """Fold the events; returns the tenant's number."""
    store = SqliteWriter(database)
    store.begin()
    tenant_no = store.tenant("bench")
    payers = [
        store.interning.payer(tenant_no, Identity(f"cust_{number:05d}", product_type="API"))[0]
        for number in range(CUSTOMERS)
    ]
    metrics = [store.interning.name(metric) for metric in METRICS]
    store.commit(Policy())
    roll_ups = RollUps(database.write)
    store.begin()
    for number, (customer, metric, second, quantity, price) in enumerate(events(count), 1):
        occurrence = Occurrence(
            Kind.USAGE, metric=METRICS[metric], quantity=Decimal(quantity), revenue=Decimal(price).scaleb(-5)
        )
        hour = FIRST_DAY * 24 + second // 3600
        roll_ups.fold((payers[customer], hour, Kind.USAGE, 0, metrics[metric], 0, 0, 0), occurrence)
        if number % TRANSACTION_EVENTS == 0:
            roll_ups.flush()
            store.commit(Policy())
            store.begin()
    roll_ups.flush()
    store.commit(Policy())
    return tenant_no


def fill_raw(path: Path, count: int) -> sqlite3.Connection:
    """The raw table of the reference."""
    raw = sqlite3.connect(path)
    raw.execute(
        "CREATE TABLE e (id INTEGER PRIMARY KEY, customer TEXT, metric TEXT, ts INTEGER, quantity INTEGER,"
        " price INTEGER)"
    )
    raw.executemany(
        "INSERT INTO e (customer, metric, ts, quantity, price) VALUES (?, ?, ?, ?, ?)",
        ((f"cust_{event[0]:05d}", METRICS[event[1]], *event[2:]) for event in events(count)),
    )
    raw.commit()
    return raw


def timed(name: str, repeats: int, run: Callable[[], int]) -> float:
    """CPU seconds of the fastest of some runs; prints a line with what `run` counted."""
    best, counted = float("inf"), 0
    for _ in range(repeats):
        begun = time.process_time()
        counted = run()
        best = min(best, time.process_time() - begun)
    print(f"  {best:8.3f} s  {counted:>9,} rows  {name}", flush=True)
    return best


def pages(reading: Reading, tenant_no: int, query: UsageQuery, count_max: int | None = None) -> int:
    """Rows of a query, on as many pages of 1,000 as it has or as are asked for."""
    cursor: str | None = None
    rows = seen = 0
    while True:
        found: dict[str, Any] = reading.usage(tenant_no, query, cursor=cursor, limit=1000)
        rows, seen, cursor = rows + len(found["items"]), seen + 1, found["nextCursor"]
        if cursor is None or seen == count_max:
            return rows


def main() -> None:
    """Fill, then read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-raw", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder))
        begun = time.process_time()
        tenant_no = fill(database, given.events)
        fill_us = (time.process_time() - begun) / given.events * 1e6
        held = {
            table: database.write.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("usage_hourly", "usage_daily")
        }
        print(f"{given.events:,} events folded, {fill_us:.1f} us each; {held}", flush=True)
        reading = Reading(database, lambda _: Catalog(), Policy())

        def ask(name: str, *keys: str, count_max: int | None = None, **how: Any) -> float:
            query = UsageQuery(keys, **how)
            return timed(name, given.repeats, lambda: pages(reading, tenant_no, query, count_max))

        who_what_when = ("customerId", "metricName", "day")
        ask("customer x metric x day, a page of 1,000", *who_what_when, count_max=1)
        whole = ask("customer x metric x day, every page", *who_what_when)
        ask("metric x day", "metricName", "day")
        ask("customer", "customerId", count_max=1)
        ask("day", "day")
        ask("metric", "metricName")
        cut = {"start": BEGIN + timedelta(days=3, hours=7), "end": BEGIN + timedelta(days=20, hours=5)}
        ask("metric, 17 days that cut two", "metricName", **cut)
        ask("one customer, metric x day", "metricName", "day", only={"customerId": "cust_00042"})
        ask("one customer, metric x hour", "metricName", "hour", only={"customerId": "cust_00042"})
        database.close()
        if not given.no_raw:
            raw = fill_raw(Path(folder) / "raw.db", given.events)
            grouped = "SELECT customer, metric, ts / 86400, sum(quantity), sum(price) FROM e GROUP BY 1, 2, 3"
            scan = timed(
                "customer x metric x day, SQLite scan", 1, lambda: len(raw.execute(grouped).fetchall())
            )
            print(f"  every page takes {whole / scan:.3f} of the scan")
            raw.close()


if __name__ == "__main__":
    main()
