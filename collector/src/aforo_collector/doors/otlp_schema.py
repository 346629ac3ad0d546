"""The OTLP trace messages, re-declared with what metering reads and with attributes as maps.

A protobuf map entry is the message `{key = 1, value = 2}` on the wire, the same bytes as OTLP's repeated
KeyValue, so the decoder looks attributes up in C and Python touches only the keys it wants. A key that is
given twice resolves to its last value. Lists and key-value lists are not read here; whoever shows a
span to its last attribute decodes it with the official schema.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_ONE = _Field.LABEL_OPTIONAL
_MANY = _Field.LABEL_REPEATED
_PACKAGE = "aforo_otlp"

_FieldSpec = tuple[str, int, Any, Any, str]


def _message(file: descriptor_pb2.FileDescriptorProto, name: str, *fields: _FieldSpec) -> Any:
    message = file.message_type.add(name=name)
    for field in fields:
        _field(message, *field)
    return message


def _field(message: Any, name: str, number: int, kind: Any, label: Any, type_name: str = "") -> None:
    field = message.field.add(name=name, number=number, type=kind, label=label)
    if type_name:
        field.type_name = type_name


def _attributes(message: Any, owner: str, number: int) -> None:
    entry = message.nested_type.add(name="AttributesEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1, _Field.TYPE_STRING, _ONE)
    _field(entry, "value", 2, _Field.TYPE_MESSAGE, _ONE, f".{_PACKAGE}.AnyValue")
    type_name = f".{_PACKAGE}.{owner}.AttributesEntry"
    _field(message, "attributes", number, _Field.TYPE_MESSAGE, _MANY, type_name)


def _build() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    text, data, fixed, message = (
        _Field.TYPE_STRING, _Field.TYPE_BYTES, _Field.TYPE_FIXED64, _Field.TYPE_MESSAGE,
    )  # fmt: skip
    _message(
        file,
        "AnyValue",
        ("s", 1, text, _ONE, ""),
        ("b", 2, _Field.TYPE_BOOL, _ONE, ""),
        ("i", 3, _Field.TYPE_INT64, _ONE, ""),
        ("d", 4, _Field.TYPE_DOUBLE, _ONE, ""),
    )
    _message(file, "Status", ("code", 3, _Field.TYPE_INT32, _ONE, ""))
    span = _message(
        file,
        "Span",
        ("trace_id", 1, data, _ONE, ""),
        ("span_id", 2, data, _ONE, ""),
        ("parent_span_id", 4, data, _ONE, ""),
        ("name", 5, text, _ONE, ""),
        ("start", 7, fixed, _ONE, ""),
        ("end", 8, fixed, _ONE, ""),
        ("status", 15, message, _ONE, f".{_PACKAGE}.Status"),
    )
    _attributes(span, "Span", 9)
    _message(file, "Scope", ("name", 1, text, _ONE, ""))
    _message(
        file,
        "ScopeSpans",
        ("scope", 1, message, _ONE, f".{_PACKAGE}.Scope"),
        ("spans", 2, message, _MANY, f".{_PACKAGE}.Span"),
    )
    _attributes(_message(file, "Resource"), "Resource", 1)
    _message(
        file,
        "ResourceSpans",
        ("resource", 1, message, _ONE, f".{_PACKAGE}.Resource"),
        ("scope_spans", 2, message, _MANY, f".{_PACKAGE}.ScopeSpans"),
    )
    _message(file, "Request", ("resource_spans", 1, message, _MANY, f".{_PACKAGE}.ResourceSpans"))
    _message(
        file,
        "PartialSuccess",
        ("rejected_spans", 1, _Field.TYPE_INT64, _ONE, ""),
        ("error_message", 2, text, _ONE, ""),
    )
    _message(file, "Response", ("partial_success", 1, message, _ONE, f".{_PACKAGE}.PartialSuccess"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


_POOL = _build()
Request = _class("Request")
"""ExportTraceServiceRequest."""
Resource, Scope, Span = map(_class, ("Resource", "Scope", "Span"))
"""Parts of a request."""
Response = _class("Response")
"""ExportTraceServiceResponse."""
