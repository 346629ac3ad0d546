"""What another framework does inside of a tool hangs under the tool's span and is for the same payer."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aforo_autogen
import aforo_sdk
import pytest
from aforo_langchain import AforoCallbackHandler
from autogen_agentchat.agents import AssistantAgent
from autogen_core import CancellationToken
from autogen_core.tools import BaseStreamTool, FunctionTool
from langchain_core.language_models import FakeListChatModel

from tests.plugins.autogen.clients import Scripted, asks, says
from tests.plugins.autogen.test_tools import TOKEN, City
from tests.plugins.spool import ReadSpans


def model() -> Any:
    """A model of LangChain's, metered by the handler."""
    return FakeListChatModel(responses=["done"]).with_config(callbacks=[AforoCallbackHandler()])


@aforo_sdk.tool
def convert(amount: str) -> str:
    """Convert an amount of money."""
    return amount


async def awaits(city: str) -> str:
    """Ask a model of another framework."""
    await model().ainvoke(city)
    return convert(city)


def blocks(city: str) -> str:
    """Ask a model of another framework in the thread that AutoGen runs plain functions in."""
    model().invoke(city)
    return convert(city)


def blocks_until(city: str, cancellation_token: CancellationToken) -> str:
    """The same, as a function that can be cancelled."""
    assert not cancellation_token.is_cancelled()
    return blocks(city)


class Streams(BaseStreamTool[City, City, City]):
    """A tool that streams, and meters something for every item."""

    def __init__(self) -> None:
        super().__init__(City, City, "streams", "Streams.")

    async def run(self, args: City, cancellation_token: CancellationToken) -> City:
        """Give the last."""
        return args

    async def run_stream(
        self, args: City, cancellation_token: CancellationToken
    ) -> AsyncGenerator[City, None]:
        """Give two."""
        for _ in range(2):
            convert(args.city)
            yield args


@pytest.mark.parametrize("function", [awaits, blocks, blocks_until])
def test_another_framework_inside_a_tool(spans: ReadSpans, function: Callable[..., Any]) -> None:
    """A model call of LangChain's and a decorated function inside a tool are a part of the tool's tree, for the
    payer of the run and in the name of its agent, in whatever thread.
    """
    aforo_autogen.instrument(customer_id="globex", session_id="s-1")
    name = function.__name__
    script = Scripted(asks((name, '{"city":"Oslo"}'), (name, '{"city":"Rome"}')), says())
    agent = AssistantAgent("guide", script, tools=[function], reflect_on_tool_use=True)
    asyncio.run(agent.run(task="go"))
    seen = spans()
    both = seen.named(f"execute_tool {name}")
    assert len(both) == 2
    for outer in both:
        inner = seen.under(outer)
        assert sorted(span["gen_ai.operation.name"] for span in inner) == ["chat", "execute_tool"]
        (decorated,) = [span for span in inner if span.name == "execute_tool convert"]
        assert decorated["gen_ai.agent.name"] == "guide"
    assert {(span["aforo.customer.id"], span["aforo.session.id"]) for span in seen} == {("globex", "s-1")}
    assert len({span.trace for span in seen}) == 1
    assert len(seen) == 1 + 2 + 2 * 3


def test_only_while_the_tool_works(spans: ReadSpans) -> None:
    """What the reader of a stream does between its items is not inside of the tool."""

    async def main() -> None:
        async for _ in Streams().run_json_stream({"city": "Oslo"}, TOKEN):
            convert("outside")

    asyncio.run(main())
    seen = spans()
    outer = seen.one("execute_tool streams")
    converted = seen.named("execute_tool convert")
    assert [span.parent for span in converted] == [outer.id, ""] * 2


def test_tools_of_functions_stay_what_they_are(spans: ReadSpans) -> None:
    """A tool of a plain function is run with its own state, and is itself left alone."""
    seen: list[str] = []

    def keeps(city: str) -> str:
        """Keep a city."""
        seen.append(city)
        return city

    tool = FunctionTool(keeps, description="Keeps.")
    before = dict(vars(tool))
    assert asyncio.run(tool.run_json({"city": "Oslo"}, TOKEN)) == "Oslo"
    assert (seen, vars(tool)) == (["Oslo"], before)


def test_own_operations_keep_their_own_scope(spans: ReadSpans) -> None:
    """An agent inside a tool is metered once, inside of the tool, and numbers go on."""
    inner = AssistantAgent("archivist", Scripted(says()))

    async def research(topic: str) -> str:
        """Ask the archivist."""
        return str((await inner.run(task=topic)).messages[-1].content)  # type: ignore[union-attr]

    script = Scripted(asks(("research", '{"topic":"fjords"}')), says())
    asyncio.run(AssistantAgent("guide", script, tools=[research], reflect_on_tool_use=True).run(task="go"))
    seen = spans()
    path = seen.path(seen.under(seen.one("invoke_agent archivist"))[0])
    assert path == ["invoke_agent guide", "execute_tool research", "invoke_agent archivist", "chat"]
    assert sorted(span["aforo.step.index"] for span in seen if span["aforo.step.type"]) == [0, 1, 2, 3]
