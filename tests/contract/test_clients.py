"""The Aforo client packages from PyPI, unmodified, against the collector: their events land exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aforo import AforoClient
from aforo_agent_metering import AforoAgentClient, wrap_capability_handler
from aforo_mcp_metering import AforoMcpBilling

from tests.collector.running import Running, starter

from .events import name, recorded
from .relay import Relay, relaying

KEY, TENANT, PRODUCT = "sk_test_dev", "dev", "prod_1"


class Site:
    """A collector behind a relay, which can be killed and started again at any moment."""

    def __init__(self, relay: Relay, start: Callable[..., Running]) -> None:
        self.relay = relay
        self._start = start
        self.collector = start("--dev")
        relay.target = self.collector.url

    def crash(self) -> None:
        """Kill -9, and start again on the same folder."""
        self.collector.kill()
        self.collector = self._start("--dev")
        self.relay.target = self.collector.url

    def landed(self, *customers: str) -> list[dict[str, Any]]:
        """The usage events of customers that came through the ingest door, net of what was derived of them."""
        found = [one for customer in customers for one in recorded(self.collector, customer)]
        return [one for one in found if one["door"] == "http" and "#" not in one["idempotencyKey"]]

    def check(self, *customers: str) -> list[dict[str, Any]]:
        """Every event that the client sent is there once, with all it says; nothing else is. Returns them."""
        sent = {one["idempotencyKey"]: one for one in self.relay.usage()}
        found = self.landed(*customers)
        assert sorted(one["idempotencyKey"] for one in found) == sorted(sent)
        for one in found:
            said = sent[one["idempotencyKey"]]
            for field, value in said.items():
                if field not in ("quantity", "occurredAt", "metadata", "toolName"):
                    assert (one.get(field) or None) == (value or None), field
            assert one["quantity"] == str(said["quantity"])
            assert said.get("metadata", {}).items() <= one["metadata"].items()
        balance = self.collector.data("/v1/intake/balance")
        assert (balance["conflicts"], balance["rejected"]) == (0, 0)
        assert balance["duplicates"] == len(self.relay.usage()) - len(sent) - self.relay.unsent
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A collector of its own behind a relay."""
    with relaying() as relay, starter(tmp_path / "data") as start:
        yield Site(relay, start)


def crashes(site: Site, moment: str) -> None:
    """Arrange for a crash at the next batch: before it arrives, or when it is on disk but not answered."""
    if moment == "before it arrives":
        site.relay.before = site.crash
    elif moment == "before the answer":
        site.relay.after = site.crash


moments = pytest.mark.parametrize("moment", ["never", "before it arrives", "before the answer"])


@moments
def test_the_base_client(site: Site, moment: str) -> None:
    """`track` and `flush` of aforo-metering, also when the collector is killed under them: nothing drops."""
    acme = name()
    client = AforoClient(KEY, base_url=site.relay.url, flush_interval=600, retry_base_s=0.01, flush_count=10)
    try:
        for number in range(9):
            client.track(
                acme, "api_calls", quantity=number + 1, metadata={"number": number}, execution_status="SUCCESS",
                extra_fields={"endpointPath": "/v1/x", "httpMethod": "GET", "statusCode": 200},
            )  # fmt: skip
        crashes(site, moment)
        assert client.flush().failed == 0
        client.track(acme, "ai_agent.steps", product_type="AI_AGENT", metadata={"inputTokens": 10},
                     extra_fields={"agentId": "a-1", "sessionId": f"s-{acme}"[:60]})  # fmt: skip
        assert client.flush().sent == 1
        assert (client.dropped_count, client.buffered_count) == (0, 0)
    finally:
        client.shutdown()
    assert len(site.check(acme)) == 10


