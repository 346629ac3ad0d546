"""AG2 1.x: every model call, tool call and maintenance call once, by `instrument()` or by hand."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import aforo_autogen
import aforo_sdk
import pytest
from aforo_autogen.ag2 import AforoAG2Middleware
from aforo_sdk import notices
from ag2 import Agent
from ag2.aggregate import AggregateTrigger, WorkingMemoryAggregate
from ag2.compact import CompactTrigger, SummarizeCompact
from ag2.context import ConversationContext
from ag2.events import ModelMessage, ModelResponse, ToolCallEvent, Usage
from ag2.knowledge import MemoryKnowledgeStore
from ag2.knowledge.config import KnowledgeConfig
from ag2.middleware import Middleware, RetryMiddleware, TelemetryMiddleware
from ag2.testing import TestConfig
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.fake_openai import Reply, fake_openai
from tests.fake_openai import Usage as Spent
from tests.plugins.spool import ReadSpans


def says(text: str = "done", usage: Usage | None = None, **fields: Any) -> ModelResponse:
    """An answer in words."""
    told = {"model": "stub-1-2026", "provider": "openai", "response_id": f"r-{text}", **fields}
    return ModelResponse(ModelMessage(text), usage=usage or Usage(10, 5, 15), **told)


def calls(*names: str) -> list[ToolCallEvent]:
    """A request for tools, under the ids `call-<name>`."""
    return [ToolCallEvent(id=f"call-{name}", name=name, arguments='{"city":"Oslo"}') for name in names]


def lookup(city: str) -> str:
    """Look a city up."""
    return city


def fails(city: str) -> str:
    """Fail."""
    raise KeyError(city)


def config(*events: Any) -> TestConfig:
    """A script for an agent's model."""
    return TestConfig(*events, provider="openai", model="stub-1", raise_tool_errors=False)


def tokens(span: Any) -> tuple[Any, ...]:
    """Input, output, cache reads, reasoning of a span."""
    names = ("input_tokens", "output_tokens", "cache_read.input_tokens", "reasoning.output_tokens")
    return tuple(span[f"gen_ai.usage.{name}"] for name in names)


def test_a_turn(spans: ReadSpans) -> None:
    """A turn is one tree: the agent, its model calls, its tools with their ids and how they ended."""
    full = Usage(100, 20, 120, cache_read_input_tokens=30, thinking_tokens=5)
    agent = Agent(
        "researcher", config=config(calls("lookup", "fails"), says(usage=full)), tools=[lookup, fails]
    )
    asyncio.run(agent.ask("go"))
    seen = spans()
    assert seen.one("execute_tool lookup")["gen_ai.tool.call.id"] == "call-lookup"
    assert seen.one("execute_tool fails")["error.type"] == "KeyError"
    first, last = seen.named("chat stub-1")
    assert (first["aforo.usage.quality"], first["aforo.step.type"]) == ("missing", "MODEL_CALL")
    assert (tokens(last), last["aforo.step.type"]) == ((100, 20, 30, 5), "FINAL_ANSWER")
    assert (last["gen_ai.response.id"], last["gen_ai.response.model"]) == ("r-done", "stub-1-2026")
    assert (last["gen_ai.provider.name"], last["gen_ai.agent.name"]) == ("openai", "researcher")
    root = seen.one("invoke_agent researcher")
    assert len(seen.under(root)) == len(seen) - 1 == 4
    assert sorted(span["aforo.step.index"] for span in seen.under(root)) == [0, 1, 2, 3]


def test_every_entrance(spans: ReadSpans) -> None:
    """A turn is metered once, whichever way the agent is asked."""

    async def main() -> None:
        agent = Agent("a", config=config(says("1"), says("2")))
        reply = await agent.ask("go")
        await reply.ask("again")
        async with agent.run("go") as run:
            await run.result()

    asyncio.run(main())
    assert len(spans().named("invoke_agent a")) == len(spans().named("chat stub-1")) == 3


@pytest.mark.parametrize(
    ("provider", "name", "expected"),
    [("openai", "openai", (100, 20, 30, 5)), ("anthropic", "anthropic", (130, 20, 30, 5)),
     ("google", "gcp.gemini", (100, 25, 30, 5))],
)  # fmt: skip
def test_totals_are_inclusive(spans: ReadSpans, provider: str, name: str, expected: Any) -> None:
    """AG2 keeps each provider's own rule of what a total includes; ours include all parts."""
    usage = Usage(100, 20, cache_read_input_tokens=30, thinking_tokens=5)
    model = TestConfig(says(usage=usage, provider=provider), provider=provider, model="m")
    asyncio.run(Agent("a", config=model).ask("go"))
    span = spans().one("chat m")
    assert tokens(span) == expected
    assert span["gen_ai.provider.name"] == name


