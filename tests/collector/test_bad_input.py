"""Bad spans: each gets its reason, the rest of the batch is billed, and nothing hangs."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.domain.money import plain
from aforo_collector.doors.otlp import JSON, PROTOBUF, MalformedBody, Rejection, decode, unpack
from aforo_collector.doors.otlp_detail import details
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .engine import NOW_NS, NS, Engine, body, span

GOOD = {
    "aforo.customer.id": "acme", "gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1",
    "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10,
}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that takes everything."""
    made = Engine(tmp_path)
    yield made
    made.database.close()


def wrong(**changes: Any) -> dict[str, Any]:
    """A good span but for some fields or attributes."""
    made = span(1, **{**GOOD, **changes.pop("attributes", {})})
    return made | changes


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("INVALID_TRACE_ID", wrong(trace_id=b"short")),
        ("INVALID_TRACE_ID", wrong(trace_id=bytes(16))),
        ("INVALID_SPAN_ID", wrong(span_id=b"")),
        ("INVALID_SPAN_ID", wrong(span_id=b"123456789")),
        ("INVALID_PARENT_ID", wrong(parent_span_id=b"123")),
        ("TOO_FAR_IN_FUTURE", wrong(end=NOW_NS + 301 * NS)),
        ("TOO_FAR_IN_FUTURE", wrong(start=2**63, end=2**64 - 1)),
        ("TOO_OLD", wrong(start=1, end=NOW_NS - 90 * 86_400 * NS - 1)),
        ("INVALID_ATTRIBUTE", wrong(attributes={"gen_ai.usage.input_tokens": -1})),
        ("INVALID_ATTRIBUTE", wrong(attributes={"gen_ai.usage.input_tokens": float("nan")})),
        ("INVALID_ATTRIBUTE", wrong(attributes={"gen_ai.usage.input_tokens": float("inf")})),
        ("INVALID_ATTRIBUTE", wrong(attributes={"gen_ai.usage.input_tokens": "many"})),
        ("INVALID_ATTRIBUTE", wrong(attributes={"gen_ai.usage.output_tokens": 10**15})),
        ("INVALID_ATTRIBUTE", wrong(attributes={"aforo.customer.id": "x" * 1_000_000})),
    ],
)
def test_a_bad_span_is_rejected_with_its_reason_alone(engine: Engine, code: str, bad: dict[str, Any]) -> None:
    """The bad span is in the answer and in the quarantine; the good ones beside it are billed."""
    good = [span(7, trace=7, **GOOD), span(8, trace=8, **GOOD)]
    [receipt] = engine.send(body([good[0], bad, good[1]]))

    assert [rejection.code for rejection in receipt.rejections] == [code]
    assert receipt.rejections[0].detail
    assert engine.query("SELECT code, position FROM quarantine") == [(code, 1)]
    assert engine.query("SELECT count(*), sum(input) FROM usage_events") == [(2, 200)]


@pytest.mark.parametrize(
    ("said", "cost"),
    [
        *((value, value) for value in ("0.5", "0.00001", "0")),
        (0.00001, "0.00001"), (2.5e-07, "0.00000025"), (1e16, "10000000000000000"), (0.1, "0.1"), (3, "3"),
        ("25e-6", "0.000025"), ("0.50", "0.5"),
        *((value, None) for value in (-2, -0.5, float("nan"), float("inf"), 1e40, "-1", "1e-45", "free", "0x1")),
    ],
)  # fmt: skip
def test_a_cost_is_what_it_says_in_any_spelling(
    engine: Engine, said: str | int | float, cost: str | None
) -> None:
    """Text, integer or double, with an exponent or without: exact, or refused; a cheap call is no wrong one."""
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup",
        "aforo.customer.id": "acme",
    }
    [receipt] = engine.send(body([span(1, **tool, **{"aforo.provider_cost": said})]))

    assert [rejection.code for rejection in receipt.rejections] == (
        ["INVALID_ATTRIBUTE"] if cost is None else []
    )
    billed = [plain(Decimal(row[0])) for row in engine.query("SELECT cost FROM usage_events")]
    assert billed == ([] if cost is None else [cost])


@pytest.mark.parametrize(
    "odd",
    [
        wrong(attributes={f"key.{n}": n for n in range(10_000)}),
        wrong(attributes={"note": "x" * 1_000_000}),
        wrong(name="n" * 1_000_000),
        wrong(attributes={"gen_ai.request.model": "m" * 1_000_000}),
        wrong(parent_span_id=(1).to_bytes(8, "big")),
        wrong(start=NOW_NS, end=NOW_NS - NS),
        wrong(end=NOW_NS + 299 * NS),
    ],
    ids=[
        "10,000 attributes",
        "1 MB value",
        "1 MB name",
        "1 MB model",
        "its own parent",
        "ends first",
        "clock skew",
    ],
)
def test_an_odd_span_still_bills(engine: Engine, odd: dict[str, Any]) -> None:
    """Absurd size, a span that is its own parent and clocks that disagree lose no tokens."""
    [receipt] = engine.send(body([odd]))

    assert receipt.recorded == 1
    assert engine.query("SELECT count(*), sum(input) FROM usage_events") == [(1, 100)]


def test_a_cycle_is_reported_and_each_of_its_spans_billed(engine: Engine) -> None:
    """Spans that are each other's ancestors become roots; the tokens of none are lost."""
    engine.send(body([span(1, 3, **GOOD), span(2, 1, **GOOD), span(3, 2, **GOOD), span(4, 3, **GOOD)]))

    assert engine.query("SELECT code, count(*) FROM quarantine GROUP BY 1") == [("PARENT_CYCLE", 3)]
    assert engine.query("SELECT span_id FROM usage_events ORDER BY 1") == [(1,), (2,), (4,)], "3 wraps 4"


