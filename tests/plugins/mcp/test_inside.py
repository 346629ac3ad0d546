"""What runs inside of a tool hangs under the tool's span and is for the payer of its request."""

import asyncio
from collections.abc import Callable
from typing import Any

import aforo_sdk
import fastmcp
import pytest
from aforo_langchain import AforoCallbackHandler
from aforo_mcp import AforoMiddleware, metered_tool
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool as langchain_tool

from tests.plugins.mcp.clients import connect
from tests.plugins.mcp.servers import KINDS, MCPServer
from tests.plugins.spool import ReadSpans, Spans

META = {"customerId": "globex", "sessionId": "s-1", "agentId": "a-1"}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@langchain_tool
def look_up(city: str) -> str:
    """Look a city up."""
    return city


@aforo_sdk.tool
def convert(amount: str) -> str:
    """Convert an amount of money."""
    return amount


def chain() -> Any:
    """A chain with a tool call and a model call, metered by the handler."""
    model = FakeListChatModel(responses=["done"])
    asked = RunnableLambda(lambda city: look_up.invoke({"city": city}))
    return (asked | model).with_config(callbacks=[AforoCallbackHandler()], run_name="research")


def ask(city: str) -> str:
    """Run a chain."""
    return str(chain().invoke(city).content) + convert("7 NOK")


async def ask_slowly(city: str) -> str:
    """Run a chain, and a decorated tool in a thread."""
    answer = await chain().ainvoke(city)
    return str(answer.content) + await asyncio.to_thread(convert, "7 NOK")


def serve(kind: str, function: Callable[..., Any]) -> Any:
    """Return a server of this kind with one tool."""
    framework, _, how = kind.partition("-")
    middleware = [] if how == "decorated" else [AforoMiddleware()]
    options: Any = {"middleware": middleware} if middleware else {}
    server: Any = fastmcp.FastMCP("t", **options) if framework == "fastmcp" else MCPServer("t", **options)
    server.tool()(function if how == "middleware" else metered_tool(function))
    return server


def check(seen: Spans, name: str) -> None:
    """One tree: the tool, and in it the chain with its steps and the decorated tool; all for one payer."""
    outer = seen.one(f"tools/call {name}")
    inner = seen.one("execute_tool look_up")
    assert seen.path(inner)[0] == outer.name
    assert seen.path(inner)[-1] == "execute_tool look_up"
    (model,) = [span for span in seen if span["gen_ai.operation.name"] == "chat"]
    assert seen.path(model)[0] == outer.name
    assert seen.one("execute_tool convert").parent == outer.id
    assert {span.trace for span in seen} == {outer.trace}
    told = {tuple(span[f"aforo.{key}.id"] for key in ("customer", "session", "agent")) for span in seen}
    assert told == {("globex", "s-1", "a-1")}
    assert (inner["aforo.step.index"], model["aforo.step.index"]) == (0, 1)


@pytest.mark.parametrize("function", [ask, ask_slowly])
@pytest.mark.parametrize("kind", KINDS)
def test_another_framework_inside_a_tool(spans: ReadSpans, kind: str, function: Callable[..., Any]) -> None:
    """A chain of LangChain's and a decorated function inside a tool are a part of its tree, on its bill, even
    if the process has a session of its own around the server.
    """

    async def main() -> None:
        async with connect(serve(kind, function)) as call:
            result = await call(function.__name__, {"city": "Oslo"}, META | {"traceparent": TRACEPARENT})
            assert result.content[0].text == "done7 NOK"

    with aforo_sdk.session("process", customer_id="host"):
        asyncio.run(main())
    seen = Spans(span for span in spans() if span.name != "session_end")
    check(seen, function.__name__)
    assert {span.trace for span in seen} == {TRACEPARENT.split("-")[1]}


def test_calls_at_once_keep_to_themselves(spans: ReadSpans) -> None:
    """Of many calls at once each has its own tree and its own payer."""

    async def main() -> None:
        async with connect(serve("fastmcp-both", ask_slowly)) as call:
            payers = [META | {"customerId": f"c-{number}"} for number in range(20)]
            await asyncio.gather(*[call("ask_slowly", {"city": "Oslo"}, payer) for payer in payers])

    asyncio.run(main())
    seen = spans()
    calls = seen.named("tools/call ask_slowly")
    payer_of = {span.trace: span["aforo.customer.id"] for span in calls}
    assert len(set(payer_of.values())) == len(payer_of) == 20
    assert all(span["aforo.customer.id"] == payer_of[span.trace] for span in seen)
    assert len(seen) == 20 * len([span for span in seen if span.trace == calls[0].trace])


def test_a_part_of_a_call_stays_where_it_runs(spans: ReadSpans) -> None:
    """A metered function inside a decorated one, inside a tool, hands down the nearest span, and its payer."""

    @metered_tool(customer_id="umbrella")
    def part() -> str:
        return convert("1")

    @aforo_sdk.step
    def step() -> str:
        return part()

    @metered_tool
    def whole() -> str:
        return step()

    assert whole() == "1"
    seen = spans()
    assert seen.path(seen.one("execute_tool convert")) == [
        "tools/call whole",
        "step step",
        "execute_tool convert",
    ]
    assert seen.one("execute_tool convert")["aforo.customer.id"] == "umbrella"


def test_nothing_is_left_behind(spans: ReadSpans) -> None:
    """After a tool, and after one that failed, spans stand alone again."""

    @metered_tool(customer_id="globex")
    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        fail()
    convert("1")
    last = spans()[-1]
    assert (last.parent, last["aforo.customer.id"]) == ("", "acme")