@pytest.mark.parametrize(
    ("by_hand", "instrumented"), [(False, "before"), (True, "before"), (True, "midway"), (True, "")]
)
def test_upkeep_is_billed(spool: ReadSpans, by_hand: bool, instrumented: str) -> None:
    """What AG2 spends on compaction and aggregation is billed, once, within the turn that caused it."""

    def lookup(city: str) -> str:
        if instrumented == "midway":
            aforo_autogen.instrument()
        return city

    if instrumented == "before":
        aforo_autogen.instrument()
    upkeep = KnowledgeConfig(
        store=MemoryKnowledgeStore(),
        compact=SummarizeCompact(config=config(says("summary", Usage(70, 7, 77))), target=1),
        compact_trigger=CompactTrigger(max_events=1),
        aggregate=WorkingMemoryAggregate(config=config(says("memory", Usage(50, 3, 53)))),
        aggregate_trigger=AggregateTrigger(on_end=True),
    )
    ours = [Middleware(AforoAG2Middleware)] if by_hand else []
    script = config(calls("lookup"), says())
    agent = Agent("a", config=script, tools=[lookup], knowledge=upkeep, tasks=False, middleware=ours)
    asyncio.run(agent.ask("go"))
    seen = spool()
    root = seen.one("invoke_agent a")
    spent = [tokens(span)[:2] for span in seen.under(root) if span.name.startswith("chat")]
    assert sorted(spent, key=str) == [(10, 5), (50, 3), (70, 7), (None, None)]
    assert len(seen) == 6


def test_sub_agents(spans: ReadSpans) -> None:
    """A sub-agent's calls are billed where they are made; the roll-up that repeats them is not."""
    helper = Agent("helper", config=config(says("helped", Usage(40, 4, 44))))
    ask = ToolCallEvent(id="call-1", name="task_helper", arguments='{"objective":"x"}')
    boss = Agent("boss", config=config([ask], says()), tools=[helper.as_tool(description="Helps.")])

    async def main() -> Any:
        return await (await boss.ask("go")).usage()

    asyncio.run(main())
    seen = spans()
    chats = [span for span in seen if span["gen_ai.operation.name"] == "chat"]
    assert sorted(tokens(span)[0] or 0 for span in chats) == [0, 10, 40]
    (inner,) = [span for span in chats if span["gen_ai.agent.name"] == "helper"]
    assert seen.path(inner) == [
        "invoke_agent boss",
        "execute_tool task_helper",
        "invoke_agent helper",
        "chat stub-1",
    ]


def test_retries_are_calls(spans: ReadSpans) -> None:
    """Each attempt is a call; one that failed has no tokens."""
    agent = Agent("a", config=config(ConnectionError("down"), says()), middleware=[RetryMiddleware()])
    asyncio.run(agent.ask("go"))
    failed, answered = spans().named("chat stub-1")
    assert (failed["error.type"], failed["aforo.usage.quality"]) == ("ConnectionError", None)
    assert tokens(answered)[0] == 10


def test_errors_reach_the_program(spans: ReadSpans) -> None:
    """A model's error ends the turn as without us, and stands on call and agent."""
    with pytest.raises(ConnectionError):
        asyncio.run(Agent("a", config=config(ConnectionError("down"))).ask("go"))
    assert [span["error.type"] for span in spans()] == ["ConnectionError"] * 2


@pytest.mark.parametrize("instrumented", [False, True])
def test_by_hand(spool: ReadSpans, instrumented: bool) -> None:
    """An agent given the middleware is metered under its identity, beside `instrument()` too, once."""
    if instrumented:
        aforo_autogen.instrument("process")
    ours = Middleware(AforoAG2Middleware, customer_id="by-hand", session_id="s-1")
    agent = Agent("a", config=config(calls("lookup"), says()), tools=[lookup], middleware=[ours])
    asyncio.run(agent.ask("go"))
    seen = spool()
    assert sorted(span.name for span in seen) == [
        "chat stub-1",
        "chat stub-1",
        "execute_tool lookup",
        "invoke_agent a",
    ]
    assert {(span["aforo.customer.id"], span["aforo.session.id"]) for span in seen} == {("by-hand", "s-1")}


