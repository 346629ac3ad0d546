"""OTLP/HTTP: bytes of a trace request to spans and rejections, and the answer back to bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from google.protobuf.message import DecodeError

from aforo_collector.dialects.otel_genai import identity_of
from aforo_collector.dialects.registry import Reader, reader_of
from aforo_collector.dialects.values import TEXT_LENGTH_MAX, Attributes, SpanError
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.session import DURATION_NS_MAX
from aforo_collector.domain.span import Span

from . import otlp_json
from .otlp_mending import mended
from .otlp_schema import Request, Response

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

NS = 1_000_000_000
FUTURE_NS_MAX = 5 * 60 * NS
PAST_NS_MAX = 90 * 24 * 3600 * NS
REASONS_SHOWN_MAX = 5
_TIME_NS_MAX = 2**64
_ZERO_16, _ZERO_8 = bytes(16), bytes(8)
_NUMBERS = struct.Struct(">qq").unpack


class MalformedBody(ValueError):
    """The body is not what its content type says; nothing of it was recorded."""


class BodyTooLarge(ValueError):
    """The body unpacks to more than the limit; nothing of it was recorded."""


class Rejection(NamedTuple):
    """A span that cannot be billed: a stable code, and what is wrong in words."""

    code: str
    detail: str


def unpack(body: bytes, encoding: str, size_bytes_max: int) -> bytes:
    """Undo the content encoding without ever holding more than the limit in memory."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise MalformedBody(f"content encoding {encoding!r} is not supported; use gzip or none")
    stream = zlib.decompressobj(47)  # 47: gzip or zlib, as the header says
    try:
        data = stream.decompress(body, size_bytes_max + 1)
    except zlib.error as error:
        raise MalformedBody(f"the body is not valid {encoding}: {error}") from error
    if len(data) > size_bytes_max:
        raise BodyTooLarge(f"the body unpacks to more than {size_bytes_max} bytes; send smaller batches")
    if not stream.eof:
        raise MalformedBody(f"the {encoding} body is cut off")
    if stream.unused_data.strip(b"\0"):
        raise MalformedBody(f"the {encoding} body goes on behind its end; send it in one piece")
    return data


def decode(
    body: bytes, content_type: str, now_ns: int | None, caller: Identity = NOBODY
) -> list[Span | Rejection]:
    """All spans of a request in the order of the wire, each translated or rejected with its reason.

    Without `now_ns` the time window is not checked: that is for reading again what was accepted once; see `reread`.
    `caller` is what the credential of the request says of who pays: its customer stands on every span,
    whatever the span says.
    """
    found = _decoded(body, content_type, _window(now_ns))
    if caller is NOBODY:
        return found
    return [span if isinstance(span, Rejection) else _sent_by(caller, span) for span in found]


def reread(body: bytes, content_type: str, caller: Identity = NOBODY) -> Callable[[int], Span | Rejection]:
    """What gives the spans of an accepted body by their positions: each is translated when it is asked for.

    One span of a batch is mostly all that is needed of it, and translating takes longer than all the rest.
    """
    window = _window(None)
    read: Callable[[int], Span | Rejection]
    if content_type == JSON:
        texts = list(otlp_json.spans(body))
        read = lambda position: _json_span(texts[position], window)  # noqa: E731
    else:
        raws = [(raw, group) for spans, group in _groups(_request(body)[0]) for raw in spans]
        read = lambda position: _protobuf_span(*raws[position], window)  # noqa: E731
    if caller is NOBODY:
        return read

    def sent(position: int) -> Span | Rejection:
        span = read(position)
        return span if isinstance(span, Rejection) else _sent_by(caller, span)

    return sent


def _sent_by(caller: Identity, span: Span) -> Span:
    said = span.identity
    return span._replace(
        identity=said.paid_by(caller.customer_id) if caller.customer_id else said, caller=caller
    )


def _decoded(body: bytes, content_type: str, window: tuple[int, int]) -> list[Span | Rejection]:
    if content_type == JSON:
        try:
            return [_json_span(raw, window) for raw in otlp_json.spans(body)]
        except (msgspec.MsgspecError, RecursionError) as error:
            raise MalformedBody(f"the body is not an OTLP/JSON trace request: {error}") from error
    request, problems = _request(body)
    found: list[Span | Rejection] = []
    for spans, group in _groups(request):
        found += [_protobuf_span(raw, group, window) for raw in spans]
    for position, problem in enumerate(problems):
        if problem:
            found[position] = Rejection("MALFORMED_SPAN", problem)
    return found


class _Group(NamedTuple):
    """What the spans of one scope and resource share."""

    resource: Identity | SpanError
    source: str
    read: Reader


