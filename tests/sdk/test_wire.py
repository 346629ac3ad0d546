"""The hand-written encoding is OTLP: the official decoder reads back what was put in."""

import math
from typing import Any

from aforo_sdk import wire
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from tests.sdk.sink import attributes_of, value_of

TEXT = st.text(max_size=300)
INT64 = st.integers(-(2**63), 2**63 - 1)
LEAVES = TEXT | INT64 | st.booleans() | st.binary(max_size=50) | st.floats(allow_nan=False)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


def plain(value: Any) -> Any:
    """A value as it comes back: lists as tuples, text without what UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value


@given(st.dictionaries(TEXT, VALUES, max_size=10))
def test_attributes_round_trip(values: dict[str, Any]) -> None:
    """Any attributes decode to the same values, by the official schema and by our own small reader."""
    encoded = wire.attributes(values)
    assert attributes_of(Span.FromString(encoded)) == plain(values)
    assert plain(wire.read_attributes(encoded)) == plain(values)


@given(TEXT, TEXT, st.integers(), st.booleans(), st.lists(TEXT, max_size=5))
def test_typed_attributes_round_trip(
    key: str, text: str, integer: int, boolean: bool, texts: list[str]
) -> None:
    """Each typed encoder writes its value; integers that do not fit 64 bits become decimal text."""
    parts = [wire.text, wire.text_once]
    for encode in parts:
        assert only(encode(key, text)) == (plain(key), plain(text))
    fits = -(2**63) <= integer < 2**63
    assert only(wire.integer(key, integer)) == (plain(key), integer if fits else str(integer))
    assert only(wire.boolean(key, boolean)) == (plain(key), boolean)
    assert only(wire.texts(key, texts)) == (plain(key), plain(texts))


def only(encoded: bytes) -> tuple[str, object]:
    """The one attribute in these bytes."""
    (pair,) = Span.FromString(encoded).attributes
    assert isinstance(pair, KeyValue)
    return pair.key, value_of(pair.value)


@given(
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    TEXT,
    st.integers(0, 5),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.none() | st.text(max_size=600),
)
def test_spans_round_trip(
    trace_id: int, span_id: int, parent_id: int, name: str, kind: int, start: int, end: int, error: str | None
) -> None:
    """A span record is field 2 of ScopeSpans with exactly these values, an error cut to 256 characters."""
    record = wire.span_record(
        trace_id, span_id, parent_id, name, kind, start, end, wire.text("k", "v"), error
    )
    (span,) = ScopeSpans.FromString(record).spans
    assert int.from_bytes(span.trace_id, "big") == trace_id
    assert int.from_bytes(span.span_id, "big") == span_id
    assert span.parent_span_id == (parent_id.to_bytes(8, "big") if parent_id else b"")
    assert (span.name, span.kind) == (plain(name), kind)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (start, end)
    assert attributes_of(span) == {"k": "v"}
    if error is None:
        assert span.status.code == Status.STATUS_CODE_UNSET
    else:
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert span.status.message == plain(error[:256])


@given(st.dictionaries(TEXT, LEAVES, max_size=5), TEXT, TEXT)
def test_resource_and_scope_round_trip(values: dict[str, Any], name: str, version: str) -> None:
    """Resource and scope decode by the official schema."""
    resource = Resource.FromString(wire.resource(values))
    assert {pair.key: value_of(pair.value) for pair in resource.attributes} == plain(values)
    scope = InstrumentationScope.FromString(wire.scope(plain(name), plain(version)))
    assert (scope.name, scope.version) == (plain(name), plain(version))


@given(st.lists(st.binary(max_size=300), max_size=20), st.binary(max_size=40))
def test_framing_finds_every_whole_record(bodies: list[bytes], tail: bytes) -> None:
    """Framing gives the end of each whole record and stops at a torn one, whatever follows."""
    records = [wire.sized(b"\x12", body) for body in bodies]
    data = b"".join(records)
    ends = [sum(map(len, records[: index + 1])) for index in range(len(records))]
    assert list(wire.records(data)) == ends
    torn = data + wire.sized(b"\x12", tail + b"x")[:-1]
    assert list(wire.records(torn)) == ends
    assert list(wire.records(data + b"\x00" + tail)) == ends


@given(st.binary(max_size=200))
def test_readers_end_on_any_bytes(data: bytes) -> None:
    """Arbitrary bytes are read or refused with ValueError, never anything else."""
    for read in (wire.read_attributes, lambda message: list(wire.fields(message))):
        try:
            read(data)
        except ValueError:
            pass
    assert all(0 < end <= len(data) for end in wire.records(data))


def test_values_beyond_the_limits_are_cut() -> None:
    """Text is cut at its limit, depth at its own; what OTLP has no form for becomes text; NaN passes."""
    _, text = only(wire.text_once("k", "x" * 100_000))
    assert text == "x" * wire.TEXT_LENGTH_MAX
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    Span.FromString(wire.attribute("k", deep))
    assert only(wire.attribute("k", {1, 2}.__class__)) == ("k", "<class 'set'>")  # type: ignore[arg-type]
    _, number = only(wire.attribute("k", math.nan))
    assert isinstance(number, float)
    assert math.isnan(number)


def test_caches_are_bounded() -> None:
    """Values that never come again do not fill the memory."""
    for number in range(10_000):
        wire.text("cached", str(number))
        wire.integer(f"key-{number}", number)
        wire.span_record(1, 1, 0, f"name-{number}", 1, 0, 0, b"", None)
    assert max(len(wire._texts), len(wire._keys), len(wire._heads)) <= wire.CACHE_ENTRIES_MAX