def test_the_base_client_s_session(site: Site) -> None:
    """start_session, tracking, end_session: heartbeats bill nothing, the end closes it with one final event."""
    acme, session_id = name(), name("session")
    client = AforoClient(KEY, base_url=site.relay.url, flush_interval=600, heartbeat_interval=0.05)
    try:
        client.start_session(session_id, product_type="AI_AGENT")
        for number in range(3):
            client.track(acme, "ai_agent.tool_calls", product_type="AI_AGENT", execution_status="SUCCESS",
                         extra_fields={"agentId": "a-1", "sessionId": session_id, "toolName": f"tool-{number % 2}"},
                         metadata={"inputTokens": 100, "outputTokens": 20, "model": "gpt-4o"})  # fmt: skip
        client.end_session()
    finally:
        client.shutdown()
    assert client.dropped_count == 0
    assert len(site.check(acme)) == 3
    closed_with_one_final(
        site, session_id, "ai_agent.sessions", {"tool-0": (2, 2), "tool-1": (1, 1)}, tokens=360
    )


def closed_with_one_final(
    site: Site, session_id: str, metric: str, tools: dict[str, tuple[int, int]], tokens: int
) -> None:
    """A session is closed by its end, its totals are these, and its final event says them once."""
    session = site.collector.data(f"/v1/sessions/{session_id}")
    assert (session["state"], session["closeReason"]) == ("CLOSED", "EXPLICIT")
    by_name = session["totals"]["toolCallsByName"]
    assert {tool: (one["calls"], one["succeeded"]) for tool, one in by_name.items()} == tools
    assert session["totals"]["tokens"]["total"] == tokens
    events = site.collector.data("/v1/usage-events", sessionId=session_id)
    finals = [one for one in events if one["metricName"] == metric]
    assert [one["metadata"]["totals"] for one in finals] == [session["totals"]]
    assert session_id in [one["sessionId"] for one in site.collector.data("/v1/sessions")]


@moments
def test_the_mcp_client(site: Site, moment: str) -> None:
    """`wrap_tool_handler` of aforo-mcp-metering: each call once with its outcome, and the session's totals."""
    agent, session_id = name("agent")[:36], name("session")
    dropped: list[Any] = []

    async def serve() -> int:
        billing = AforoMcpBilling(
            TENANT, PRODUCT, KEY, site.relay.url, flush_interval_sec=600, heartbeat_interval_sec=0.05,
            on_drop=lambda events, reason: dropped.append(reason),
        )  # fmt: skip

        @billing.wrap_tool_handler
        async def handle(tool: str, arguments: dict[str, Any], **caller: str) -> dict[str, Any]:
            if tool == "broken":
                raise ValueError(tool)
            return {"isError": arguments["fails"]}

        @billing.wrap_tool_handler
        def handle_sync(tool: str, arguments: dict[str, Any], **caller: str) -> str:
            raise TimeoutError

        caller = {"agent_id": agent, "session_id": session_id}
        await billing.start()
        for fails in (False, True, False):
            await handle("search", {"fails": fails}, **caller)
        with pytest.raises(ValueError, match="broken"):
            await handle("broken", {}, **caller)
        with pytest.raises(TimeoutError):
            await handle_sync("slow" * 20, {}, **caller)
        crashes(site, moment)
        await billing.flush()
        await handle("search", {"fails": False}, **caller)
        await billing.end_session()
        await billing.shutdown()
        return int(billing.dropped_count)

    assert asyncio.run(serve()) == 0
    assert dropped == []
    found = site.check(agent)
    statuses = sorted((one["toolName"][:6], one["executionStatus"]) for one in found)
    assert statuses == [
        ("broken", "ERROR"), ("search", "ERROR"), *[("search", "SUCCESS")] * 3, ("slowsl", "TIMEOUT"),
    ]  # fmt: skip
    tools = {"broken": (1, 0), "search": (4, 3), ("slow" * 20)[:64]: (1, 0)}
    closed_with_one_final(site, session_id, "mcp_server.sessions", tools, tokens=0)


