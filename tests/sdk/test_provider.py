"""Spans of other instrumentations, given our provider, are billed whatever the application does to its
telemetry.
"""

from pathlib import Path

import aforo_sdk
import pytest
from aforo_sdk import notices, provider
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from tests.sdk.processes import environment, run
from tests.sdk.sink import Sink, attributes_of

HOSTILE = {
    "OTEL_SDK_DISABLED": "true",
    "OTEL_TRACES_SAMPLER": "always_off",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3",
    "OTEL_TRACES_EXPORTER": "none",
}


def test_nothing_of_the_applications_telemetry_loses_a_span(sink: Sink, spool: Path) -> None:
    """Disabled SDK, sampler, tiny limits and an unsampled remote parent: every span arrives, whole."""
    program = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
trace.set_tracer_provider(TracerProvider())
tracer = aforo_sdk.tracer_provider().get_tracer("other")
unsampled = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(0)))
with trace.use_span(unsampled):
    for number in range(3000):
        values = {f"key-{n}": "value" * 10 for n in range(20)}
        with tracer.start_as_current_span(f"span-{number}", attributes=values):
            pass
    aforo_sdk.tool(lambda: None)()
print(aforo_sdk.flush(30.0))
"""
    out, _ = run(program, environment(spool, sink.url, **HOSTILE))
    assert out == "True\n"
    spans = {span.name: span for span in sink.spans}
    assert len(spans) == 3001
    one = spans["span-7"]
    assert (one.trace_id, one.parent_span_id) == ((0xABC).to_bytes(16, "big"), (0xDEF).to_bytes(8, "big"))
    found = attributes_of(one)
    assert found["aforo.customer.id"] == "acme"
    assert [found[f"key-{n}"] for n in range(20)] == ["value" * 10] * 20


def test_a_span_keeps_what_it_was_given(metered: Sink) -> None:
    """Kind, attributes of every type, renaming, times, status and errors are written as the API defines
    them.
    """
    tracer = aforo_sdk.tracer_provider().get_tracer("other")
    span = tracer.start_span(
        "old", kind=SpanKind.CLIENT, attributes={"text": "a", "list": ["a", "b"]}, start_time=5
    )
    span.set_attributes({"integer": 1, "float": 1.5, "flag": True, "text": "b", "odd": object, "none": None})  # type: ignore[dict-item]
    span.update_name("new")
    span.add_event("ignored")
    span.set_status(StatusCode.ERROR, "bad")
    span.end(9)
    span.end(10)
    span.set_attribute("late", 1)
    assert not span.is_recording()
    assert aforo_sdk.flush(10.0)
    got = metered.span("new")
    assert (got.kind, got.start_time_unix_nano, got.end_time_unix_nano) == (Span.SPAN_KIND_CLIENT, 5, 9)
    found = attributes_of(got)
    assert found["list"] == ("a", "b")
    assert (found["integer"], found["float"], found["flag"], found["text"]) == (1, 1.5, True, "b")
    assert found["odd"] == "<class 'object'>"
    assert not {"none", "late"} & set(found)
    assert (got.status.code, got.status.message) == (Status.STATUS_CODE_ERROR, "bad")


def test_an_exception_in_the_block_is_noted_and_passes(metered: Sink) -> None:
    """`start_as_current_span` marks the span as failed and lets the exception through."""
    tracer = aforo_sdk.tracer_provider().get_tracer("other")
    with pytest.raises(KeyError), tracer.start_as_current_span("failing"):
        raise KeyError("k")
    with pytest.raises(KeyError), tracer.start_span("failing too"):
        raise KeyError("k")
    assert aforo_sdk.flush(10.0)
    for name in ("failing", "failing too"):
        assert attributes_of(metered.span(name))["error.type"] == "KeyError"
        assert metered.span(name).status.code == Status.STATUS_CODE_ERROR


def test_decorators_and_spans_nest_both_ways(metered: Sink) -> None:
    """A span inside a decorated call is its child, and a decorated call inside a span is the span's child."""
    tracer = aforo_sdk.tracer_provider().get_tracer("other")

    @aforo_sdk.tool
    def inner() -> None:
        pass

    @aforo_sdk.agent
    def outer() -> None:
        with tracer.start_as_current_span("between"):
            inner()

    outer()
    assert aforo_sdk.flush(10.0)
    between = metered.span("between")
    assert between.parent_span_id == metered.span("invoke_agent outer").span_id
    assert metered.span("execute_tool inner").parent_span_id == between.span_id


