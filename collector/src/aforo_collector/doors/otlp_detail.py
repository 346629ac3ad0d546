"""Delivered spans read again for showing: every attribute, lists and maps included.

Billing reads the scalars of a body and skips the rest, so what it skips may be anything. Here that rest stays
bytes until it is shown and is opened piece by piece: a body that was accepted once can always be shown, and
what cannot be read says so in its place.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator
from math import isfinite, isnan
from typing import Any, NamedTuple

import msgspec
from google.protobuf.message import DecodeError

from .otlp import JSON
from .otlp_detail_schema import ArrayValue, Event, KeyValueList, Request
from .otlp_json import decoded
from .otlp_mending import mended

NESTING_MAX = 32
TOO_DEEP = "(nested too deep to show)"
UNREADABLE = "(cannot be read)"

_STATUS = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2, "1": 1, "2": 2, 1: 1, 2: 2}
_JSON_KINDS: dict[str, Callable[[Any], Any]] = {
    "stringValue": str,
    "boolValue": lambda found: found in (True, "true", "True", "1", 1),
    "intValue": int,
    "doubleValue": float,
    "bytesValue": str,
}
_DECODER = msgspec.json.Decoder(dict[str, Any])


class Detail(NamedTuple):
    """All of a span that is shown; times in ns, status 0 unset, 1 ok, 2 error, attributes as JSON values.

    An event of the span is (name, time in ns, attributes).
    """

    name: str
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[tuple[str, int, dict[str, Any]]]


def details(body: bytes, content_type: str, positions: Collection[int]) -> dict[int, Detail]:
    """The spans of an accepted body at these positions, counted over the whole body from 0."""
    if content_type == JSON:
        return dict(_chosen(_json_spans(body), positions, _of_json))
    return dict(_chosen(_protobuf_spans(body), positions, _of_protobuf))


def _chosen(
    spans: Iterable[tuple[Any, Any]], positions: Collection[int], read: Callable[[Any, Any], Detail]
) -> Iterator[tuple[int, Detail]]:
    for position, (span, resource) in enumerate(spans):
        if position in positions:
            yield position, read(span, resource)


def _protobuf_spans(body: bytes) -> Iterator[tuple[Any, Any]]:
    try:
        request = Request.FromString(body)
    except DecodeError:  # accepted all the same, but for the spans that cannot be read
        request = Request.FromString(mended(body)[0])
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield span, resource_spans.resource.attributes


def _of_protobuf(span: Any, resource: Any) -> Detail:
    return Detail(
        _text(span.name),
        span.start,
        span.end,
        span.status.code,
        _text(span.status.message),
        _pairs(span.attributes, 1),
        _pairs(resource, 1),
        [_event(raw) for raw in span.events],
    )


def _event(raw: bytes) -> tuple[str, int, dict[str, Any]]:
    try:
        event = Event.FromString(raw)
    except DecodeError:
        return UNREADABLE, 0, {}
    return _text(event.name), event.time, _pairs(event.attributes, 1)


def _pairs(attributes: Any, level: int) -> dict[str, Any]:
    return {_text(pair.key): _any(pair.value, level) for pair in attributes}


def _any(value: Any, level: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "text":
        return _text(found)
    if kind == "data":
        return b64encode(found).decode()
    if kind not in ("list", "map"):
        return _finite(found)
    if level >= NESTING_MAX:
        return TOO_DEEP
    try:
        values = (ArrayValue if kind == "list" else KeyValueList).FromString(found).values
    except DecodeError:
        return UNREADABLE
    return [_any(item, level + 1) for item in values] if kind == "list" else _pairs(values, level + 1)


def _json_spans(body: bytes) -> Iterator[tuple[Any, Any]]:
    for resource_spans in decoded(_DECODER, body).get("resourceSpans") or ():
        resource = (resource_spans.get("resource") or {}).get("attributes")
        for scope_spans in resource_spans.get("scopeSpans") or ():
            for span in scope_spans.get("spans") or ():
                yield span, resource


def _of_json(span: Any, resource: Any) -> Detail:
    status = span.get("status") or {}
    return Detail(
        span.get("name", ""),
        int(span.get("startTimeUnixNano", 0)),
        int(span.get("endTimeUnixNano", 0)),
        _STATUS.get(status.get("code"), 0),
        str(status.get("message", "")),
        _json_pairs(span.get("attributes"), 1),
        _json_pairs(resource, 1),
        [_json_event(event) for event in _list(span.get("events"))],
    )


def _json_event(event: Any) -> tuple[str, int, dict[str, Any]]:
    try:
        return str(event["name"]), int(event["timeUnixNano"]), _json_pairs(event.get("attributes"), 1)
    except (AttributeError, KeyError, TypeError, ValueError):
        return UNREADABLE, 0, {}


def _json_pairs(pairs: Any, level: int) -> dict[str, Any]:
    return {
        str(pair.get("key", "")): _json_any(pair.get("value"), level)
        for pair in _list(pairs)
        if isinstance(pair, dict)
    }


def _json_any(value: Any, level: int) -> Any:
    if not isinstance(value, dict) or not value:
        return None if not value else UNREADABLE
    kind, found = next(iter(value.items()))
    if level >= NESTING_MAX:
        return TOO_DEEP
    try:
        if kind == "arrayValue":
            return [_json_any(item, level + 1) for item in _list(found.get("values"))]
        if kind == "kvlistValue":
            return _json_pairs(found.get("values"), level + 1)
        return _finite(_JSON_KINDS[kind](found))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return UNREADABLE


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _finite(value: Any) -> Any:
    """JSON has no numbers for NaN and the infinities; the names are those of OTLP/JSON."""
    if not isinstance(value, float) or isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
