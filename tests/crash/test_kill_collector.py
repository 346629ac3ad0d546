"""kill -9 of the collector under load: what was acknowledged is billed, and what is sent again is billed once."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import httpx2
import pytest

from tests.collector.running import Running
from tests.collector.wire import PROTOBUF, body, chat, tool
from tests.crash.killing import kill_again_and_again

CUSTOMER = "acme"
SENDERS = 3
BATCHES_OF_EACH_MAX = 4_000


class Senders:
    """Clients that send each batch until it is acknowledged, wherever the collector is at the moment."""

    def __init__(self, random_source: random.Random) -> None:
        self.url = ""
        self.over = threading.Event()
        self.calls = 0
        self.tools = 0
        self._lock = threading.Lock()
        self._random = random_source
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(SENDERS)]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every sender get its last batch acknowledged."""
        self.over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a sender never got its answer"

    def _send(self, number: int) -> None:
        session = {"aforo.session.id": f"thread-{number}"}
        for _ in range(BATCHES_OF_EACH_MAX):
            if self.over.is_set():
                return
            calls = self._random.randint(1, 8)
            spans = [chat(CUSTOMER, **session) for _ in range(calls)] + [tool(CUSTOMER, **session)]
            self._until_acknowledged(body(*spans))
            with self._lock:
                self.calls += calls
                self.tools += 1

    def _until_acknowledged(self, data: bytes) -> None:
        while True:
            try:
                answer = httpx2.post(f"{self.url}/v1/traces", content=data, headers=PROTOBUF, trust_env=False)
                if answer.status_code == 200:
                    assert answer.content == b"", "nothing was rejected"
                    if self._random.random() < 0.2:
                        httpx2.post(f"{self.url}/v1/traces", content=data, headers=PROTOBUF, trust_env=False)
                    return
                assert answer.status_code == 503, answer.text
            except httpx2.TransportError:
                pass
            time.sleep(0.02)


def _check(collector: Running, senders: Senders) -> None:
    balance = collector.data("/v1/intake/balance")
    assert balance["recorded"] == senders.calls + senders.tools
    assert balance["received"] == sum(
        balance[outcome] for outcome in ("recorded", "duplicates", "conflicts", "rejected")
    )
    assert (balance["conflicts"], balance["rejected"]) == (0, 0)
    totals = [collector.data(f"/v1/sessions/thread-{n}")["totals"] for n in range(SENDERS)]
    assert sum(t["modelCalls"] for t in totals) == senders.calls
    assert sum(t["tokens"]["total"] for t in totals) == 1_100 * senders.calls
    assert sum(t["toolCalls"] for t in totals) == senders.tools
    invoice = collector.data("/v1/invoices/preview", customerId=CUSTOMER)
    quantity = {u["metricName"]: u["quantity"] for u in invoice["unrated"]}
    assert quantity["agentic_api.input_tokens"] == str(1_000 * senders.calls)
    assert quantity["agentic_api.tool_calls"] == str(senders.tools)


def test_every_span_is_billed_once_through_twenty_kills(tmp_path: Path) -> None:
    """Twenty kills at random moments under load lose nothing that was acknowledged and double nothing."""
    source = random.Random(int(os.environ.get("AFORO_CRASH_SEED", "1")))
    kill_again_and_again(tmp_path / "data", Senders(source), 20, source, _check)


@pytest.mark.long
def test_every_span_is_billed_once_through_a_hundred_and_fifty_kills(tmp_path: Path) -> None:
    """The same for minutes, with a seed of the moment."""
    seed = int(os.environ.get("AFORO_CRASH_SEED", str(time.time_ns())))
    print(f"AFORO_CRASH_SEED={seed}")
    source = random.Random(seed)
    kill_again_and_again(tmp_path / "data", Senders(source), 150, source, _check)
