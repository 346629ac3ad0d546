"""What `aforo mcp-proxy` adds to a call of an MCP tool, beside a direct connection and FastMCP's own proxy.

One real server and one real client of the MCP SDK per subject; the tool answers at once, so what is left is the
way there and back. All subjects are connected at the same time and take turns in short blocks, so that they
share whatever else the machine does. `median` and `p95` are microseconds of a call as the client sees it, `added`
the median above the direct one, `of direct` their ratio; `of ours` compares what proxies add. Our proxy writes
every call to its spool meanwhile; the collector is down.

    python tests/bench/bench_mcp_proxy.py [--blocks 20] [--calls 25] [--era legacy]
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.plugins.mcp.proxy.clients import ERAS, Caller, connected

AFORO = str(Path(sys.executable).with_name("aforo"))
SERVER = [sys.executable, str(Path(__file__).parents[1] / "plugins/mcp/proxy/server.py")]
FASTMCP_STDIO = """
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy
create_proxy(StdioTransport({command!r}, {arguments!r}), name="proxy").run(show_banner=False)
"""
FASTMCP_HTTP = """
from fastmcp.server import create_proxy
create_proxy({url!r}, name="proxy").run("http", port={port}, show_banner=False, log_level="error")
"""


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> None:
    """Wait until somebody listens at a port."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens at port {port}")


def targets(
    environment: dict[str, str], started: list["subprocess.Popen[bytes]"]
) -> dict[str, str | list[str]]:
    """Start what listens; return what to connect to, per subject."""

    def start(command: list[str], port: int) -> str:
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        listening(port)
        return f"http://127.0.0.1:{port}/mcp"

    server_port, proxy_port, peer_port = free_port(), free_port(), free_port()
    direct = start([*SERVER, "http", str(server_port)], server_port)
    stdio = [*SERVER, "stdio"]
    peer = FASTMCP_STDIO.format(command=stdio[0], arguments=stdio[1:])
    listen = ["--listen", f"127.0.0.1:{proxy_port}"]
    return {
        "stdio direct": stdio,
        "stdio aforo mcp-proxy": [AFORO, "mcp-proxy", "--", *stdio],
        "stdio fastmcp create_proxy": [sys.executable, "-c", peer],
        "http direct": direct,
        "http aforo mcp-proxy": start([AFORO, "mcp-proxy", "--upstream", direct, *listen], proxy_port),
        "http fastmcp create_proxy": start(
            [sys.executable, "-c", FASTMCP_HTTP.format(url=direct, port=peer_port)], peer_port
        ),
    }


async def measure(
    subjects: dict[str, str | list[str]], environment: dict[str, str], era: str, blocks: int, calls: int
) -> dict[str, list[float]]:
    """Return the microseconds of every call, per subject."""
    taken: dict[str, list[float]] = {name: [] for name in subjects}
    async with AsyncExitStack() as stack:
        callers: dict[str, Caller] = {}
        for name, target in subjects.items():
            callers[name] = await stack.enter_async_context(connected(target, era, environment))
            await callers[name].tools()
        for block in range(blocks + 1):
            for name, caller in callers.items():
                for number in range(calls):
                    began = time.perf_counter()
                    await caller.call("add", {"a": number, "b": 1})
                    if block:  # the first one warms up
                        taken[name].append((time.perf_counter() - began) * 1e6)
    return taken


def report(taken: dict[str, list[float]]) -> None:
    """Print one line per subject."""
    print(f"{'one call, µs':30}{'median':>9}{'p95':>9}{'added':>9}{'of direct':>11}{'of ours':>9}")
    direct = ours = 0.0
    for name, times in taken.items():
        median, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        if name.endswith("direct"):
            direct = median
        added = median - direct
        if "aforo" in name:
            ours = added
        beside = f"{added:9.0f}{median / direct:10.2f}x" if added else ""
        compared = f"{added / ours:8.1f}x" if added and "aforo" not in name and ours > 0 else ""
        print(f"{name:30}{median:9.0f}{p95:9.0f}{beside}{compared}")


def main() -> None:
    """Measure, and print one line per subject."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=20, help="blocks of each subject")
    parser.add_argument("--calls", type=int, default=25, help="calls in a block")
    parser.add_argument("--era", choices=ERAS, default=ERAS[0], help="protocol of the client")
    options = parser.parse_args()
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as spool:
        environment = {
            "PATH": os.environ["PATH"],
            "AFORO_SPOOL_DIR": spool,
            "AFORO_ENDPOINT": "http://127.0.0.1:9",
            "AFORO_CUSTOMER_ID": "acme",
        }
        try:
            subjects = targets(environment, started)
            report(asyncio.run(measure(subjects, environment, options.era, options.blocks, options.calls)))
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(20)


if __name__ == "__main__":
    main()
