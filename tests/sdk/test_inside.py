"""`plugin.Inside`: what runs inside of a plugin's span hangs under it and is for its payer."""

import asyncio
import contextvars
from collections.abc import Iterator

import aforo_sdk
import pytest
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tests.sdk.sink import Sink, attributes_of

TRACE, SPAN = 0xABC, 0xDEF
PAYER = Identity(customer_id="globex", session_id="s-1")


@aforo_sdk.tool
def search() -> None:
    """Search."""


def delivered(sink: Sink) -> list[Span]:
    """The delivered spans, in the order they were written."""
    assert aforo_sdk.flush(10.0)
    return sink.spans


def place(span: Span) -> tuple[int, int]:
    """Trace and parent of a span."""
    return int.from_bytes(span.trace_id, "big"), int.from_bytes(span.parent_span_id, "big")


def test_what_runs_inside_hangs_there_and_is_paid_there(metered: Sink) -> None:
    """Inside of a span its trace, payer and agent hold, over those of an enclosing session; outside not."""
    with aforo_sdk.session("outer", customer_id="acme"):
        with Inside(TRACE, SPAN, PAYER, "guide"):
            search()
        search()
    inner, outer = delivered(metered)
    told = attributes_of(inner)
    assert place(inner) == (TRACE, SPAN)
    assert (told["aforo.customer.id"], told["aforo.session.id"]) == ("globex", "s-1")
    assert told["gen_ai.agent.name"] == "guide"
    assert place(outer)[0] != TRACE
    assert attributes_of(outer)["aforo.customer.id"] == "acme"


def test_what_the_code_says_itself_wins(metered: Sink) -> None:
    """A session, an agent and a span of our own provider that the code opens inside are nearer than the span."""

    @aforo_sdk.agent("researcher")
    def research() -> None:
        search()

    tracer = aforo_sdk.tracer_provider().get_tracer("test")
    with Inside(TRACE, SPAN, PAYER), aforo_sdk.session("own", customer_id="umbrella"):
        research()
        with tracer.start_as_current_span("ours") as ours:
            search()
    in_agent, agent, in_ours, _ = delivered(metered)
    assert place(agent) == (TRACE, SPAN)
    assert in_agent.parent_span_id == agent.span_id
    assert attributes_of(in_agent)["gen_ai.agent.name"] == "researcher"
    assert attributes_of(in_agent)["aforo.customer.id"] == "umbrella"
    assert place(in_ours)[1] == ours.get_span_context().span_id


def test_ambient_spans_do_not_tear_the_tree() -> None:
    """A span of the application's own tracing, opened inside, is no parent: it may never be exported."""
    ambient = SpanContext(0x123, 0x456, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with Inside(TRACE, SPAN, PAYER), trace.use_span(NonRecordingSpan(ambient)):
        assert plugin.current_parent() == (TRACE, SPAN)
    assert plugin.current_parent() is None


def test_stretches(metered: Sink) -> None:
    """One object serves many stretches, and between them nothing of it is set."""
    inside = Inside(TRACE, SPAN, PAYER)
    for _ in range(2):
        with inside:
            search()
        assert plugin.current_parent() is None
    assert [place(span) for span in delivered(metered)] == [(TRACE, SPAN)] * 2


def test_tasks_and_threads_that_start_inside_stay_inside(metered: Sink) -> None:
    """The span travels where context variables do."""

    async def main() -> None:
        with Inside(TRACE, SPAN, PAYER):
            await asyncio.gather(asyncio.create_task(asyncio.sleep(0)), asyncio.to_thread(search))

    asyncio.run(main())
    assert [place(span) for span in delivered(metered)] == [(TRACE, SPAN)]


@pytest.mark.parametrize("moment", ["close", "collect"])
def test_a_stretch_that_ends_elsewhere(moment: str) -> None:
    """A stretch that ends in another context raises nothing and changes nothing there."""

    def stretch() -> Iterator[None]:
        with Inside(TRACE, SPAN, PAYER):
            yield

    items = [stretch()]
    contextvars.Context().run(next, items[0])
    with Inside(0x1, 0x2, Identity(customer_id="here")):
        if moment == "close":
            items[0].close()  # type: ignore[attr-defined]
        items.clear()
        assert plugin.current_parent() == (0x1, 0x2)
        assert plugin.current_identity().customer_id == "here"