def _groups(request: Any) -> Iterator[tuple[Any, _Group]]:
    """The spans of a protobuf request, as they are, by what they share."""
    for resource_spans in request.resource_spans:
        resource = _resource(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            source = scope_spans.scope.name[:TEXT_LENGTH_MAX]
            yield scope_spans.spans, _Group(resource, source, reader_of(source))


def _protobuf_span(raw: Any, group: _Group, window: tuple[int, int]) -> Span | Rejection:
    resource, source, read = group
    return _span(
        raw.attributes, resource, raw.trace_id, raw.span_id, raw.parent_span_id, raw.name, raw.start, raw.end,
        raw.status.code == 2, source, read, window,
    )  # fmt: skip


def _request(body: bytes) -> tuple[Any, list[str]]:
    """The request, and for every span why it cannot be read, if any cannot."""
    try:
        return Request.FromString(body), []
    except DecodeError as error:
        try:
            rest, problems = mended(body)
            return Request.FromString(rest), problems
        except (DecodeError, ValueError):
            raise MalformedBody(f"the body is not an OTLP protobuf trace request: {error}") from error


def _window(now_ns: int | None) -> tuple[int, int]:
    """The (earliest, latest) times in ns that a span may have."""
    if now_ns is None:
        return 0, _TIME_NS_MAX
    return now_ns - PAST_NS_MAX, now_ns + FUTURE_NS_MAX


def _resource(attributes: Attributes) -> Identity | SpanError:
    try:
        return identity_of(attributes)
    except SpanError as error:
        return SpanError(f"resource: {error}")


def _json_span(raw: otlp_json.RawSpan, window: tuple[int, int]) -> Span | Rejection:
    if raw.error:
        return Rejection("MALFORMED_SPAN", raw.error)
    return _span(
        raw.attributes, _resource(raw.resource), raw.trace_id, raw.span_id, raw.parent_id, raw.name, raw.start_ns,
        raw.end_ns, raw.failed, raw.source, reader_of(raw.source), window,
    )  # fmt: skip


def _span(
    attributes: Attributes, resource: Identity | SpanError, trace_id: bytes, span_id: bytes, parent_id: bytes,
    name: str, start_ns: int, end_ns: int, failed: bool, source: str, read: Reader, window: tuple[int, int],
) -> Span | Rejection:  # fmt: skip
    if len(trace_id) != 16 or trace_id == _ZERO_16:
        return Rejection(
            "INVALID_TRACE_ID", f"trace id has {len(trace_id)} bytes or is all zero; 16 are needed"
        )
    if len(span_id) != 8 or span_id == _ZERO_8:
        return Rejection("INVALID_SPAN_ID", f"span id has {len(span_id)} bytes or is all zero; 8 are needed")
    if parent_id:
        if len(parent_id) != 8:
            return Rejection(
                "INVALID_PARENT_ID", f"parent span id has {len(parent_id)} bytes; 8 or none are allowed"
            )
        if parent_id == span_id:
            parent_id = b""  # its own parent: the same as none, and its tokens still bill
    if end_ns > window[1] or start_ns > window[1]:
        return Rejection("TOO_FAR_IN_FUTURE", f"the span ends at {end_ns} ns, more than 5 minutes from now")
    if end_ns < window[0]:
        return Rejection("TOO_OLD", f"the span ended at {end_ns} ns, more than 90 days ago")
    if start_ns > end_ns or start_ns < end_ns - DURATION_NS_MAX:
        start_ns = end_ns
    if isinstance(resource, SpanError):
        return Rejection("INVALID_ATTRIBUTE", str(resource))
    span_no, parent_no = _NUMBERS(span_id + (parent_id or _ZERO_8))
    try:
        return read(
            attributes, resource, (trace_id, span_no, parent_no, name, start_ns, end_ns, failed, source)
        )
    except SpanError as problem:
        return Rejection("INVALID_ATTRIBUTE", str(problem))


def answer(rejections: list[Rejection], content_type: str) -> bytes:
    """The body of a 200: empty, or `partialSuccess` with the count and the first few reasons."""
    shown = "; ".join(f"{r.code}: {r.detail}" for r in rejections[:REASONS_SHOWN_MAX])
    if len(rejections) > REASONS_SHOWN_MAX:
        shown += f"; and {len(rejections) - REASONS_SHOWN_MAX} more (see the quarantine)"
    if content_type == JSON:
        if not rejections:
            return b"{}"
        return msgspec.json.encode(
            {"partialSuccess": {"rejectedSpans": str(len(rejections)), "errorMessage": shown}}
        )
    response = Response()
    if rejections:
        response.partial_success.rejected_spans = len(rejections)
        response.partial_success.error_message = shown
    data: bytes = response.SerializeToString()
    return data
