"""Fixtures: one collector for the whole suite, whose tests keep apart by customer, and fresh ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.running import Running, Start, starter


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A development collector: tenant `dev`, every built-in billable unit."""
    with starter(tmp_path_factory.mktemp("contract") / "data") as start:
        yield start("--dev")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts collectors on a fresh folder."""
    with starter(tmp_path / "data") as start:
        yield start
