"""Who pays: the arguments of `instrument()`, the context of the run, and the right team on a shared runtime."""

import asyncio
import gc
import logging
import threading
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import aforo_sdk
import pytest
from aforo_autogen import instrument, scopes
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.teams import RoundRobinGroupChat, SelectorGroupChat
from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    message_handler,
)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.plugins.autogen.clients import Scripted, asks, says
from tests.plugins.spool import ReadSpans


async def lookup(city: str) -> str:
    """Look a city up."""
    await asyncio.sleep(0)
    return city


def team(name: str, runtime: Any = None, **options: Any) -> RoundRobinGroupChat:
    """A team of one agent that calls a tool and answers."""
    model = Scripted(asks(("lookup", '{"city":"Oslo"}')), says())
    member = AssistantAgent(f"{name}_member", model, tools=[lookup], reflect_on_tool_use=True)
    return RoundRobinGroupChat([member], max_turns=1, name=name, runtime=runtime, **options)


def billed(spans: Any) -> list[Any]:
    """The spans without the messages to the collector."""
    return [span for span in spans if span.name != "session_end"]


def test_arguments_win_over_the_context(spans: ReadSpans) -> None:
    """What `instrument()` is given wins, and what it is not given comes from the session around the run."""
    instrument("umbrella", agent_id="a-1", team_id="t-1", app_id="p-1", product_type="AI_AGENT")

    async def main() -> None:
        async with aforo_sdk.session("s-1", customer_id="globex", agent_id="a-2"):
            await Scripted().create([])

    asyncio.run(main())
    span = spans().one("chat")
    assert {key: span[f"aforo.{key}.id"] for key in ("customer", "team", "agent", "app", "session")} == {
        "customer": "umbrella",
        "team": "t-1",
        "agent": "a-1",
        "app": "p-1",
        "session": "s-1",
    }
    assert span["aforo.product.type"] == "AI_AGENT"


def test_no_session_is_invented(spans: ReadSpans) -> None:
    """Where nobody names a session or a conversation, none is written."""
    asyncio.run(team("crew").run(task="go"))
    assert {span["aforo.session.id"] for span in spans()} == {None}
    assert {span["gen_ai.conversation.id"] for span in spans()} == {None}


def test_two_sessions_on_one_runtime(spans: ReadSpans) -> None:
    """Teams that share a runtime are billed each to its own session and trace, one after another and at once."""

    async def serve(name: str, runtime: Any) -> None:
        async with aforo_sdk.session(f"s-{name}", customer_id=name):
            await team(name, runtime).run(task="go")

    async def main() -> None:
        runtime = SingleThreadedAgentRuntime()
        async with aforo_sdk.session("s-start", customer_id="start"):
            runtime.start()
        await serve("first", runtime)
        await asyncio.gather(serve("second", runtime), serve("third", runtime))
        await runtime.stop()

    asyncio.run(main())
    seen = billed(spans())
    assert len(seen) == 3 * 5
    for name in ("first", "second", "third"):
        own = [span for span in seen if span["aforo.customer.id"] == name]
        assert {span["aforo.session.id"] for span in own} == {f"s-{name}"}
        assert len({span.trace for span in own}) == 1
        assert sorted(span.name for span in own) == [
            "chat",
            "chat",
            "execute_tool lookup",
            f"invoke_agent {name}_member",
            f"invoke_workflow {name}",
        ]


