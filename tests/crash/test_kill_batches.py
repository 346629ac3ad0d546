"""kill -9 of the collector during batches of usage events: everything answered is there once, with its session."""

from __future__ import annotations

import os
import random
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

from tests.collector.running import Running
from tests.crash.killing import kill_again_and_again

SENDERS = 3
BATCHES_OF_EACH_MAX = 4_000
KILLS = 6


class Senders:
    """Clients that send each batch over one of the routes until it is answered, wherever the collector is."""

    def __init__(self, seed: int) -> None:
        self.url = ""
        self.over = threading.Event()
        self.sent: list[list[dict[str, Any]]] = [[] for _ in range(SENDERS)]
        self._threads = [
            threading.Thread(target=self._send, args=(number, random.Random(seed + number)))
            for number in range(SENDERS)
        ]

    def start(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every sender get its last batch answered."""
        self.over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a sender never got its answer"

    def _send(self, number: int, source: random.Random) -> None:
        customer = f"customer-{number}"
        for batch in range(BATCHES_OF_EACH_MAX):
            if self.over.is_set():
                return
            events = [
                {
                    "customerId": customer, "metricName": "agentic_api.tool_calls", "quantity": source.randint(1, 3),
                    "idempotencyKey": f"{number}-{batch}-{place}", "sessionId": "thread", "toolName": "lookup",
                    "executionStatus": "SUCCESS", "metadata": {"total_provider_cost": "0.01"},
                }
                for place in range(source.randint(1, 40))
            ]  # fmt: skip
            again = source.random() < 0.2
            for _ in range(2 if again else 1):
                self._until_answered(events, source)
            self.sent[number] += events

    def _until_answered(self, events: list[dict[str, Any]], source: random.Random) -> None:
        while True:
            route, body = source.choice(
                (("/v1/ingest/batch", {"events": events}), ("/v1/ingest/async-batch", events))
            )
            try:
                answer = httpx2.post(self.url + route, json=body, trust_env=False)
                if answer.status_code == 202:
                    data = answer.json()["data"]
                    assert data["accepted"] + data["duplicates"] == len(events)
                    assert data["accepted"] in (0, len(events)), "a batch is on disk whole or not at all"
                    return
                assert answer.status_code == 503, answer.text
            except httpx2.TransportError:
                pass
            time.sleep(0.02)


def test_every_answered_event_is_there_once(tmp_path: Path) -> None:
    """Kills at random moments under load lose no answered event, double none, and keep the sessions' sums."""
    seed = int(os.environ.get("AFORO_CRASH_SEED", "1"))
    kill_again_and_again(tmp_path / "data", Senders(seed), KILLS, random.Random(seed), _check)


def _check(collector: Running, senders: Senders) -> None:
    balance = collector.data("/v1/intake/balance")
    assert balance["recorded"] == sum(map(len, senders.sent))
    assert balance["received"] == balance["recorded"] + balance["duplicates"]
    for number, sent in enumerate(senders.sent):
        customer = f"customer-{number}"
        assert _keys(collector, customer) == sorted(event["idempotencyKey"] for event in sent)
        calls = sum(event["quantity"] for event in sent)
        totals = collector.data("/v1/sessions/thread", customerId=customer)["totals"]
        assert totals["toolCallsByName"] == {"lookup": {"calls": calls, "succeeded": calls}}
        assert Decimal(totals["providerCost"]) == Decimal("0.01") * len(sent)
        invoice = collector.data("/v1/invoices/preview", customerId=customer)
        quantities = {one["metricName"]: one["quantity"] for one in invoice["unrated"]}
        assert quantities["agentic_api.tool_calls"] == str(calls)


def _keys(collector: Running, customer: str) -> list[str]:
    """The keys of all events of a customer, page by page."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    query = {"customerId": customer, "metricName": "agentic_api.tool_calls", "limit": "1000"}
    while True:
        answer = collector.http.get("/v1/usage-events", params=query | cursor).json()
        found += [one["idempotencyKey"] for one in answer["data"]]
        if answer["meta"]["nextCursor"] is None:
            return sorted(found)
        cursor = {"cursor": answer["meta"]["nextCursor"]}
