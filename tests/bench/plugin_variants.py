"""What the benchmarks of plugins share: a variant of a framework's run, metered or not, and what peers export to."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

QUESTION = "What did customer 42 use in September, and what does it cost? " * 3
ANSWER = "Customer 42 used 1,204 API calls and 88 thousand tokens; the total is 17.42 USD. " * 3
RULES = "You are a careful billing assistant. " * 11
MODEL = "gpt-4o-mini"
TOOL = "lookup_usage"
FOUND = '{"api_calls": 1204, "tokens": 88000}'


def nothing() -> None:
    """Do nothing."""


class Variant(NamedTuple):
    """One way to play the canonical run: `play` plays it as often as it is told, `settle` waits until all that
    metering does in the background is done; both are timed. `enter` and `leave`, around them, are not.
    """

    play: Callable[[int], None]
    enter: Callable[[], object] = nothing
    leave: Callable[[], object] = nothing
    settle: Callable[[], object] = nothing


class Measured(NamedTuple):
    """A pair that takes turns: the run as it is, the run metered. `span_count` counts what was written so far."""

    plain: Variant
    metered: Variant
    span_count: Callable[[], int]


class Subject(NamedTuple):
    """Who meters. `modules` must be importable; `start` is called once, in a process of its own.

    `of` is the scene: figures of one scene compare. `calls` is how many model and tool calls its run makes.
    """

    of: str
    name: str
    calls: int
    modules: tuple[str, ...]
    start: Callable[[], Measured]
    is_ours: bool = False


def repeated(run: Callable[[], Coroutine[Any, Any, object]]) -> Callable[[int], None]:
    """What plays an asynchronous run n times, always in the same loop."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def times(count: int) -> None:
        for _ in range(count):
            await run()

    return lambda count: loop.run_until_complete(times(count))


def our_spool() -> Callable[[], int]:
    """Start our SDK with a durable spool and a collector that is down; return what counts the spans."""
    import aforo_sdk

    spool = Path(tempfile.mkdtemp(prefix="aforo-bench-"))
    aforo_sdk.init(endpoint="http://127.0.0.1:9", spool_dir=spool, customer_id="c42", agent_id="a7")

    def span_count() -> int:
        from tests.plugins.spool import read

        return len(read(spool))

    return span_count


class Traced(NamedTuple):
    """An application's own tracing: `provider` exports by batches, and counts what it exported."""

    provider: Any
    new_processor: Callable[[], Any]
    span_count: Callable[[], int]


def tracing(is_global: bool = False) -> Traced:
    """Return an OpenTelemetry provider as applications deploy it, minus the network: spans are encoded as every
    OTLP exporter does it, as ours are when they stand in the spool, and then let go.
    """
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    counted = [0]

    class Encoded(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            encode_spans(spans).SerializeToString()
            counted[0] += len(spans)
            return SpanExportResult.SUCCESS

    def new_processor() -> Any:
        return BatchSpanProcessor(Encoded(), max_queue_size=200_000)

    provider = TracerProvider()
    provider.add_span_processor(new_processor())
    if is_global:
        trace.set_tracer_provider(provider)
    return Traced(provider, new_processor, lambda: counted[0])


def instrumented(plain: Variant, instrumentor: Any, **options: Any) -> Measured:
    """A run under an instrumentor of OpenTelemetry's kind."""
    traced = tracing()

    def settle() -> None:
        plain.settle()
        traced.provider.force_flush()

    def enter() -> None:
        instrumentor.instrument(tracer_provider=traced.provider, **options)

    metered = Variant(plain.play, enter, instrumentor.uninstrument, settle)
    return Measured(plain, metered, traced.span_count)


def chat_completion(is_final: bool) -> Any:
    """An answer of OpenAI's API: a request for the tool, or the last word."""
    from openai.types.chat import ChatCompletion

    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": TOOL, "arguments": '{"customer": "42", "month": "2026-09"}'},
    }
    said = {"content": ANSWER} if is_final else {"content": None, "tool_calls": [call]}
    choice = {
        "index": 0,
        "finish_reason": "stop" if is_final else "tool_calls",
        "message": {"role": "assistant", **said},
    }
    return ChatCompletion.model_validate(
        {
            "id": "chatcmpl-x",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [choice],
            "usage": {
                "prompt_tokens": 812,
                "completion_tokens": 96,
                "total_tokens": 908,
                "prompt_tokens_details": {"cached_tokens": 512},
                "completion_tokens_details": {"reasoning_tokens": 32},
            },
        }
    )


def is_answered(messages: Any) -> bool:
    """Whether the tool has been called already."""
    return any(message["role"] == "tool" for message in messages)
