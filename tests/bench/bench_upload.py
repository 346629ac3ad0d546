"""Rows per second of uploads, and their memory: the readers alone, then files worked off by a real collector.

Files carry no key, ordered keys or random ones, as CSV and NDJSON; one row in a thousand is bad. The rate of a
collector is taken from the job's own times, first row read to last row committed; beside it what its rows cost
in CPU time of all its threads, which says more on a machine that others use too, and what SQLite alone takes for the
same rows when they are ready-made.

    python tests/bench/bench_upload.py [--rows 200000] [--readers-only] [--grow-to 2000000]

`--grow-to N` goes on with files of random keys until so many rows are recorded, and prints the rate of each.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import psutil
from aforo_collector.doors.uploads.packing import unpacked
from aforo_collector.doors.uploads.reading import CSV, NDJSON, read
from aforo_collector.doors.uploads.rows import Layout, Place

sys.path.insert(0, str(Path(__file__).parent))
from upload_floor import floor

METRICS = ("api_calls", "agentic_api.tool_calls", "ai_agent.steps")
CUSTOMERS = 2_000
KEYS = ("none", "ordered", "random")


def written(path: Path, form: str, keys: str, rows: int, seed: int = 1) -> Path:
    """A file of usage events."""
    source = random.Random(seed)
    start = datetime.now(UTC) - timedelta(days=80)
    with path.open("w") as file:
        if form == CSV:
            named = "idempotencyKey," if keys != "none" else ""
            file.write(f"{named}customerId,metricName,quantity,occurredAt,region\n")
        for number in range(rows):
            when = (start + timedelta(seconds=number % 6_000_000)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            key = {
                "none": "",
                "ordered": f"k{seed:04}{number:09}",
                "random": f"{source.getrandbits(128):032x}",
            }[keys]
            customer, metric = f"cust_{source.randrange(CUSTOMERS):05}", METRICS[number % 3]
            quantity = -1 if number % 1000 == 500 else source.randrange(1, 5000)
            if form == CSV:
                file.write(f"{key and key + ','}{customer},{metric},{quantity},{when},eu-west-1\n")
            else:
                row = {"customerId": customer, "metricName": metric, "quantity": quantity, "occurredAt": when,
                       "metadata": {"region": "eu-west-1"}, **({"idempotencyKey": key} if key else {})}  # fmt: skip
                file.write(json.dumps(row, separators=(",", ":")) + "\n")
    return path


def reader_rate(path: Path, form: str) -> float:
    """Rows per second of CPU time of a reader alone; the best of three."""
    best = 0.0
    for _ in range(3):
        begun = time.process_time()
        with path.open("rb") as file:
            rows = sum(
                len(part.events) for part in read(_source(file), form, Layout("upload:0", {}), Place())
            )
        best = max(best, rows / (time.process_time() - begun))
    return best


def _source(file):  # type: ignore[no-untyped-def]
    def source(offset: int) -> Iterator[bytes]:
        file.seek(0)
        return unpacked(file, offset, 1 << 40)

    return source


class Server:
    """A collector with a fresh data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        command = [
            sys.executable,
            "-m",
            "aforo_collector",
            "serve",
            "--dev",
            "--port",
            "0",
            "--data",
            str(data),
        ]
        self._process = subprocess.Popen(
            [*command, "--upload-bytes-max", str(10**11)], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if line.startswith("listening on "))
        self.http = httpx2.Client(base_url=line.split()[-1], timeout=None, trust_env=False)
        self._seen = psutil.Process(self._process.pid)

    def upload(self, path: Path) -> str:
        """Upload a file; the rate of its rows, what each costs, and the most megabytes resident meanwhile."""
        used_s = sum(self._seen.cpu_times()[:2])
        with path.open("rb") as file:
            job = self.http.post("/v1/ingest/upload", files={"file": (path.name, file)}).json()["data"]
        memory = 0.0
        while job["finishedAt"] is None:
            memory = max(memory, self._seen.memory_info().rss / 1e6)
            time.sleep(0.2)
            job = self.http.get(f"/v1/uploads/{job['jobId']}").json()["data"]
        assert job["state"] == "PARTIAL", job
        begun, ended = (datetime.fromisoformat(job[name]) for name in ("startedAt", "finishedAt"))
        rows, used_s = job["totals"]["received"], sum(self._seen.cpu_times()[:2]) - used_s
        rate = rows / (ended - begun).total_seconds()
        return f"{rate:9,.0f} rows/s   {used_s / rows * 1e6:6.1f} us CPU a row   {memory:5.0f} MB"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stderr is not None
        self._process.stderr.close()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--readers-only", action="store_true")
    parser.add_argument("--grow-to", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for form in (CSV, NDJSON):
            for keys in KEYS:
                path = written(Path(folder) / f"{keys}.{form.lower()}", form, keys, given.rows)
                line = f"{form:6} {keys:8} reader {reader_rate(path, form):11,.0f} rows/CPU s"
                if not given.readers_only:
                    server = Server(Path(folder) / f"data-{form}-{keys}")
                    line += f"   recorded {server.upload(path)}"
                    server.stop()
                    line += f"   SQLite alone {floor(server.data, Path(folder)):9,.0f} rows/CPU s"
                print(line, flush=True)
        if given.grow_to:
            grow(Path(folder), given.rows, given.grow_to)


def grow(folder: Path, rows: int, total: int) -> None:
    """The rate of each file, as the collector holds more and more random keys."""
    server = Server(folder / "grown")
    for turn in range(total // rows):
        told = server.upload(written(folder / "next.ndjson", NDJSON, "random", rows, seed=turn + 2))
        print(f"{(turn + 1) * rows:11,} rows   {told}", flush=True)
    server.stop()


if __name__ == "__main__":
    main()
