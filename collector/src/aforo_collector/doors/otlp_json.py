"""OTLP/JSON: hex ids, 64-bit integers as text or number, lowerCamelCase names.

google.protobuf's own JSON mapping would read the ids as base64, so this is a typed decode of ours. A
request whose types are wrong somewhere is read again span by span, so that only the wrong ones are lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from aforo_collector.dialects.values import TEXT_LENGTH_MAX

T = TypeVar("T")


class AnyValue(msgspec.Struct, gc=False):
    """A scalar attribute value; lists and maps are not read for billing."""

    s: str = msgspec.field(name="stringValue", default="")
    b: bool = msgspec.field(name="boolValue", default=False)
    i: int = msgspec.field(name="intValue", default=0)
    d: float = msgspec.field(name="doubleValue", default=0.0)


class KeyValue(msgspec.Struct, gc=False):
    """One attribute."""

    key: str
    value: AnyValue | None = None


class Status(msgspec.Struct, gc=False):
    """Span status; the code is a number or the name of the enum."""

    code: int | str = 0


class WireSpan(msgspec.Struct, rename="camel"):
    """A span as JSON carries it."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    name: str = ""
    start_time_unix_nano: int = 0
    end_time_unix_nano: int = 0
    attributes: list[KeyValue] = []
    status: Status | None = None


class WireResource(msgspec.Struct):
    """Resource attributes."""

    attributes: list[KeyValue] = []


class _ScopeSpans(msgspec.Struct):
    scope: Any = None
    spans: list[Any] = []


class _ResourceSpans(msgspec.Struct, rename="camel"):
    resource: Any = None
    scope_spans: list[_ScopeSpans] = []


class _Request(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] = []


_REQUEST = msgspec.json.Decoder(_Request)


class RawSpan(NamedTuple):
    """A span with its ids as bytes; `error` says why it could not be read."""

    resource: dict[str, AnyValue]
    attributes: dict[str, AnyValue]
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    source: str = ""
    error: str = ""


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """What a decoder reads; half a surrogate pair, left by a text that was cut within a sign, becomes a "?".

    Raises msgspec.MsgspecError and RecursionError.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        try:
            document = json.loads(body.decode(errors="replace"), parse_constant=_refuse)
        except ValueError:
            raise error from None
        return decoder.decode(json.dumps(document, ensure_ascii=False).encode(errors="replace"))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number in JSON")


def spans(body: bytes) -> Iterator[RawSpan]:
    """Every span of the request; raises msgspec.MsgspecError when the envelope itself is wrong."""
    for resource_spans in decoded(_REQUEST, body).resource_spans:
        resource: dict[str, AnyValue] = {}
        error = ""
        try:
            given = msgspec.convert(resource_spans.resource or {}, WireResource, strict=False)
            resource = _mapping(given.attributes)
        except msgspec.ValidationError as problem:
            error = f"resource: {problem}"
        for scope_spans in resource_spans.scope_spans:
            source = _source(scope_spans.scope)
            for raw in scope_spans.spans:
                yield _read(raw, resource, source, error)


def _source(scope: Any) -> str:
    name = scope.get("name") if isinstance(scope, dict) else None
    return name[:TEXT_LENGTH_MAX] if isinstance(name, str) else ""


def _read(raw: Any, resource: dict[str, AnyValue], source: str, error: str) -> RawSpan:
    try:
        span = msgspec.convert(raw, WireSpan, strict=False)
        return RawSpan(
            resource,
            _mapping(span.attributes),
            bytes.fromhex(span.trace_id),
            bytes.fromhex(span.span_id),
            bytes.fromhex(span.parent_span_id or ""),
            span.name,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status is not None and span.status.code in (2, "2", "STATUS_CODE_ERROR"),
            source,
            error,
        )
    except msgspec.ValidationError as problem:
        error = str(problem)
    except ValueError:
        error = "traceId, spanId and parentSpanId are hexadecimal text"
    return RawSpan({}, {}, b"", b"", b"", "", 0, 0, failed=False, error=error)


def _mapping(attributes: list[KeyValue]) -> dict[str, AnyValue]:
    return {a.key: a.value for a in attributes if a.value is not None}
