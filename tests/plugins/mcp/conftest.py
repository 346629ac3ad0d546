"""A spool of its own for every test, and no error of metering in any of them."""

from collections.abc import Iterator
from pathlib import Path

import aforo_sdk
import pytest
from aforo_sdk import notices

from tests.plugins.spool import ReadSpans, read

UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[ReadSpans]:
    """Start the SDK with an empty spool and a collector that is down; return what reads the spool back."""
    notices.forget()
    aforo_sdk.init(endpoint=UNREACHABLE, spool_dir=str(tmp_path / "spool"), customer_id="acme")
    yield lambda: read(tmp_path / "spool")
    assert "mcp_metering_errors" not in notices.counters()
