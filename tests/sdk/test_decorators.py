"""Decorated functions behave as before, and each call is one span under the right parent."""

import asyncio
import gc
import inspect
import random
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import aforo_sdk
import pytest
from aforo_sdk import plugin
from opentelemetry import baggage, trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tests.sdk.sink import Sink, attributes_of


@aforo_sdk.tool
def search(query: str, *, limit: int = 3) -> str:
    """Search."""
    return query * limit


@aforo_sdk.tool(name="paid", cost="0.01")
def paid() -> int:
    """Cost something."""
    return 1


@aforo_sdk.tool
async def fetch(value: int) -> int:
    """Fetch."""
    await asyncio.sleep(0)
    return value


@aforo_sdk.step
def plan() -> str:
    """Plan."""
    return search("a")


@aforo_sdk.agent(name="researcher")
def research() -> str:
    """Research."""
    paid()
    return plan()


def delivered(sink: Sink) -> dict[str, Span]:
    """The delivered spans by name."""
    assert aforo_sdk.flush(10.0)
    return {span.name: span for span in sink.spans}


def test_functions_stay_what_they_are(metered: Sink) -> None:
    """Name, signature, documentation, kind and result are those of the function."""
    assert (search.__name__, search.__doc__) == ("search", "Search.")
    assert str(inspect.signature(search)) == "(query: str, *, limit: int = 3) -> str"
    assert search("ab", limit=2) == "abab"
    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.run(fetch(7)) == 7
    assert inspect.isgeneratorfunction(aforo_sdk.tool(count_to))
    assert inspect.isasyncgenfunction(aforo_sdk.tool(stream_to))


def test_spans_nest_and_carry_what_is_known(metered: Sink) -> None:
    """Agent, step and tools form one tree with the attributes of the conventions."""
    with aforo_sdk.session("s-1"):
        research()
    found = delivered(metered)
    root = found["invoke_agent researcher"]
    assert root.parent_span_id == b""
    assert found["execute_tool paid"].parent_span_id == root.span_id
    assert found["step plan"].parent_span_id == root.span_id
    assert found["execute_tool search"].parent_span_id == found["step plan"].span_id
    assert len({span.trace_id for span in found.values()}) == 1
    assert attributes_of(found["execute_tool paid"]) == {
        "aforo.customer.id": "acme",
        "aforo.session.id": "s-1",
        "aforo.product.type": "AGENTIC_API",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "paid",
        "gen_ai.agent.name": "researcher",
        "aforo.provider_cost": "0.01",
    }
    assert attributes_of(root)["gen_ai.operation.name"] == "invoke_agent"
    assert attributes_of(found["step plan"])["aforo.step.type"] == "plan"
    for span in found.values():
        assert span.kind == Span.SPAN_KIND_INTERNAL
        assert span.status.code == Status.STATUS_CODE_UNSET
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano


def test_exceptions_pass_untouched(metered: Sink) -> None:
    """The caller gets the same exception object; the span has its type and message."""
    error = LookupError("nothing there")

    @aforo_sdk.tool
    def failing() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        failing()
    assert caught.value is error
    span = delivered(metered)["execute_tool failing"]
    assert attributes_of(span)["error.type"] == "LookupError"
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "nothing there")


def test_a_coroutine_that_is_handed_on_is_the_call(metered: Sink) -> None:
    """A plain function that returns a coroutine, or an object whose call is one, has ended when that has: its
    error is the call's, and what runs inside hangs there.
    """

    async def fails() -> None:
        search("a")
        raise LookupError("nothing there")

    class Failing:
        async def __call__(self) -> None:
            await fails()

    def plain() -> Coroutine[Any, Any, None]:
        return fails()

    async def main() -> None:
        for call in (aforo_sdk.tool(plain), aforo_sdk.tool("object")(Failing())):
            with pytest.raises(LookupError):
                await call()

    asyncio.run(main())
    assert aforo_sdk.flush(10.0)
    spans = metered.spans
    for inner, outer in (spans[:2], spans[2:]):
        assert inner.parent_span_id == outer.span_id
        assert attributes_of(outer)["error.type"] == "LookupError"
    assert [span.name for span in spans[1::2]] == ["execute_tool plain", "execute_tool object"]


def test_cancellation_is_an_error_of_its_own_type(metered: Sink) -> None:
    """A cancelled or timed-out call is closed with `error.type`, and stays cancelled."""

    @aforo_sdk.tool
    async def slow() -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        async with asyncio.timeout(0.01):
            await slow()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    span = delivered(metered)["execute_tool slow"]
    assert attributes_of(span)["error.type"] == "asyncio.exceptions.CancelledError"


def count_to(stop: int) -> Iterator[int]:
    """Count, and let the caller set the number."""
    number = 0
    while number < stop:
        sent = yield number
        number = number + 1 if sent is None else sent
        search("inside")


async def stream_to(stop: int) -> AsyncIterator[int]:
    """Count, asynchronously."""
    for number in range(stop):
        await asyncio.sleep(0)
        search("inside")
        yield number


def test_generators_keep_their_protocol(metered: Sink) -> None:
    """Items, `send`, `throw`, `close` and the returned value work as without the decorator."""

    @aforo_sdk.tool
    def conversation() -> Iterator[str]:
        heard = yield "hello"
        try:
            yield f"you said {heard}"
        except ValueError as error:
            yield f"caught {error}"
        return "bye"

    talk = conversation()
    assert next(talk) == "hello"
    assert talk.send("hi") == "you said hi"  # type: ignore[attr-defined]
    assert talk.throw(ValueError("oops")) == "caught oops"  # type: ignore[attr-defined]
    with pytest.raises(StopIteration) as stop:
        next(talk)
    assert stop.value.value == "bye"
    assert delivered(metered)["execute_tool conversation"].status.code == Status.STATUS_CODE_UNSET


