"""Rates of keys, and the clock."""

import time
from pathlib import Path

import pytest
from aforo_collector.api.access import INGEST
from aforo_collector.app import opened
from aforo_collector.settings import Settings
from starlette.datastructures import Headers


def test_a_clock_that_is_set_back_holds_no_key_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate is requests in real time, whatever becomes of the time of day."""
    with opened(Settings(data=tmp_path, dev=True, rate_limit_per_minute=60), lambda _: None) as collector:
        credentials = collector.app.state.desk.credentials
        credentials.caller(Headers({}), INGEST)
        before_ns = time.time_ns() - 3_600 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda: before_ns)
        credentials.caller(Headers({}), INGEST)