@pytest.mark.parametrize("order", [1, -1], ids=["root first", "leaf first"])
def test_a_tree_ten_thousand_deep_is_linked(engine: Engine, order: int) -> None:
    """Depth costs no recursion and no quadratic time: the one leaf bills, its ancestors are its wrappers."""
    spans = [span(n, n - 1, **GOOD) for n in range(1, 10_001)][::order]
    for start in range(0, 10_000, 500):
        engine.send(body(spans[start : start + 500]))

    rows = engine.query(
        "SELECT span_id FROM usage_events WHERE kind != 5 AND event_no NOT IN (SELECT event_no FROM voided)"
    )
    assert rows == [(10_000,)]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_a_packed_body_is_read_whole_or_refused(pack: Callable[[bytes], bytes]) -> None:
    """What stands behind the first member of a gzip body is not left unread and acknowledged."""
    assert unpack(pack(b""), "gzip", 10) == b""
    assert unpack(pack(b"spans") + bytes(8), "gzip", 10) == b"spans"
    for body_of_two in (pack(b"spans") + pack(b"more"), pack(b"spans") + b"x"):
        with pytest.raises(MalformedBody, match="behind its end"):
            unpack(body_of_two, "gzip", 100)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_spans_or_a_malformed_body(data: bytes) -> None:
    """Whatever arrives as protobuf is decoded, rejected span by span, or refused as a whole."""
    try:
        found = decode(data, PROTOBUF, NOW_NS)
    except MalformedBody:
        return
    assert all(isinstance(item, tuple) for item in found)


def sized(tag: int, content: bytes) -> bytes:
    """A field with its length in front, of up to 127 bytes."""
    return bytes([tag, len(content)]) + content


TEXT = sized(0x0A, b"prompt") + sized(0x12, sized(0x0A, b"\xf0\x9f"))
UNREADABLE = [
    ("span", sized(0x2A, b"\xff")), ("span", sized(0x4A, TEXT)), ("span", b"\x2a\x20short"), ("span", b"\x00"),
    ("resource", sized(0x0A, TEXT)), ("resource", b"\x0a\x20short"), ("scope", sized(0x0A, b"\xff")),
]  # fmt: skip


@pytest.mark.parametrize(("of", "inside"), UNREADABLE)
def test_a_span_that_cannot_be_read_is_rejected_alone(engine: Engine, of: str, inside: bytes) -> None:
    """Where a message has its length in front, what is wrong inside costs no other span; a scope none."""
    parts = {"span": b"", "scope": b"", "resource": b""} | {of: inside}
    bad = ExportTraceServiceRequest.FromString(
        body([wrong(trace_id=b"2" * 16, attributes={"gen_ai.usage.input_tokens": 7})])
    )
    resource_spans = bad.resource_spans[0]
    [scope_spans] = resource_spans.scope_spans
    spans = sized(0x0A, parts["scope"]) + _long(
        0x12, scope_spans.spans[0].SerializeToString() + parts["span"]
    )
    beside = _long(0x0A, sized(0x0A, parts["resource"]) + _long(0x12, spans))
    data = body([wrong()]) + beside + body([wrong(span_id=b"12345678")])
    engine.send(data)
    engine.restart()
    engine.send(body([span(9, parent_id=1)]))

    billed = 3 if of == "scope" else 2
    assert engine.query("SELECT count(*) FROM usage_events") == [(billed,)]
    assert engine.query("SELECT code, position FROM quarantine") == [("MALFORMED_SPAN", 1)] * (3 - billed)
    assert [one.name for one in details(data, PROTOBUF, {0, 2}).values()] == ["span", "span"]


def _long(tag: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([tag, size & 127 | 128, size >> 7]) + content


def test_half_a_sign_in_a_json_text_costs_nothing() -> None:
    """A text that was cut between the halves of a sign, as JavaScript does, is read with a mark in its place."""
    spans = [
        {"traceId": "1" * 32, "spanId": f"{number:016}", "endTimeUnixNano": str(NOW_NS), "name": name}
        for number, name in enumerate(("a\ud83d", "ab"), 1)
    ]
    data = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
    assert [getattr(found, "name", found) for found in decode(data, JSON, NOW_NS)] == ["a?", "ab"]
    assert [one.name for one in details(data, JSON, {0, 1}).values()] == ["a?", "ab"]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(JSON_VALUES | st.dictionaries(
    st.sampled_from(["traceId", "spanId", "parentSpanId", "name", "startTimeUnixNano", "attributes", "status"]),
    JSON_VALUES,
))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_json_span_is_rejected_alone(raw: Any) -> None:
    """A span of wrong types gets a reason; the good one beside it is read."""
    good = {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "chat m-1",
        "startTimeUnixNano": str(NOW_NS - NS), "endTimeUnixNano": str(NOW_NS),
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "100"}},
            {"key": "tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}]}}},
        ],
    }  # fmt: skip
    data = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [raw, good]}]}]}).encode()

    first, second = decode(data, JSON, NOW_NS)

    assert isinstance(first, Rejection)
    assert not isinstance(second, Rejection)
    assert second.trace_id.hex() == good["traceId"]
    assert second.tokens is not None
    assert second.tokens.input == 100


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"resourceSpans": 3}', b'{"resourceSpans": [{"scopeSpans": 1}]}']
)
def test_a_wrong_json_envelope_is_refused_as_a_whole(data: bytes) -> None:
    """What is no trace request at all is a malformed body."""
    with pytest.raises(MalformedBody, match="not an OTLP/JSON"):
        decode(data, JSON, NOW_NS)
