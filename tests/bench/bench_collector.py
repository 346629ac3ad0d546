"""Spans per second that a collector takes in, and what they cost: rate, latency, memory, start, growth.

The collector runs on core 0 with a catalog that prices tool calls and provider cost, the client on core 1;
requests of 512 spans over four kept-alive connections, each answered after its commit. Figures of a shared
machine vary; compare ratios of one run. Peers are any OTLP/HTTP receivers:

    python tests/bench/bench_collector.py [--requests 400] [--grow-to 20000000] [--peer NAME URL "COMMAND"]...

`--grow-to N` goes on until the file holds N spans and compares the last rate with the first (takes long).
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil

sys.path.insert(0, str(Path(__file__).parent))
from traffic import CUSTOMERS, requests, send

SPANS = 512
KEY = {"X-API-Key": "sk_test_dev"}


class Server:
    """A receiver on core 0."""

    def __init__(self, command: list[str], url: str) -> None:
        begun = time.perf_counter()
        self.url = url
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        where = urlsplit(url)
        while time.perf_counter() - begun < 120:
            try:
                socket.create_connection((str(where.hostname), where.port or 80), 1).close()
                break
            except OSError:
                time.sleep(0.01)
        self.start_s = time.perf_counter() - begun
        self._tree = psutil.Process(self.process.pid)

    def _all(self) -> list[psutil.Process]:
        return [self._tree, *self._tree.children(recursive=True)]

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far, user and system, all processes."""
        return sum(p.cpu_times().user + p.cpu_times().system for p in self._all())

    @property
    def memory_mb(self) -> float:
        """Resident megabytes, all processes."""
        return sum(p.memory_info().rss for p in self._all()) / 1e6

    def stop(self) -> None:
        """End it."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def catalog() -> dict[str, object]:
    """Tool calls and provider cost, priced for every customer of the traffic."""
    return {
        "currency": "USD",
        "rate_plans": [
            {
                "code": "pro",
                "prices": [
                    {"metric": "agentic_api.tool_calls", "model": "PER_UNIT", "unit_price": "0.002"},
                    {"metric": "agentic_api.provider_cost", "model": "COST_PLUS", "markup": "0.20"},
                ],
            }
        ],
        "products": [{"code": "support", "type": "AGENTIC_API", "rate_plan": "pro"}],
        "customers": [{"id": f"cust_{n:05d}", "products": ["support"]} for n in range(CUSTOMERS)],
    }


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rate(server: Server, count: int, seed: int, spans: int = SPANS) -> float:
    """Spans acknowledged per second over `count` requests; prints a line."""
    bodies = list(requests(count, spans, seed))
    cpu_s = server.cpu_s
    answers = send(server.url, bodies)
    cpu_us = (server.cpu_s - cpu_s) / (count * spans) * 1e6
    per_s = answers.acknowledged * spans / answers.wall_s
    print(
        f"  {per_s:>9,.0f} spans/s  {cpu_us:6.1f} us CPU a span  p50 {answers.percentile_ms(0.5):.1f} ms"
        f"  p99 {answers.percentile_ms(0.99):.1f} ms  {server.memory_mb:.0f} MB",
        flush=True,
    )
    return per_s


def ours(count: int, grow_to: int) -> float:
    """Measure the collector of this checkout; returns its rate when empty."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "aforo_collector",
            "serve",
            "--dev",
            "--port",
            str(port),
            "--data",
            folder,
        ]
        server = Server(command, f"http://127.0.0.1:{port}/v1/traces")
        try:
            base = f"http://127.0.0.1:{port}"
            while httpx2.get(f"{base}/readyz").status_code != 200:
                time.sleep(0.02)
            print(f"aforo: ready in {server.start_s:.2f} s, {server.memory_mb:.0f} MB idle")
            assert httpx2.put(f"{base}/v1/catalog", json=catalog(), headers=KEY).status_code == 200
            rate(server, 40, seed=1)
            empty = rate(server, count, seed=2)
            latency(server, empty)
            if grow_to:
                grow(server, count, grow_to, empty)
            balance = httpx2.get(f"{base}/v1/intake/balance", headers=KEY).json()["data"]
            assert balance["received"] == balance["recorded"], balance
            print(f"  {balance['recorded']:,} spans recorded, none lost, none doubled")
            return empty
        finally:
            server.stop()


def latency(server: Server, full: float) -> None:
    """Latency of batches of 50 spans at half of the full rate."""
    per_s = full / 2 / 50
    answers = send(server.url, list(requests(int(per_s * 5), 50, seed=3)), connections=16, per_s=per_s)
    print(
        f"  half load, batches of 50: p50 {answers.percentile_ms(0.5):.1f} ms, p99 {answers.percentile_ms(0.99):.1f} ms"
    )


def grow(server: Server, count: int, grow_to: int, empty: float) -> None:
    """Go on until the file holds `grow_to` spans; rates along the way against the first."""
    held, seed = 0, 10
    while held < grow_to:
        seed += 1
        now = rate(server, count, seed)
        held += count * SPANS
        print(f"    at {held:,} spans: {now / empty:.2f} of the rate when empty", flush=True)


def main() -> None:
    """Run ours and the peers, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--grow-to", type=int, default=0)
    parser.add_argument("--peer", nargs=3, action="append", default=[], metavar=("NAME", "URL", "COMMAND"))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {1})
    own = ours(arguments.requests, arguments.grow_to)
    for name, url, command in arguments.peer:
        server = Server(shlex.split(command), url)
        try:
            print(f"{name}: ready in {server.start_s:.2f} s, {server.memory_mb:.0f} MB idle")
            rate(server, 8, seed=1)
            print(f"  aforo is {own / rate(server, arguments.requests, seed=2):.2f} times as fast")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