def test_a_runtime_that_does_not_say_who_receives(
    spans: ReadSpans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the receiver of a message cannot be known, one warning names the version and what that costs; runs on a
    runtime of their own are billed as ever.
    """
    monkeypatch.delattr("autogen_core.MessageHandlerContext")
    with caplog.at_level(logging.WARNING, "aforo_sdk"):
        asyncio.run(team("alone").run(task="go"))
    (record,) = caplog.records
    assert f"no MessageHandlerContext any more (autogen-core {version('autogen-core')}" in record.getMessage()
    assert len(billed(spans())) == 5


def test_a_selector_on_a_shared_runtime(spans: ReadSpans) -> None:
    """The manager's own model calls find their team too."""

    async def main() -> None:
        runtime = SingleThreadedAgentRuntime()
        runtime.start()
        async with aforo_sdk.session("s-1", customer_id="globex"):
            members = [AssistantAgent(name, Scripted(), description=name) for name in ("a", "b")]
            await SelectorGroupChat(members, Scripted(says("a")), max_turns=2, runtime=runtime).run(task="go")
        await runtime.stop()

    asyncio.run(main())
    seen = billed(spans())
    assert {(span["aforo.customer.id"], span["aforo.session.id"]) for span in seen} == {("globex", "s-1")}
    assert len({span.trace for span in seen}) == 1


def test_a_team_left_running_keeps_its_session(spans: ReadSpans) -> None:
    """What a team on a shared runtime does after its reader has left is billed to its session all the same."""

    async def main() -> None:
        runtime = SingleThreadedAgentRuntime()
        runtime.start()
        async with aforo_sdk.session("s-1", customer_id="globex"):
            left = team("crew", runtime)
            stream = left.run_stream(task="go")
            await anext(stream)
            await stream.aclose()
        await runtime.stop_when_idle()

    asyncio.run(main())
    chats = spans().named("chat")
    assert len(chats) == 2
    assert {span["aforo.session.id"] for span in chats} == {"s-1"}


def test_the_table_of_teams_forgets(spans: ReadSpans) -> None:
    """A team that is gone is not remembered."""
    before = len(scopes.teams)
    for number in range(5):
        asyncio.run(team(f"crew{number}").run(task="go"))
    gc.collect()
    assert len(scopes.teams) <= before + 1


@dataclass
class Question:
    """A message of AutoGen's core."""

    text: str


class Asks(RoutedAgent):
    """An agent of AutoGen's core that asks a model."""

    @message_handler
    async def on_question(self, message: Question, ctx: MessageContext) -> None:
        """Ask."""
        await Scripted().create([])


def test_agents_of_the_core(spans: ReadSpans) -> None:
    """A model called by an agent of the core, without a team, is billed to the context of its runtime."""

    async def main() -> None:
        runtime = SingleThreadedAgentRuntime()
        await Asks.register(runtime, "asks", lambda: Asks("asks"))
        async with aforo_sdk.session("s-1", customer_id="globex"):
            runtime.start()
            await runtime.send_message(Question("hello"), AgentId("asks", "default"))
            await runtime.stop_when_idle()

    asyncio.run(main())
    assert spans().one("chat")["aforo.session.id"] == "s-1"


def test_concurrent_sessions(spans: ReadSpans) -> None:
    """Two customers served at once in one loop are billed each for its own calls."""

    async def serve(customer: str) -> None:
        async with aforo_sdk.session(f"s-{customer}", customer_id=customer):
            for _ in range(3):
                await team(customer).run(task="go")

    async def main() -> None:
        await asyncio.gather(serve("acme"), serve("globex"))

    asyncio.run(main())
    seen = billed(spans())
    assert len(seen) == 30
    assert all(span["aforo.session.id"] == f"s-{span['aforo.customer.id']}" for span in seen)


def test_threads(spans: ReadSpans) -> None:
    """Loops in many threads keep their runs apart."""

    def serve(number: int) -> None:
        with aforo_sdk.session(f"s-{number}"):
            asyncio.run(team(f"crew{number}").run(task="go"))

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = billed(spans())
    assert len(seen) == 20
    assert len({(span.trace, span["aforo.session.id"]) for span in seen}) == 4


def test_runs_join_the_call_around_them(spans: ReadSpans) -> None:
    """A run inside a decorated function hangs under that function's span."""

    @aforo_sdk.step(name="outer")
    async def work() -> None:
        await team("crew").run(task="go")

    asyncio.run(work())
    seen = spans()
    (outer,) = [span for span in seen if "outer" in span.name]
    assert (seen.one("invoke_workflow crew").parent, seen.one("invoke_workflow crew").trace) == (
        outer.id,
        outer.trace,
    )


def test_native_spans_can_be_folded(spans: ReadSpans, monkeypatch: Any) -> None:
    """AutoGen's own spans share our trace and our tool call ids."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    async def main() -> None:
        with provider.get_tracer("app").start_as_current_span("request"):
            await team("crew").run(task="go")

    asyncio.run(main())
    native = {span.name: span for span in exporter.get_finished_spans()}
    ours = spans().one("execute_tool lookup")
    theirs = native["execute_tool lookup"]
    assert ours["gen_ai.tool.call.id"] == theirs.attributes["gen_ai.tool.call.id"] == "call-0"
    assert ours.trace == f"{theirs.context.trace_id:032x}" == f"{native['request'].context.trace_id:032x}"
    assert spans().one("invoke_workflow crew").parent == f"{native['request'].context.span_id:016x}"
