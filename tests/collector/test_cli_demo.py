"""`aforo demo`: the whole way from a LangChain callback to an invoice line, as a user sees it first."""

import json
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any

import httpx2

DEMO = [sys.executable, "-m", "aforo_collector", "demo"]
TIMEOUT_S = 30


def nodes(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """Every span of a tree."""
    todo, found = list(trace["roots"]), []
    while todo:
        found.append(node := todo.pop())
        todo += node["children"]
    return found


def test_the_demo_shows_tree_final_event_and_invoice() -> None:
    """Within half a minute it prints what happened, what it cost and what is owed."""
    ran = subprocess.run(DEMO, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ran.returncode == 0, ran.stderr
    for wanted in (
        "execute_tool lookup",
        "execute_tool db_write",
        "failed",
        "tokens",
        "agentic_api.sessions",
        "total",
    ):
        assert wanted in ran.stdout
    assert "dashboard" in ran.stderr


def test_the_demo_in_json_adds_up() -> None:
    """Session, final event, trace and invoice say the same, to the last digit."""
    ran = subprocess.run([*DEMO, "--json"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ran.returncode == 0, ran.stderr
    shown = json.loads(ran.stdout)
    assert set(shown) == {"session", "finalEvent", "trace", "invoice", "collectorUrl"}
    totals, spans = shown["session"]["totals"], nodes(shown["trace"])
    models = [node for node in spans if node["tokens"]]
    tools = [node for node in spans if node["toolName"]]

    assert shown["session"]["state"] == "CLOSED"
    assert shown["finalEvent"]["metadata"]["totals"] == totals
    assert shown["finalEvent"]["sessionId"] == shown["session"]["sessionId"] == shown["trace"]["sessionId"]
    assert totals["toolCallsByName"] == {
        "db_write": {"calls": 2, "succeeded": 1}, "lookup": {"calls": 1, "succeeded": 1},
    }  # fmt: skip
    assert (len(models), len(tools), totals["unpricedCalls"]) == (3, 3, 0)
    assert [node["status"] for node in tools].count("ERROR") == 1
    for pool, count in totals["tokens"].items():
        assert sum(node["tokens"][pool] for node in models) == count
    cost = sum(Decimal(node["providerCost"]) for node in models)
    assert cost == Decimal(totals["providerCost"]) > 0

    invoice = shown["invoice"]
    unrounded = {
        (line["metricName"], line["dimension"]): Decimal(line["amountUnrounded"]) for line in invoice["lines"]
    }
    assert unrounded == {
        ("agentic_api.provider_cost", None): cost * Decimal("1.2"),
        ("agentic_api.tool_calls", "db_write"): Decimal("0.05"),
        ("agentic_api.tool_calls", "lookup"): Decimal("0.001"),
    }
    assert sum(unrounded.values()) == Decimal(totals["revenue"])
    lines = sum(Decimal(line["amount"]) for line in invoice["lines"])
    assert lines == Decimal(invoice["subtotal"])
    assert lines + Decimal(invoice["rounding"]) == Decimal(invoice["total"])


def test_the_demo_stays_up_until_it_is_told_to_stop() -> None:
    """With --serve the collector answers after the demo, until Ctrl-C ends both."""
    with subprocess.Popen(
        [*DEMO, "--serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stderr is not None
        url = next(line for line in demo.stderr if "until Ctrl-C" in line).split()[4]
        sessions = httpx2.get(f"{url}/v1/sessions", trust_env=False).json()["data"]
        assert [session["state"] for session in sessions] == ["CLOSED"]
        demo.send_signal(signal.SIGINT)
        try:
            demo.communicate(timeout=TIMEOUT_S)
        finally:
            demo.kill()
    assert demo.returncode == 0
