"""Kill -9 of a real collector, again and again, while something sends to it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from tests.collector.running import Running


class Sending(Protocol):
    """Clients that send until each has its answer, wherever the collector is."""

    url: str
    over: threading.Event

    def start(self) -> None:
        """Begin to send."""

    def stop(self) -> None:
        """Let every sender get its last answer."""


S = TypeVar("S", bound=Sending)


def kill_again_and_again(
    folder: Path, senders: S, kills: int, source: random.Random, check: Callable[[Running, S], None]
) -> None:
    """Kill the collector at random moments under load; `check` sees what is there when all have their answers."""
    flags = ("--dev", "--data", str(folder))
    collector = Running(*flags)
    senders.url = collector.url
    senders.start()
    try:
        for _ in range(kills):
            time.sleep(source.uniform(0.0, 0.5))
            assert collector.kill() == -9
            collector = Running(*flags)
            senders.url = collector.url
        senders.stop()
        check(collector, senders)
    finally:
        senders.over.set()
        collector.stop()