def test_their_telemetry_beside_ours(spans: ReadSpans) -> None:
    """AG2's own telemetry middleware sees what it always saw, and our spans are not doubled."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    theirs = TelemetryMiddleware(tracer_provider=provider, agent_name="a")
    agent = Agent("a", config=config(calls("lookup"), says()), tools=[lookup], middleware=[theirs])
    with provider.get_tracer("app").start_as_current_span("request") as request:
        asyncio.run(agent.ask("go"))
    seen = spans()
    assert len(seen) == 4
    assert {span.trace for span in seen} == {f"{request.get_span_context().trace_id:032x}"}
    native = [span for span in exporter.get_finished_spans() if span.name == "execute_tool lookup"]
    assert (
        native[0].attributes["gen_ai.tool.call.id"] == seen.one("execute_tool lookup")["gen_ai.tool.call.id"]
    )


def test_sessions_at_once(spans: ReadSpans) -> None:
    """Two customers served at once by one agent are billed each for its own calls."""
    agent = Agent("a", config=config(calls("lookup"), says()), tools=[lookup])

    async def serve(customer: str) -> None:
        async with aforo_sdk.session(f"s-{customer}", customer_id=customer):
            await agent.ask("go")

    async def main() -> None:
        await asyncio.gather(serve("acme"), serve("globex"))

    asyncio.run(main())
    seen = [span for span in spans() if span.name != "session_end"]
    assert len(seen) == 8
    assert all(span["aforo.session.id"] == f"s-{span['aforo.customer.id']}" for span in seen)


def test_round_trip(spool: ReadSpans) -> None:
    """Agents made before `instrument()` are metered by it, and after `uninstrument()` nothing is left."""
    originals = Agent.__dict__["_drive_scope"], ConversationContext.__dict__["send"]
    agent = Agent("a", config=config(says(), says(), says()))
    aforo_autogen.instrument()
    asyncio.run(agent.ask("go"))
    assert agent.middleware == ()
    aforo_autogen.uninstrument()
    asyncio.run(agent.ask("go"))
    assert len(spool()) == 2
    assert (Agent.__dict__["_drive_scope"], ConversationContext.__dict__["send"]) == originals


def test_a_way_in_that_disappeared(
    spool: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where AG2 lets nobody in any more there is one warning, and the middleware still works by hand."""
    agent = Agent("a", config=config(says()), middleware=[Middleware(AforoAG2Middleware)])
    monkeypatch.delattr(Agent, "_drive_scope")
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        aforo_autogen.instrument()
    (record,) = caplog.records
    assert record.getMessage() == (
        f"ag2 {version('ag2')} has no Agent._drive_scope: agents without AforoAG2Middleware are not metered, "
        "everything else is."
    )
    monkeypatch.undo()
    asyncio.run(agent.ask("go"))
    assert len(spool()) == 2


def test_a_way_in_that_takes_other_arguments(
    spool: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where AG2 asks for other arguments there is one warning with version and part, and agents run as ever."""

    @asynccontextmanager
    async def other(self: Agent, event: Any, turn: Any) -> AsyncIterator[Any]:
        yield turn

    monkeypatch.setattr(Agent, "_drive_scope", other)
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        aforo_autogen.instrument()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"ag2 {version('ag2')} has no Agent as it is known (")
    assert "_drive_scope takes no additional_middleware and no context" in record.getMessage()
    assert Agent._drive_scope is other


def test_agents_whose_middleware_has_another_form(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that we cannot look into runs as ever, and the trouble is counted."""
    agent = Agent("a", config=config(says()))
    before = notices.counters().get("autogen_metering_errors", 0)
    monkeypatch.setattr(Agent, "middleware", ("an entry of another form",), raising=False)
    assert asyncio.run(agent.ask("go")).body == "done"
    assert notices.counters()["autogen_metering_errors"] == before + 1
    notices._counters["autogen_metering_errors"] = before


@pytest.mark.skipif(version("openai").startswith("2."), reason="AG2's client needs a later openai")
def test_streams_of_a_real_server(spans: ReadSpans) -> None:
    """Streamed answers of AG2's own OpenAI client are billed as the server counted them."""
    import httpx2
    from ag2.config import OpenAIConfig

    script = [
        Reply(tool_calls=[("", "lookup", {"city": "Oslo"})], usage=Spent(100, 20, 30, 5)),
        Reply("one two", usage=Spent(110, 30, 40, 15)),
    ]

    async def main(url: str) -> None:
        async with httpx2.AsyncClient() as http:
            model = OpenAIConfig("stub-1", base_url=url, api_key="none", streaming=True, http_client=http)
            await Agent("a", config=model, tools=[lookup]).ask("go")

    with fake_openai(script) as server:
        asyncio.run(main(server.url))
        served = server.served
    found = spans().named("chat stub-1")
    assert [tokens(span) for span in found] == [(100, 20, 30, 5), (110, 30, 40, 15)]
    assert [span["gen_ai.response.id"] for span in found] == [call.response_id for call in served]
