"""Fixtures: a real collector process that takes uploads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.running import Running, Start, starter


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts collector processes on a fresh folder."""
    with starter(tmp_path / "data") as start:
        yield start


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One development collector for the tests of a module, which keep apart by customer."""
    with starter(tmp_path_factory.mktemp("collector") / "data") as start:
        yield start("--dev", "--upload-bytes-max", "1000000", "--backfill-days-max", "400")
