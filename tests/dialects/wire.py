"""Spans of a given instrumentation scope, on the wire in both encodings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from aforo_collector.domain.span import Span
from aforo_collector.doors.otlp import JSON, PROTOBUF, decode
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

Scalar = str | bool | int | float | list[str]
START_NS, END_NS = 1_795_000_000_000_000_000, 1_795_000_001_000_000_000
TRACE_ID, SPAN_ID = bytes(range(1, 17)), bytes(range(1, 9))


class Written(NamedTuple):
    """A span as an instrumentation writes it."""

    scope: str
    name: str
    attributes: Mapping[str, Scalar]
    failed: bool = False


def read(written: Written, resource: Mapping[str, Scalar] | None = None) -> Span:
    """What the protobuf door makes of a span."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    for key, value in (resource or {}).items():
        group.resource.attributes.add(key=key, value=_any(value))
    scope = group.scope_spans.add()
    scope.scope.name = written.scope
    span = scope.spans.add(
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        name=written.name,
        start_time_unix_nano=START_NS,
        end_time_unix_nano=END_NS,
    )
    span.status.code = 2 if written.failed else 0
    for key, value in written.attributes.items():
        span.attributes.add(key=key, value=_any(value))
    return _only(decode(request.SerializeToString(), PROTOBUF, None))


def read_json(written: Written) -> Span:
    """What the JSON door makes of a span."""
    span = {
        "traceId": TRACE_ID.hex(),
        "spanId": SPAN_ID.hex(),
        "name": written.name,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(END_NS),
        "status": {"code": 2} if written.failed else {},
        "attributes": [{"key": key, "value": _json_any(value)} for key, value in written.attributes.items()],
    }
    body = {"resourceSpans": [{"scopeSpans": [{"scope": {"name": written.scope}, "spans": [span]}]}]}
    return _only(decode(json.dumps(body).encode(), JSON, None))


def _only(found: list[object]) -> Span:
    (span,) = found
    assert isinstance(span, Span), span
    return span


def _any(value: Scalar) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case list():
            found = AnyValue()
            found.array_value.values.extend(_any(item) for item in value)
            return found


def _json_any(value: Scalar) -> dict[str, object]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list():
            return {"arrayValue": {"values": [_json_any(item) for item in value]}}
