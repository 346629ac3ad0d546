"""The OTLP trace messages, re-declared for showing: field numbers of the standard, text and nesting as bytes.

Where the standard has a string, a list or a map inside an attribute, or an event of a span, this has the
bytes of it, because the door took the body in without looking there.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "aforo_otlp_detail"
_MANY = _Field.LABEL_REPEATED

_KINDS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "fixed64": _Field.TYPE_FIXED64,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}

_MESSAGES = {
    "AnyValue": (
        "text=1 bytes", "flag=2 bool", "integer=3 int64", "number=4 double", "list=5 bytes", "map=6 bytes",
        "data=7 bytes",
    ),
    "KeyValue": ("key=1 bytes", "value=2 AnyValue"),
    "ArrayValue": ("values=1 *AnyValue",),
    "KeyValueList": ("values=1 *KeyValue",),
    "Event": ("time=1 fixed64", "name=2 bytes", "attributes=3 *KeyValue"),
    "Status": ("message=2 bytes", "code=3 int32"),
    "Span": (
        "name=5 bytes", "start=7 fixed64", "end=8 fixed64", "attributes=9 *KeyValue", "events=11 *bytes",
        "status=15 Status",
    ),
    "ScopeSpans": ("spans=2 *Span",),
    "Resource": ("attributes=1 *KeyValue",),
    "ResourceSpans": ("resource=1 Resource", "scope_spans=2 *ScopeSpans"),
    "Request": ("resource_spans=1 *ResourceSpans",),
}  # fmt: skip


def _build() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for said in fields:
            place, kind = said.split()
            name, number = place.split("=")
            field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label = _MANY
            kind = kind.removeprefix("*")
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            if message_name == "AnyValue":
                field.oneof_index = 0
    file.message_type[0].oneof_decl.add(name="value")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _build()


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Request = _class("Request")
"""ExportTraceServiceRequest."""
Event = _class("Event")
"""An event of a span."""
ArrayValue = _class("ArrayValue")
"""A list of attribute values."""
KeyValueList = _class("KeyValueList")
"""A map of attribute values."""
