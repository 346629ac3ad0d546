"""`@metered_tool` leaves a function what it is, whatever it is."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import aforo_sdk
import fastmcp
import pytest
from aforo_mcp import metered_tool, report_cost
from pydantic import BaseModel, Field

from tests.plugins.mcp.clients import connect
from tests.plugins.mcp.servers import MCPServer, build
from tests.plugins.spool import ReadSpans


class Place(BaseModel):
    """An argument with parts."""

    city: str


async def forecast(
    place: Place, days: Annotated[int, Field(description="how many", ge=1)] = 3
) -> dict[str, int]:
    """Tell the weather."""
    return {place.city: days}


def later(place: "Place") -> str:
    """Have an annotation that is resolved by its name."""
    return place.city


class Callable:
    """A tool that is an object."""

    async def __call__(self, a: int) -> str:
        """Answer."""
        return str(a)


class Kit:
    """Tools that are methods."""

    @metered_tool
    def bound(self, a: int) -> int:
        """Take the object."""
        return a

    @metered_tool(name="static")
    @staticmethod
    def static(a: int) -> int:
        """Take nothing."""
        return a

    @metered_tool()
    @classmethod
    def of_class(cls, a: int) -> int:
        """Take the class."""
        return a


@pytest.mark.parametrize("function", [forecast, later])
@pytest.mark.parametrize("make", [MCPServer, fastmcp.FastMCP], ids=["sdk", "fastmcp"])
def test_the_schema_is_the_functions_own(make: Any, function: Any) -> None:
    """A server lists a decorated function exactly as it lists the plain one."""

    def listed(tool: Any) -> list[Any]:
        server = make("tools")
        server.tool()(tool)
        return [
            {key: value for key, value in dict(tool).items() if key != "fn"}
            for tool in asyncio.run(server.list_tools())
        ]

    assert listed(metered_tool(function)) == listed(function)
    assert inspect.signature(metered_tool(function)) == inspect.signature(function)
    assert (metered_tool(function).__name__, metered_tool(function).__doc__) == (
        function.__name__,
        function.__doc__,
    )


def test_every_kind_of_callable(spans: ReadSpans) -> None:
    """Methods, static and class methods, partials and objects are metered under their own names."""
    kit = Kit()
    assert [kit.bound(1), Kit.static(2), Kit.of_class(3)] == [1, 2, 3]
    assert metered_tool(functools.partial(later))(Place(city="Rome")) == "Rome"
    assert asyncio.run(metered_tool(Callable())(5)) == "5"
    assert [span["gen_ai.tool.name"] for span in spans()] == [
        "bound",
        "static",
        "of_class",
        "later",
        "Callable",
    ]


def test_a_coroutine_that_is_handed_on_is_the_call(spans: ReadSpans) -> None:
    """A plain function that returns a coroutine has ended when that has: as that failed, with what it reported."""

    async def inner(city: str) -> str:
        report_cost("0.25")
        await asyncio.sleep(0)
        raise TimeoutError(city)

    @functools.wraps(inner)
    def outer(city: str) -> Any:
        return inner(city)

    async def call() -> None:
        async with connect(server) as call_tool:
            await call_tool("slow", {"city": "Rome"})

    server = fastmcp.FastMCP("tools")
    server.tool(name="slow")(metered_tool("slow")(outer))
    asyncio.run(call())
    (span,) = spans()
    assert (span["error.type"], span["aforo.provider_cost"]) == ("TimeoutError", "0.25")


def test_generators(spans: ReadSpans) -> None:
    """A generator stays one, and its call lasts until it is exhausted."""

    @metered_tool(cost="0.5")
    def count() -> Iterator[int]:
        yield 1
        report_cost(1)
        yield 2

    @metered_tool
    async def count_slowly() -> AsyncIterator[int]:
        yield 1
        raise LookupError

    async def listen() -> None:
        async for _ in count_slowly():
            pass

    assert list(count()) == [1, 2]
    with pytest.raises(LookupError):
        asyncio.run(listen())
    first, second = spans()
    assert (first["aforo.provider_cost"], second["error.type"]) == ("1", "LookupError")


def test_generators_do_not_enclose_their_caller(spans: ReadSpans) -> None:
    """What a generator meters hangs under its call; what its caller does between items does not."""

    @metered_tool(customer_id="globex")
    def count() -> Iterator[int]:
        for number in range(2):
            aforo_sdk.step("inside")(str)(number)
            yield number

    @metered_tool(customer_id="globex")
    async def count_slowly() -> AsyncIterator[int]:
        for number in count():
            yield number

    async def listen() -> None:
        async for number in count_slowly():
            aforo_sdk.step("between")(str)(number)

    for number in count():
        aforo_sdk.step("between")(str)(number)
    asyncio.run(listen())
    seen = spans()
    between, inside = seen.named("step between"), seen.named("step inside")
    assert [(span.parent, span["aforo.customer.id"]) for span in between] == [("", "acme")] * 4
    assert [seen.path(span)[-2] for span in inside] == [
        *["tools/call count"] * 2, *["tools/call count_slowly"] * 2,
    ]  # fmt: skip
    assert {span["aforo.customer.id"] for span in inside} == {"globex"}


def test_the_name_that_is_billed(spans: ReadSpans) -> None:
    """It is the one given, else the one that the client called where that is known, else the function's."""

    async def main() -> None:
        server = build("sdk-decorated")
        server.tool(name="weather")(metered_tool("billed")(forecast))
        async with connect(server) as call:
            await call("weather", {"place": {"city": "Rome"}})

    asyncio.run(main())
    assert [span.name for span in spans()] == ["tools/call billed"]


def test_fixed_cost(spans: ReadSpans, caplog: pytest.LogCaptureFixture) -> None:
    """`cost` stands for a call that reports none, whatever becomes of it; nonsense is left out and said."""

    @metered_tool(cost="0.01")
    def fixed(fails: bool) -> None:
        if fails:
            raise LookupError

    @metered_tool(cost="0.01")
    def stated() -> dict[str, float]:
        return {"total_provider_cost": 0.5}

    @metered_tool(cost="a lot")
    def wrong() -> None:
        return None

    fixed(False)
    with pytest.raises(LookupError):
        fixed(True)
    stated()
    wrong()
    assert [span["aforo.provider_cost"] for span in spans()] == ["0.01", "0.01", "0.5", None]
    assert "not an amount of USD" in caplog.text


def test_functions_inside_are_parts_of_the_call(spans: ReadSpans) -> None:
    """A metered function that a tool calls is no call of its own, and its cost is added to the call's."""

    @metered_tool(cost="0.01")
    def look_up() -> dict[str, str]:
        return {"total_provider_cost": "0.25"}

    @metered_tool
    async def answer() -> str:
        look_up()
        await asyncio.to_thread(look_up)
        return "ok"

    assert asyncio.run(answer()) == "ok"
    (span,) = spans()
    assert (span.name, span["aforo.provider_cost"]) == ("tools/call answer", "0.50")


def test_exceptions_pass(spans: ReadSpans) -> None:
    """The caller gets the very exception that the function raised, with no frame lost."""
    error = KeyError("k")

    @metered_tool
    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        fail()
    assert caught.value is error
    (span,) = spans()
    assert (span["error.type"], span.message) == ("KeyError", "KeyError")
