"""Every tool call once, whoever hands it on."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Handoff
from autogen_agentchat.tools import AgentTool
from autogen_core import CancellationToken
from autogen_core.tools import (
    BaseStreamTool,
    BaseTool,
    FunctionTool,
    StaticStreamWorkbench,
    StaticWorkbench,
    ToolOverride,
    ToolResult,
    Workbench,
)
from pydantic import BaseModel

from tests.plugins.autogen.clients import Scripted, asks, drained, says
from tests.plugins.spool import ReadSpans

TOKEN = CancellationToken()


class City(BaseModel):
    """Arguments of the tools."""

    city: str


async def lookup(city: str) -> str:
    """Look a city up."""
    return city


def fails(city: str) -> str:
    """Fail."""
    raise KeyError(city)


class Counter(BaseStreamTool[City, City, City]):
    """A tool that streams."""

    def __init__(self) -> None:
        super().__init__(City, City, "counter", "Counts.")

    async def run(self, args: City, cancellation_token: CancellationToken) -> City:
        """Give the last."""
        return args

    async def run_stream(
        self, args: City, cancellation_token: CancellationToken
    ) -> AsyncGenerator[City, None]:
        """Give both."""
        yield args
        yield args


def tool(function: Any) -> FunctionTool:
    """A tool of a function."""
    return FunctionTool(function, description="A tool.")


def test_parallel_tools_one_fails(spans: ReadSpans) -> None:
    """Tools asked for together are calls of their own with their own ids; the failing one says how."""
    model = Scripted(asks(("lookup", '{"city":"Oslo"}'), ("fails", '{"city":"Oslo"}')), says())
    agent = AssistantAgent("researcher", model, tools=[lookup, fails], reflect_on_tool_use=True)
    asyncio.run(agent.run(task="go"))
    seen = spans()
    good, bad = seen.one("execute_tool lookup"), seen.one("execute_tool fails")
    assert (good["gen_ai.tool.call.id"], good.failed) == ("call-0", False)
    assert (bad["gen_ai.tool.call.id"], bad["error.type"], bad.message) == ("call-1", "KeyError", "KeyError")
    assert {good.parent, bad.parent} == {seen.one("invoke_agent researcher").id}
    assert sorted(span["aforo.step.index"] for span in seen if span["aforo.step.type"]) == [0, 1, 2, 3]
    assert [span["aforo.step.type"] for span in seen.named("chat")] == ["MODEL_CALL", "FINAL_ANSWER"]


def test_a_workbench_and_its_tool_are_one_call(spans: ReadSpans) -> None:
    """A workbench that runs a tool is one call, under the name by which it was asked."""
    bench = StaticWorkbench([tool(lookup)], {"lookup": ToolOverride(name="find")})
    asyncio.run(bench.call_tool("find", {"city": "Oslo"}, call_id="c-1"))
    asyncio.run(bench.call_tool("find", {"city": "Oslo"}))
    asyncio.run(bench.call_tool("nothing", {}))
    assert [(span.name, span["gen_ai.tool.call.id"], span["error.type"]) for span in spans()] == [
        ("execute_tool find", "c-1", None),
        ("execute_tool find", None, None),
        ("execute_tool nothing", None, "tool_error"),
    ]


class Forwarding(StaticWorkbench):
    """A workbench that hands its calls on to another, without their id."""

    def __init__(self, inner: Workbench) -> None:
        super().__init__([])
        self.inner = inner

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        """Hand on."""
        return await self.inner.call_tool(name, arguments, cancellation_token)


def test_workbenches_in_workbenches(spans: ReadSpans) -> None:
    """A call that goes through two workbenches is one call; its failure is that of the tool."""
    bench = Forwarding(Forwarding(StaticWorkbench([tool(lookup), tool(fails)])))
    asyncio.run(bench.call_tool("lookup", {"city": "Oslo"}, call_id="c-1"))
    asyncio.run(bench.call_tool("fails", {"city": "Oslo"}, call_id="c-2"))
    assert [(span.name, span["gen_ai.tool.call.id"], span["error.type"]) for span in spans()] == [
        ("execute_tool lookup", "c-1", None),
        ("execute_tool fails", "c-2", "KeyError"),
    ]


def test_a_tool_that_calls_tools(spans: ReadSpans) -> None:
    """Tools that a tool calls are calls of their own, inside it."""
    inner = tool(lookup)

    async def outer(city: str) -> str:
        """Look up twice."""
        await inner.run_json({"city": city}, TOKEN)
        return str(await inner.run_json({"city": city}, TOKEN))

    asyncio.run(StaticWorkbench([tool(outer)]).call_tool("outer", {"city": "Oslo"}))
    seen = spans()
    assert [span.parent for span in seen.named("execute_tool lookup")] == [
        seen.one("execute_tool outer").id
    ] * 2


class Polite(BaseTool[City, str]):
    """A tool that overrides `run_json` and calls its parent's."""

    def __init__(self) -> None:
        super().__init__(City, str, "polite", "Polite.")

    async def run(self, args: City, cancellation_token: CancellationToken) -> str:
        """Answer."""
        return args.city

    async def run_json(
        self, args: Mapping[str, Any], cancellation_token: CancellationToken, call_id: str | None = None
    ) -> Any:
        """Answer politely."""
        return await super().run_json(args, cancellation_token)


