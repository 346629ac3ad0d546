"""Copies of our spans for the application's own telemetry (`init(tee=True)`).

Each span that went into the spool is also handed to the span processors of the global OpenTelemetry SDK
provider, with the same ids. `opentelemetry-sdk` is imported here and only then. What goes wrong is counted,
never raised.
"""

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from aforo_sdk import conventions, notices, wire

_KINDS = {
    conventions.KIND_INTERNAL: SpanKind.INTERNAL,
    conventions.KIND_SERVER: SpanKind.SERVER,
    conventions.KIND_CLIENT: SpanKind.CLIENT,
    4: SpanKind.PRODUCER,
    5: SpanKind.CONSUMER,
}


def copy(
    trace_id: int,
    span_id: int,
    parent_span_id: int,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    attributes: bytes,
    error: str | None,
) -> None:
    """Hand a span to the application's provider, if it is one of the SDK and not switched off. Never
    raises.
    """
    try:
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace.status import Status, StatusCode

        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider) or getattr(provider, "_disabled", False):
            notices.count("tee_without_provider")
            return
        parent = _context(trace_id, parent_span_id) if parent_span_id else None
        provider._active_span_processor.on_end(  # noqa: SLF001 - the SDK has no public door for finished spans
            ReadableSpan(
                name=name,
                context=_context(trace_id, span_id),
                parent=parent,
                resource=provider.resource,
                attributes=wire.read_attributes(attributes),
                kind=_KINDS.get(kind, SpanKind.INTERNAL),
                instrumentation_scope=InstrumentationScope(conventions.SCOPE_NAME),
                status=Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, error),
                start_time=start_ns,
                end_time=end_ns,
            )
        )
    except Exception as problem:
        notices.count("tee_failed")
        notices.warn_once(
            "tee", f"aforo: a span could not be copied to the application ({problem}); it is billed."
        )


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
