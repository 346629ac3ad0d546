"""Usage events per second over HTTP, in batches and one by one, beside SQLite alone and an in-process run.

The collector runs on core 0, the client on core 1; every request is answered after its commit. The floor
inserts rows of the same key, time, customer and metadata into SQLite with one unique text key, in
transactions of as many rows. Figures of a shared machine vary; compare ratios of one run:

    python tests/bench/bench_events.py [--batches 100] [--singles 4000] [--grow-to 20000000]

`--grow-to N` goes on until N events are held and compares the last rate with the first (takes long).
"""

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parent))
from bench_collector import KEY, Server, free_port
from traffic import CUSTOMERS, send

BATCH = 1_000
JSON = "application/json"


def events(count: int, seed: int, batch: int = BATCH) -> Iterator[bytes]:
    """Batches of `batch` events with random keys, of the last hour; a single event where `batch` is 0."""
    source = random.Random(seed)
    now = time.time()
    for _ in range(count):
        found = [
            {
                "customerId": f"cust_{source.randrange(CUSTOMERS):05d}",
                "metricName": "api_calls",
                "quantity": source.randrange(1, 9),
                "occurredAt": round(now - source.randrange(3600), 3),
                "idempotencyKey": str(uuid.UUID(int=source.getrandbits(128))),
                "productType": "API",
                "endpointPath": "/v1/translate",
                "statusCode": 200,
                "metadata": {"region": "eu-1", "tier": "gold"},
            }
            for _ in range(batch or 1)
        ]
        yield json.dumps({"events": found} if batch else found[0]).encode()


def floor(batches: int) -> float:
    """Rows per second that SQLite alone takes, on core 0."""
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(
            "CREATE TABLE e (key TEXT PRIMARY KEY, customer TEXT, metric TEXT, quantity TEXT, occurred_ns INTEGER,"
            " recorded_ns INTEGER, product TEXT, endpoint TEXT, status INTEGER,"
            " session INTEGER, agent TEXT, metadata TEXT)"
        )
        bodies = [json.loads(body)["events"] for body in events(batches, seed=7)]
        rows = [
            [
                (e["idempotencyKey"], e["customerId"], e["metricName"], str(e["quantity"]), int(e["occurredAt"]), 1,
                 e["productType"], e["endpointPath"], e["statusCode"], 0, "", json.dumps(e["metadata"]))
                for e in body
            ]
            for body in bodies
        ]  # fmt: skip
        begun = time.process_time()
        for batch in rows:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO e VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING", batch)
            db.execute("COMMIT")
        spent = time.process_time() - begun
        db.close()
    os.sched_setaffinity(0, {1})
    return batches * BATCH / spent


def rate(server: Server, base: str, count: int, seed: int) -> float:
    """Events per CPU second of the collector over `count` batches; prints a line."""
    bodies = list(events(count, seed))
    cpu_s = server.cpu_s
    answers = send(f"{base}/v1/ingest/batch", bodies, content_type=JSON)
    cpu_s = server.cpu_s - cpu_s
    recorded = answers.acknowledged * BATCH
    print(
        f"  batches of 1,000: {recorded / answers.wall_s:>9,.0f} events/s, {recorded / cpu_s:>9,.0f} per CPU second"
        f" ({cpu_s / recorded * 1e6:.1f} us), p99 {answers.percentile_ms(0.99):.0f} ms, {server.memory_mb:.0f} MB",
        flush=True,
    )
    return recorded / cpu_s


def singles(server: Server, base: str, count: int) -> None:
    """Requests of one event, as fast as answers come, then at half of that rate."""
    cpu_s = server.cpu_s
    answers = send(f"{base}/v1/ingest", list(events(count, 5, 0)), connections=32, content_type=JSON)
    cpu_s = server.cpu_s - cpu_s
    per_s = answers.acknowledged / answers.wall_s
    print(f"  single events: {per_s:,.0f} requests/s, {answers.acknowledged / cpu_s:,.0f} per CPU second")
    calm = send(f"{base}/v1/ingest", list(events(count, 6, 0)), 32, per_s / 2, JSON)
    print(f"  half load: p50 {calm.percentile_ms(0.5):.1f} ms, p99 {calm.percentile_ms(0.99):.1f} ms")


def main() -> None:
    """Measure the floor and the collector of this checkout."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--singles", type=int, default=4000)
    parser.add_argument("--grow-to", type=int, default=0)
    arguments = parser.parse_args()
    bare = floor(arguments.batches)
    print(f"SQLite alone: {bare:,.0f} rows per CPU second")
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        serve = ["-m", "aforo_collector", "serve", "--dev", "--port", str(port), "--data", folder]
        server = Server([sys.executable, *serve], f"{base}/v1/ingest")
        try:
            while httpx2.get(f"{base}/readyz").status_code != 200:
                time.sleep(0.02)
            rate(server, base, 20, seed=1)
            empty = rate(server, base, arguments.batches, seed=2)
            print(f"  {empty / bare:.2f} of SQLite alone")
            singles(server, base, arguments.singles)
            held, seed = 0, 10
            while held < arguments.grow_to:
                seed += 1
                now = rate(server, base, arguments.batches, seed)
                held += arguments.batches * BATCH
                print(f"    at {held:,} events: {now / empty:.2f} of the rate when empty", flush=True)
            balance = httpx2.get(f"{base}/v1/intake/balance", headers=KEY).json()["data"]
            assert balance["received"] == balance["recorded"], balance
            print(f"  {balance['recorded']:,} events recorded, none lost, none doubled")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