def test_super_is_one_call(spans: ReadSpans) -> None:
    """A tool that calls its parent's method is one call."""
    asyncio.run(Polite().run_json({"city": "Oslo"}, TOKEN, "c-1"))
    assert spans().one("execute_tool polite")["gen_ai.tool.call.id"] == "c-1"


def test_streaming_tools(spans: ReadSpans) -> None:
    """A tool that streams is one call, alone or in a workbench."""
    asyncio.run(drained(Counter().run_json_stream({"city": "Oslo"}, TOKEN, call_id="c-1")))
    bench = StaticStreamWorkbench([Counter(), tool(fails)])
    asyncio.run(drained(bench.call_tool_stream("counter", {"city": "Oslo"}, call_id="c-2")))
    asyncio.run(drained(bench.call_tool_stream("fails", {"city": "Oslo"}, call_id="c-3")))
    assert [(span.name, span["gen_ai.tool.call.id"], span["error.type"]) for span in spans()] == [
        ("execute_tool counter", "c-1", None),
        ("execute_tool counter", "c-2", None),
        ("execute_tool fails", "c-3", "KeyError"),
    ]


def test_handoffs(spans: ReadSpans) -> None:
    """The tool with which an agent passes the word is a hand-off, under any name."""
    model = Scripted(asks(("to_the_boss", "{}")), says())
    agent = AssistantAgent("clerk", model, handoffs=[Handoff(target="boss", name="to_the_boss")])
    asyncio.run(agent.run(task="go"))
    assert spans().one("execute_tool to_the_boss")["aforo.step.type"] == "HANDOFF"


def test_agents_as_tools(spans: ReadSpans) -> None:
    """An agent behind a tool hangs under the tool's call, in the same trace, under its own name."""
    inner = AssistantAgent("helper", Scripted(says("inner", (3, 1))), description="Helps.")
    outer = AssistantAgent(
        "boss", Scripted(asks(("helper", '{"task":"x"}')), says()), tools=[AgentTool(inner)]
    )
    asyncio.run(outer.run(task="go"))
    seen = spans()
    (call,) = [span for span in seen.named("chat") if span["gen_ai.agent.name"] == "helper"]
    assert seen.path(call) == ["invoke_agent boss", "execute_tool helper", "invoke_agent helper", "chat"]
    assert seen.one("execute_tool helper")["gen_ai.agent.name"] == "boss"


def test_a_cancelled_tool(spans: ReadSpans) -> None:
    """A tool that is cancelled says so."""

    async def slow(city: str) -> str:
        """Take long."""
        await asyncio.sleep(60)
        return city

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tool(slow).run_json({"city": "Oslo"}, CancellationToken()), 0.05)

    asyncio.run(main())
    assert spans().one("execute_tool slow")["error.type"] == "CancelledError"


SERVER = """
from mcp.server.fastmcp import FastMCP
server = FastMCP("cities", log_level="ERROR")
@server.tool()
def lookup(city: str) -> str:
    if city == "Atlantis":
        raise ValueError(city)
    return city
server.run()
"""


def test_mcp_workbench(spans: ReadSpans) -> None:
    """The tools of an MCP server are calls like any other, listing them is none."""
    try:
        from autogen_ext.tools.mcp import McpWorkbench, StdioServerParams
    except ImportError:
        pytest.skip("autogen-ext does not work with this MCP SDK")

    async def main() -> None:
        server = StdioServerParams(command=sys.executable, args=["-c", SERVER])
        async with McpWorkbench(server) as bench:
            await bench.list_tools()
            await bench.call_tool("lookup", {"city": "Oslo"}, call_id="c-1")
            await bench.call_tool("lookup", {"city": "Atlantis"}, call_id="c-2")

    asyncio.run(main())
    assert [(span.name, span["gen_ai.tool.call.id"], span["error.type"]) for span in spans()] == [
        ("execute_tool lookup", "c-1", None),
        ("execute_tool lookup", "c-2", "tool_error"),
    ]