def test_a_generators_span_does_not_enclose_its_caller(metered: Sink) -> None:
    """What runs inside the generator is its child; what the caller does between items is not."""
    for _ in aforo_sdk.agent(count_to)(2):
        assert plugin.current_parent() is None
    found = delivered(metered)
    assert found["execute_tool search"].parent_span_id == found["invoke_agent count_to"].span_id


def _who() -> str | None:
    return plugin.current_identity().customer_id


@pytest.mark.parametrize("reads", ["decorated", "wrapped"])
def test_a_session_that_a_generator_opens_is_its_own(metered: Sink, reads: str) -> None:
    """It holds in the generator until its block ends, whoever has the thread in between, and never outside."""

    def items() -> Iterator[str | None]:
        with aforo_sdk.session("inner", customer_id="inner"):
            yield _who()
            yield _who()
        yield _who()

    async def aitems() -> AsyncIterator[str | None]:
        with aforo_sdk.session("inner", customer_id="inner"):
            yield _who()
            yield _who()
        yield _who()

    async def read() -> list[tuple[str | None, str | None]]:
        return [(inside, _who()) async for inside in meter(aitems)()]

    meter: Any = aforo_sdk.tool if reads == "decorated" else aforo_sdk.session("s", "outer").wrap
    with aforo_sdk.session("outer", customer_id="outer"):
        expected = [("inner", "outer"), ("inner", "outer"), ("outer", "outer")]
        assert [(inside, _who()) for inside in meter(items)()] == expected
        assert asyncio.run(read()) == expected
        left_open = meter(items)()
        next(left_open)
        left_open.close()
        assert _who() == "outer"
    assert (_who(), baggage.get_all()) == ("acme", {})
    assert aforo_sdk.flush(10.0)


@pytest.mark.parametrize("how", ["close", "collect", "exhaust"])
def test_generators_end_once(metered: Sink, how: str) -> None:
    """A generator's span ends when it is exhausted, closed, or collected while open; never as an error."""
    generator = aforo_sdk.tool(count_to)(3)
    next(generator)
    if how == "close":
        generator.close()  # type: ignore[attr-defined]
    elif how == "exhaust":
        list(generator)
    del generator
    gc.collect()
    assert aforo_sdk.flush(10.0)
    assert metered.names.count("execute_tool count_to") == 1
    assert metered.span("execute_tool count_to").status.code == Status.STATUS_CODE_UNSET


@pytest.mark.parametrize("stop_after", [1, 99])
def test_async_generators_end_once(metered: Sink, stop_after: int) -> None:
    """An async generator's span ends when it is exhausted or closed, with its inner calls below it."""

    async def main() -> list[int]:
        got = []
        stream = aforo_sdk.agent(stream_to)(3)
        async for number in stream:
            got.append(number)
            assert plugin.current_parent() is None
            if len(got) == stop_after:
                await stream.aclose()  # type: ignore[attr-defined]
        return got

    assert asyncio.run(main()) == [0, 1, 2][:stop_after]
    assert aforo_sdk.flush(10.0)
    root = metered.span("invoke_agent stream_to")
    assert root.status.code == Status.STATUS_CODE_UNSET
    inner = [span for span in metered.spans if span.name == "execute_tool search"]
    assert {span.parent_span_id for span in inner} == {root.span_id}


def test_methods_of_all_kinds(metered: Sink) -> None:
    """Methods, static methods and class methods can be decorated, in either order."""

    class Agent:
        @aforo_sdk.tool
        def bound(self) -> str:
            return type(self).__name__

        @aforo_sdk.tool
        @staticmethod
        def static() -> str:
            return "static"

        @aforo_sdk.tool
        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

    assert (Agent().bound(), Agent().static(), Agent.of_class()) == ("Agent", "static", "Agent")
    assert set(delivered(metered)) == {"execute_tool bound", "execute_tool static", "execute_tool of_class"}


@pytest.mark.parametrize(("flags", "joined"), [(TraceFlags.SAMPLED, True), (TraceFlags.DEFAULT, False)])
def test_the_ambient_span_is_the_parent_if_sampled(metered: Sink, flags: int, joined: bool) -> None:
    """A sampled span of the application is the parent; an unsampled one is not, but nothing is lost."""
    ambient = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(flags))
    with trace.use_span(NonRecordingSpan(ambient)):
        search("a")
    span = delivered(metered)["execute_tool search"]
    assert (int.from_bytes(span.trace_id, "big") == 0xABC) is joined
    assert span.parent_span_id == ((0xDEF).to_bytes(8, "big") if joined else b"")


def test_a_cost_that_is_no_number_is_left_out(metered: Sink) -> None:
    """A wrong cost neither raises nor bills."""

    @aforo_sdk.tool(cost="cheap")
    def tool() -> int:
        return 1

    assert tool() == 1
    assert "aforo.provider_cost" not in attributes_of(delivered(metered)["execute_tool tool"])


def test_a_seeded_program_has_ids_of_its_own() -> None:
    """`random.seed(0)` in the program does not make ids repeat, and trace ids sort by time."""
    random.seed(0)
    first = [plugin.new_span_id() for _ in range(100)]
    random.seed(0)
    assert not set(first) & {plugin.new_span_id() for _ in range(100)}
    one, other = plugin.new_trace_id(), plugin.new_trace_id()
    assert one >> 80 <= other >> 80
    assert 0 < one < 1 << 128
