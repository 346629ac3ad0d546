"""Servers, proxies and a spool of its own for every test; all processes end with it."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aforo_sdk
import pytest

from tests.plugins.spool import ReadSpans, Spans, read

AFORO = str(Path(sys.executable).with_name("aforo"))
SERVER = (sys.executable, str(Path(__file__).with_name("server.py")))

Start = Callable[..., str]
ReadSpool = Callable[[], Spans]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Name a spool, and a collector that is down."""
    return {
        "AFORO_SPOOL_DIR": str(tmp_path / "spool"),
        "AFORO_ENDPOINT": "http://127.0.0.1:9",
        "AFORO_CUSTOMER_ID": "acme",
        "PATH": "/usr/bin:/bin",
    }


@pytest.fixture
def spans(tmp_path: Path) -> ReadSpans:
    """Read the spans of tool calls back, oldest first."""

    def tool_calls() -> Spans:
        found = [span for span in read(tmp_path / "spool") if span["gen_ai.operation.name"]]
        return Spans(sorted(found, key=lambda span: span.start_ns))

    return tool_calls


@pytest.fixture
def spool(tmp_path: Path) -> ReadSpool:
    """Start with an empty spool and a collector that is down; return what reads it back."""
    aforo_sdk.init(endpoint="http://127.0.0.1:9", spool_dir=str(tmp_path / "spool"), customer_id="acme")
    return lambda: read(tmp_path / "spool")


@pytest.fixture
def processes() -> Iterator[list["subprocess.Popen[str]"]]:
    """Stop every process that a test has started."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def upstream(processes: list["subprocess.Popen[str]"]) -> Start:
    """Start a real server on a free port; returns its address."""

    def start(*words: str) -> str:
        port = free_port()
        processes.append(subprocess.Popen([*SERVER, "http", str(port), *words], text=True))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"http://127.0.0.1:{port}/mcp"
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    return start


@pytest.fixture
def proxy(environment: dict[str, str], processes: list["subprocess.Popen[str]"]) -> Start:
    """Start the HTTP proxy of an address; returns its own."""

    def start(upstream: str, *options: str) -> str:
        words = [AFORO, "mcp-proxy", "--upstream", upstream, "--listen", "127.0.0.1:0", *options]
        process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert " passes on to " in line, line
        return line.split()[2]

    return start


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wrapped(*options: str) -> list[str]:
    """Put the proxy in front of the server's command."""
    return [AFORO, "mcp-proxy", *options, "--", *SERVER, "stdio"]