def test_a_session_that_an_operator_closes_stops_the_mcp_client(site: Site) -> None:
    """`on_session_killed` is called with the session and SERVER_KILL, by a heartbeat or by a batch."""
    for by_heartbeat in (True, False):
        agent, session_id = name("agent")[:36], name("session")
        told: list[tuple[str, str]] = []

        async def serve(agent: str, session_id: str, by_heartbeat: bool, told: list[tuple[str, str]]) -> None:
            over = asyncio.Event()

            def killed(session: str, reason: str) -> None:
                told.append((session, reason))
                over.set()

            billing = AforoMcpBilling(
                TENANT, PRODUCT, KEY, site.relay.url, flush_interval_sec=600, on_session_killed=killed,
                heartbeat_interval_sec=0.05 if by_heartbeat else 600,
            )  # fmt: skip
            await billing.start_session(session_id)
            billing.record_tool_invocation("search", agent, session_id)
            await billing.flush()
            assert told == []
            path = f"/v1/sessions/{session_id}/close"
            closed = await asyncio.to_thread(site.collector.http.post, path)
            assert closed.status_code == 200
            if not by_heartbeat:
                billing.record_tool_invocation("late", agent, session_id)
                await billing.flush()
            await over.wait()
            await billing.shutdown()
            assert billing.dropped_count == 0

        asyncio.run(serve(agent, session_id, by_heartbeat, told))
        assert told == [(session_id, "SERVER_KILL")]
        late = [one["toolName"] for one in site.landed(agent) if one["adjustment"]]
        assert late == ([] if by_heartbeat else ["late"])


@moments
def test_the_agent_client(site: Site, moment: str) -> None:
    """Capabilities and steps of aforo-agent-metering, recorded and decorated, with their tokens, each once."""
    acme, session_id = name(), name("session")

    async def work() -> int:
        client = AforoAgentClient(TENANT, PRODUCT, KEY, site.relay.url, flush_interval_sec=600)

        @wrap_capability_handler(client, capability_name="summarize")
        async def summarize(fails: bool, **caller: str) -> str:
            if fails:
                raise RuntimeError
            return "short"

        caller = {"agent_id": "a-1", "session_id": session_id, "customer_id": acme}
        await client.start()
        await summarize(False, **caller)
        with pytest.raises(RuntimeError):
            await summarize(True, **caller)
        client.record_capability("answer", input_tokens=100, output_tokens=20, **caller)
        crashes(site, moment)
        await client.flush()
        for step in ("THOUGHT", "TOOL_CALL", "FINAL_ANSWER"):
            client.record_step(step_type=step, input_tokens=10, output_tokens=2, duration_ms=5, **caller)
        await client.shutdown()
        return int(client.dropped_count)

    assert asyncio.run(work()) == 0
    found = site.check(acme)
    assert sorted(one["metricName"] for one in found) == [
        *["ai_agent.capability_invocations"] * 3, *["ai_agent.steps"] * 3,
    ]  # fmt: skip
    session = site.collector.data(f"/v1/sessions/{session_id}")
    assert (session["state"], session["customerId"], session["agentId"]) == ("ACTIVE", acme, "a-1")
    tokens = session["totals"]["tokens"]
    assert (tokens["input"], tokens["output"]) == (130, 26)
    assert session["totals"]["steps"] == 3


def test_a_thousand_events_of_each_client_land_once(site: Site) -> None:
    """Full batches of every client, one after another; what they sent is what is there."""
    acme = name()
    base = AforoClient(KEY, base_url=site.relay.url, flush_interval=600, flush_count=1_000)
    try:
        for _ in range(999):
            base.track(acme, "api_calls")
        assert base.flush().sent == 999
    finally:
        base.shutdown()

    async def others() -> int:
        mcp = AforoMcpBilling(TENANT, PRODUCT, KEY, site.relay.url, flush_count=1_000)
        agents = AforoAgentClient(
            TENANT, PRODUCT, KEY, site.relay.url, flush_count=1_000, default_customer_id=acme
        )
        for _ in range(999):
            mcp.record_tool_invocation("search", acme)
            agents.record_capability("answer", "a-1")
        await mcp.flush()
        await agents.flush()
        return int(mcp.dropped_count + agents.dropped_count)

    assert asyncio.run(others()) == base.dropped_count == 0
    assert len(site.relay.usage()) == 2_997
    assert site.collector.data("/v1/intake/balance")["recorded"] == 2_997
    preview = site.collector.data("/v1/invoices/preview", customerId=acme)
    quantities = {one["metricName"]: one["quantity"] for one in preview["unrated"]}
    for metric in ("api_calls", "mcp_server.tool_invocations", "ai_agent.capability_invocations"):
        assert quantities[metric] == "999"
