"""Other instrumentations beside ours: they see what they always saw, and we count each call once."""

import asyncio
from typing import Any

import pytest
from aforo_autogen import instrument, uninstrument
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.teams import RoundRobinGroupChat
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.fake_openai import Reply, Usage, fake_openai
from tests.plugins.autogen.clients import openai_client, tokens_of
from tests.plugins.spool import ReadSpans

openinference = pytest.importorskip("openinference.instrumentation.autogen_agentchat")


async def lookup(city: str) -> str:
    """Look a city up."""
    return city


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_openinference(spans: ReadSpans, first: str) -> None:
    """Whoever comes first, ours are the same spans with the same tokens, and theirs are all there."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    theirs = openinference.AutogenAgentChatInstrumentor()
    if first == "theirs":
        uninstrument()
    theirs.instrument(tracer_provider=provider)
    try:
        instrument()
        script = [
            Reply(tool_calls=[("", "lookup", {"city": "Oslo"})], usage=Usage(100, 20, 30, 5)),
            Reply("done", usage=Usage(110, 30)),
        ]
        with fake_openai(script) as server:
            asyncio.run(run(server))
    finally:
        theirs.uninstrument()
    seen = spans()
    assert [tokens_of(span)["input_tokens"] for span in seen.named("chat stub-1")] == [100, 110]
    assert len(seen) == 5
    assert "a.lookup" in {span.name for span in exporter.get_finished_spans()}


async def run(server: Any) -> None:
    """Run a team of one agent."""
    async with openai_client(server) as client:
        agent = AssistantAgent(
            "a", client, tools=[lookup], reflect_on_tool_use=True, model_client_stream=True
        )
        await RoundRobinGroupChat([agent], max_turns=1).run(task="go")
