"""Child processes for tests that kill, fork and exit."""

import os
import subprocess
import sys
from pathlib import Path

PRELUDE = """
import os, sys, time, signal
import aforo_sdk
from aforo_sdk import plugin
from aforo_sdk.conventions import KIND_INTERNAL

def write(name):
    now = time.time_ns()
    plugin.emit(plugin.new_trace_id(), plugin.new_span_id(), 0, name, KIND_INTERNAL, now, now,
                plugin.current_identity().attributes)
"""


def environment(spool: Path, endpoint: str, **more: str) -> dict[str, str]:
    """An environment for a child: its spool and collector, no other setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AFORO_", "OTEL_"))}
    ours = {"AFORO_SPOOL_DIR": str(spool), "AFORO_ENDPOINT": endpoint, "AFORO_CUSTOMER_ID": "acme"}
    return kept | ours | more


def start(program: str, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start a Python child that runs `program` after the prelude."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(program: str, env: dict[str, str], timeout_s: float = 60.0) -> tuple[str, str]:
    """Run a child to its end: what it wrote to stdout and stderr. It must end well."""
    with start(program, env) as child:
        out, err = child.communicate(timeout=timeout_s)
        assert child.returncode == 0, err
        return out, err
