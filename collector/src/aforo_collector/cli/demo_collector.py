"""A collector of its own for the demo: a child process on a free loopback port, with a fresh folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO

from .exits import UNAVAILABLE, Failure

READY = "listening on "
STOPPED = "stopped\n"
STOP_TIMEOUT_S = 10
_LINES_KEPT_MAX = 20


@contextmanager
def collector(folder: Path) -> Iterator[str]:
    """Run a collector in development on a folder; gives its URL once it listens, stops it at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AFORO_")}
    command = [
        sys.executable,
        "-m",
        "aforo_collector",
        "serve",
        "--dev",
        "--port",
        "0",
        "--data",
        str(folder),
    ]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stderr is not None
        yield _url(child.stderr)
    finally:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _url(said: IO[str]) -> str:
    lines: deque[str] = deque(maxlen=_LINES_KEPT_MAX)
    for line in said:
        if line.startswith(READY):
            Thread(target=_pass_on, args=(said,), daemon=True).start()
            return line.removeprefix(READY).strip()
        lines.append(line)
    raise Failure(UNAVAILABLE, "the collector did not start:\n" + "".join(lines))


def _pass_on(said: IO[str]) -> None:
    """Show what the child logs; nobody reading would block it on a full pipe."""
    for line in said:
        if line != STOPPED:
            sys.stderr.write(line)
