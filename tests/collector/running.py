"""A real collector process, started as `aforo serve` starts it, and a client for it."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

READY = "listening on "
STOP_TIMEOUT_S = 20


class Running:
    """A collector process: its URL, what it said, and ways to end it."""

    def __init__(self, *flags: str, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AFORO_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aforo_collector", "serve", "--port", "0", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env=clean | environment,
        )
        self.said: list[str] = []
        self.url = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip())
            if line.startswith(READY):
                self.url = line.removeprefix(READY).strip()
                break
        self._drain = threading.Thread(target=self._listen)
        self._drain.start()
        self.http = httpx2.Client(base_url=self.url or "http://127.0.0.1:9", timeout=30, trust_env=False)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said += [line.rstrip() for line in self.process.stderr]

    def stop(self) -> int:
        """End it as an operator does; returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self._ended()

    def kill(self) -> int:
        """End it as a power cut does."""
        self.process.kill()
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(STOP_TIMEOUT_S)
        self._drain.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.http.close()
        return code

    def data(self, path: str, **parameters: Any) -> Any:
        """`data` of a reading endpoint."""
        response = self.http.get(path, params=parameters or None)
        assert response.status_code == 200, response.text
        return response.json()["data"]


Start = Callable[..., Running]


@contextmanager
def starter(folder: Path) -> Iterator[Start]:
    """Start collectors, on `folder` unless told otherwise, and stop them all at the end."""
    started: list[Running] = []

    def start(*flags: str, **environment: str) -> Running:
        given = flags if "--data" in flags else ("--data", str(folder), *flags)
        started.append(Running(*given, **environment))
        return started[-1]

    try:
        yield start
    finally:
        for collector in started:
            if collector.process.returncode is None:
                collector.stop()
