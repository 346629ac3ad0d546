"""A spool of its own for every test, and nothing left on the framework after it."""

from collections.abc import Iterator
from pathlib import Path

import aforo_autogen
import aforo_sdk
import pytest
from aforo_sdk import notices

from tests.plugins.spool import ReadSpans, read

UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[ReadSpans]:
    """Start the SDK with an empty spool and a collector that is down, meter AutoGen; return what reads the
    spool back.
    """
    aforo_sdk.init(endpoint=UNREACHABLE, spool_dir=str(tmp_path / "spool"), customer_id="acme")
    notices._warned.clear()
    before = notices.counters().get("autogen_metering_errors", 0)
    aforo_autogen.instrument()
    yield lambda: read(tmp_path / "spool")
    aforo_autogen.uninstrument()
    assert notices.counters().get("autogen_metering_errors", 0) == before, "metering went wrong"