def test_what_the_instrumentation_says_about_the_payer_wins(metered: Sink) -> None:
    """Identity is stamped, but an attribute that the span itself carries is not overruled, nor doubled."""
    tracer = aforo_sdk.tracer_provider().get_tracer("other")
    with aforo_sdk.session("s", team_id="ops", close=False):
        tracer.start_span("span", attributes={"aforo.customer.id": "globex"}).end()
    assert aforo_sdk.flush(10.0)
    keys = [pair.key for pair in metered.span("span").attributes]
    assert len(keys) == len(set(keys))
    found = attributes_of(metered.span("span"))
    assert (found["aforo.customer.id"], found["aforo.team.id"]) == ("globex", "ops")


def test_our_own_limit_is_counted(metered: Sink) -> None:
    """Attributes beyond the limit are dropped and counted; the span is kept."""
    span = aforo_sdk.tracer_provider().get_tracer("other").start_span("span")
    span.set_attributes({f"key-{number}": number for number in range(provider.ATTRIBUTES_MAX + 5)})
    span.end()
    assert aforo_sdk.flush(10.0)
    assert (
        len(attributes_of(metered.span("span"))) == provider.ATTRIBUTES_MAX + 2
    )  # customer and product type
    assert notices.counters()["attributes_dropped"] == 5


def test_tee_copies_spans_to_the_application(metered: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `tee=True` the application's own provider gets every span under the same ids; the bill does not
    need it.
    """
    memory = InMemorySpanExporter()
    application = TracerProvider()
    application.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: application)
    aforo_sdk.init(tee=True)

    @aforo_sdk.tool(name="copied")
    def failing() -> None:
        raise LookupError("gone")

    @aforo_sdk.agent
    def outer() -> None:
        failing()

    with pytest.raises(LookupError):
        outer()
    assert aforo_sdk.flush(10.0)
    inner, root = memory.get_finished_spans()
    billed = metered.span("execute_tool copied")
    assert inner.context is not None
    assert inner.parent == root.context
    assert inner.context.trace_id == int.from_bytes(billed.trace_id, "big")
    assert inner.context.span_id == int.from_bytes(billed.span_id, "big")
    assert dict(inner.attributes or {}) == attributes_of(billed)
    assert (inner.status.status_code, inner.status.description) == (StatusCode.ERROR, "gone")
    application.shutdown()


def test_a_tee_that_fails_costs_nothing(metered: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken processor of the application is counted; the span is billed."""

    class Broken(SimpleSpanProcessor):
        def on_end(self, span: object) -> None:
            raise OSError

    application = TracerProvider()
    application.add_span_processor(Broken(InMemorySpanExporter()))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: application)
    aforo_sdk.init(tee=True)
    aforo_sdk.record_usage("m", 1)
    assert aforo_sdk.flush(10.0)
    assert metered.names == ["record_usage"]
    assert notices.counters() == {"tee_failed": 1}


def test_our_requests_are_not_the_applications_work(sink: Sink, spool: Path) -> None:
    """The sender marks its requests as not to be instrumented."""
    program = """
from opentelemetry import context
import requests
seen = []
send = requests.Session.send
def watched(self, request, **options):
    seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
    return send(self, request, **options)
requests.Session.send = watched
write("span")
print(aforo_sdk.flush(10.0), set(seen))
"""
    out, _ = run(program, environment(spool, sink.url))
    assert out == "True {True}\n"


def test_an_unsampled_context_is_joined() -> None:
    """Our spans say of themselves that they are sampled, so that what hangs below them is."""
    context = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
    started = (
        aforo_sdk.tracer_provider()
        .get_tracer("t")
        .start_span("s", trace.set_span_in_context(NonRecordingSpan(context)))
    )
    assert started.get_span_context().trace_flags.sampled
    assert started.get_span_context().trace_id == 1
