"""What the tests of the SDK share: a clean process state per test, and a real collector to talk to."""

import os
from collections.abc import Iterator
from pathlib import Path

import aforo_sdk
import pytest
from aforo_sdk import notices, runtime

from tests.sdk.sink import Sink


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Every test starts as a fresh process would: nothing configured, nothing counted, a home of its own."""
    for name in list(os.environ):
        if name.startswith(("AFORO_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("AFORO_ENDPOINT", "http://127.0.0.1:9")
    _forget()
    yield
    _forget()


def _forget() -> None:
    if runtime._sender is not None:
        runtime._sender.retire()
    runtime._sender = runtime._settings = runtime._copy = None
    runtime._retired.clear()
    runtime._arguments.clear()
    runtime._troubles_seen = 0
    notices.forget()


@pytest.fixture
def sink() -> Iterator[Sink]:
    """A collector that takes everything."""
    found = Sink()
    yield found
    found.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """A spool folder."""
    return tmp_path / "spool"


@pytest.fixture
def metered(sink: Sink, spool: Path) -> Sink:
    """The sink, with this process configured to deliver to it as customer `acme`."""
    aforo_sdk.init(endpoint=sink.url, api_key="sk_test", customer_id="acme", spool_dir=spool)
    return sink
