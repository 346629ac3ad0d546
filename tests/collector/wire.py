"""OTLP trace requests as agents send them, small and of now."""

import itertools
import secrets
import time
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
MS = 1_000_000

_numbers = itertools.count(1)


def customer() -> str:
    """A customer that no other test knows."""
    return f"customer-{next(_numbers)}-{secrets.token_hex(3)}"


def chat(customer_id: str | None, **attributes: Any) -> Span:
    """A model call of 1,000 tokens in and 100 out."""
    named = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    return span("chat gpt-4o-mini", customer_id, named | attributes)


def tool(customer_id: str | None, name: str = "lookup", **attributes: Any) -> Span:
    """A tool call."""
    named = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
    return span(f"execute_tool {name}", customer_id, named | attributes)


def span(name: str, customer_id: str | None, attributes: dict[str, Any]) -> Span:
    """A span of its own trace that ended just now; attribute names may use __ for the dot."""
    now_ns = time.time_ns()
    owner = {} if customer_id is None else {"aforo.customer.id": customer_id}
    return Span(
        trace_id=secrets.token_bytes(16),
        span_id=secrets.token_bytes(8),
        name=name,
        start_time_unix_nano=now_ns - 20 * MS,
        end_time_unix_nano=now_ns,
        attributes=[
            KeyValue(key=key.replace("__", "."), value=_any(value))
            for key, value in (owner | attributes).items()
        ],
    )


def body(*spans: Span) -> bytes:
    """A request with these spans."""
    scope = ScopeSpans(spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[scope])]).SerializeToString()


def _any(value: Any) -> AnyValue:
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(string_value=str(value))
