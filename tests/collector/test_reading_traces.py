"""The span tree of a session: its shape, what each node says, and every attribute it came with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aforo_collector.doors.otlp import JSON, decode
from aforo_collector.service import trace_reading
from aforo_collector.service.intake import Delivery
from aforo_collector.views.trace import LEVELS_MAX
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from .engine import NOW_NS, Engine, body, span
from .readings import ACME, chat, engine, reading, tool


def nodes_of(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """All nodes of a tree, parents first."""
    found = list(tree["roots"])
    for node in found:
        found += node["children"]
    return found


def trace(made: Engine, session_id: str = "s-1") -> dict[str, Any]:
    """The tree of a session that is there."""
    found = reading(made).trace(made.tenant_no, session_id)
    assert found is not None
    return found


def test_a_node_says_what_the_span_was_and_what_it_is_billed_for() -> None:
    """Operation, model, tokens, cost, standing and event ids of a call stand on its node."""
    with engine() as made:
        spans = [
            span(1, name="agent", seconds=9, gen_ai__operation__name="invoke_agent", **ACME),
            chat(2, 1, gen_ai__provider__name="openai", start_s=1),
            tool(3, 1, start_s=2),
            tool(4, 1, "write", start_s=3, error=True),
        ]
        made.send(body(spans))

        [root] = trace(made)["roots"]
        call, lookup, write = root["children"]
        events = reading(made).usage_events(made.tenant_no, session_id="s-1")["items"]

    assert (root["standing"], root["operation"], root["durationMs"]) == ("structure", "invoke_agent", 9000)
    assert (call["standing"], call["model"], call["provider"]) == ("billed", "m-1", "openai")
    assert call["tokens"] == {
        "input": 75, "output": 50, "reasoning": 0, "cacheRead": 25, "cacheWrite": 0, "total": 150,
    }  # fmt: skip
    assert call["providerCost"] == "0.000043"
    assert (lookup["toolName"], lookup["status"], write["status"]) == ("lookup", "UNSET", "ERROR")
    assert root["usageEvents"] == []
    of_spans = sorted(event["eventId"] for event in events)
    assert sorted(call["usageEvents"] + lookup["usageEvents"] + write["usageEvents"]) == of_spans
    assert call["parentSpanId"] == root["spanId"]


def test_totals_wrappers_and_unknown_costs_say_so() -> None:
    """A claim shows its tokens but costs nothing; a call without a price is unpriced, not free."""
    with engine() as made:
        made.send(body([chat(1, seconds=5, **ACME), chat(2, 1, "mystery", start_s=1)]))

        claim, call = nodes_of(trace(made))

    assert (claim["standing"], claim["tokens"]["total"], claim["providerCost"]) == ("claim", 150, None)
    assert (call["standing"], call["providerCost"], call["unpriced"]) == ("billed", None, "unknown_model")


def test_every_attribute_is_shown_with_lists_and_maps() -> None:
    """Lists, maps, bytes, NaN and what has no value come back, of spans, resources and span events."""
    request = ExportTraceServiceRequest.FromString(body([chat(1, **ACME)], {"service.name": "shop"}))
    message = request.resource_spans[0].scope_spans[0].spans[0]
    for key, text in (
        ("list", '["a",1]'),
        ("map", '{"a":[true]}'),
        ("data", "AAE="),
        ("nan", "NaN"),
        ("none", ""),
    ):
        message.attributes.add(key=key).value.CopyFrom(any_value(key, text))
    message.status.message = "as well as could be"
    event = message.events.add(name="exception", time_unix_nano=NOW_NS)
    event.attributes.add(key="exception.type").value.string_value = "KeyError"
    with engine() as made:
        made.send(request.SerializeToString())
        [node] = trace(made)["roots"]

    shown = {key: node["attributes"][key] for key in ("list", "map", "data", "nan", "none")}
    assert shown == {"list": ["a", 1], "map": {"a": [True]}, "data": "AAE=", "nan": "NaN", "none": None}
    assert node["attributes"]["gen_ai.usage.input_tokens"] == 100
    assert node["resourceAttributes"] == {"service.name": "shop"}
    assert node["statusMessage"] == "as well as could be"
    assert [event["attributes"] for event in node["spanEvents"]] == [{"exception.type": "KeyError"}]


def any_value(kind: str, text: str) -> AnyValue:
    """A value that billing does not read."""
    value = AnyValue()
    if kind == "list":
        value.array_value.values.add(string_value="a")
        value.array_value.values.add(int_value=1)
    elif kind == "map":
        inner = value.kvlist_value.values.add(key="a")
        inner.value.array_value.values.add(bool_value=True)
    elif kind == "data":
        value.bytes_value = b"\x00\x01"
    elif kind == "nan":
        value.double_value = float(text)
    return value


def test_spans_that_came_as_json_show_the_same() -> None:
    """A JSON body shows the same node as the protobuf body of the same span."""
    attributes = [
        {"key": "aforo.customer.id", "value": {"stringValue": "acme"}},
        {"key": "aforo.session.id", "value": {"stringValue": "s-1"}},
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": True}}]}}},
        {"key": "infinite", "value": {"doubleValue": 1.5}},
        {"key": "none", "value": {}},
    ]
    one = {
        "traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "name": "chat", "status": {"code": 2, "message": "no"},
        "startTimeUnixNano": str(NOW_NS - 10**9), "endTimeUnixNano": str(NOW_NS), "attributes": attributes,
        "events": [{"name": "retry", "timeUnixNano": str(NOW_NS), "attributes": []}, 5],
    }  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    sent = json.dumps(
        {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [{"traceId": 5}, one]}]}]}
    ).encode()
    with engine() as made:
        made.store.begin()
        delivery = Delivery(made.tenant_no, JSON, sent, decode(sent, JSON, NOW_NS))
        made.intake.take(delivery, NOW_NS)
        made.intake.finish(NOW_NS)
        made.store.commit(made.policy)
        [node] = trace(made)["roots"]

    shown = {key: node["attributes"][key] for key in ("list", "map", "infinite", "none")}
    assert shown == {"list": ["a", 1], "map": {"a": True}, "infinite": 1.5, "none": None}
    assert (node["tokens"]["input"], node["status"], node["durationMs"]) == (12, "ERROR", 1000)
    assert node["resourceAttributes"] == {"service.name": "shop"}
    assert [event["name"] for event in node["spanEvents"]] == ["retry", "(cannot be read)"]


def test_what_the_door_did_not_read_cannot_hide_the_rest() -> None:
    """Nesting of any depth and bytes that are no message are shown as such, beside all other attributes."""
    broken = (
        b"\x0a\x06broken\x12\x04\x2a\x02\xff\xff"  # KeyValue "broken": AnyValue.array_value of two odd bytes
    )
    request = ExportTraceServiceRequest.FromString(body([chat(1, **ACME)]))
    message = request.resource_spans[0].scope_spans[0].spans[0]
    raw = message.SerializeToString()
    nested = AnyValue(string_value="x").SerializeToString()
    for _ in range(300):
        inner = b"\x0a" + varint(len(nested)) + nested
        nested = b"\x2a" + varint(len(inner)) + inner
    for entry in (b"\x0a\x04deep\x12" + varint(len(nested)) + nested, broken):
        raw += b"\x4a" + varint(len(entry)) + entry
    scope = b"\x12" + varint(len(raw)) + raw
    group = b"\x12" + varint(len(scope)) + scope
    with engine() as made:
        made.send(b"\x0a" + varint(len(group)) + group)
        [node] = trace(made)["roots"]

    depth, value = 0, node["attributes"]["deep"]
    while isinstance(value, list):
        [value] = value
        depth += 1
    assert (depth, value) == (31, "(nested too deep to show)")
    assert node["attributes"]["broken"] == "(cannot be read)"
    assert node["attributes"]["gen_ai.request.model"] == "m-1"


def varint(number: int) -> bytes:
    """A protobuf varint."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def test_a_chain_of_ten_thousand_spans_is_shown_whole() -> None:
    """Below level 100 descendants are children of the node there and say so; none is lost."""
    chain = [span(number, number - 1, start_s=number / 100, seconds=1, **ACME) for number in range(1, 10_001)]
    with engine() as made:
        made.send(body(chain))
        tree = trace(made)

    node, level = tree["roots"][0], 1
    while level < LEVELS_MAX:
        [node] = node["children"]
        level += 1
    assert node["depthCapped"] is True
    assert len(node["children"]) == 10_000 - LEVELS_MAX
    assert [int(child["spanId"], 16) for child in node["children"]] == list(range(101, 10_001))
    assert all(child.get("depthCapped") for child in node["children"][1:])
    assert tree["spanCount"] == len(nodes_of(tree)) == 10_000
    json.dumps(tree)


def test_cycles_orphans_and_other_sessions_make_roots() -> None:
    """Spans of a cycle, of a parent that never came, and below another session's span are roots."""
    with engine() as made:
        spans = [
            span(1, 2, start_s=1, **ACME),
            span(2, 1, start_s=2, **ACME),
            span(3, 99, start_s=3, **ACME),
            span(4, 0, start_s=0, **{**ACME, "aforo__session__id": "s-2"}),
            span(5, 4, start_s=4, **ACME),
        ]
        made.send(body(spans))
        tree = trace(made)

    assert [int(root["spanId"], 16) for root in tree["roots"]] == [1, 2, 3, 5]
    assert [root["parentSpanId"] and int(root["parentSpanId"], 16) for root in tree["roots"]] == [2, 1, 99, 4]
    assert tree["spanCount"] == 4


def test_the_mark_of_the_end_is_no_part_of_the_tree() -> None:
    """A session-end span closes the session and is not shown."""
    with engine() as made:
        made.send(body([chat(1, **ACME), span(2, aforo__operation__name="session_end", start_s=2, **ACME)]))

        tree = trace(made)
        session = reading(made).session(made.tenant_no, "s-1")

    assert tree["spanCount"] == len(tree["roots"]) == 1
    assert session is not None
    assert session["state"] == "CLOSED"


def test_a_tree_of_absurd_size_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the first spans to arrive are shown, with the number of the others."""
    monkeypatch.setattr(trace_reading, "SPANS_SHOWN_MAX", 3)
    with engine() as made:
        made.send(body([span(number, **ACME) for number in range(1, 6)]))
        tree = trace(made)

    assert (tree["spanCount"], tree["spansLeftOut"], len(tree["roots"])) == (3, 2, 3)


def test_a_trace_is_found_in_either_case() -> None:
    """Its id is a number in hexadecimal: capital letters find the same spans and events as small ones."""
    trace_id = f"{0xABCDEF:032x}"
    with engine() as made:
        made.send(body([chat(1, trace=0xABCDEF, **ACME)]))
        for key, said in (("small", trace_id), ("capital", trace_id.upper())):
            made.submit({"customerId": "acme", "metricName": "pages", "quantity": 1, "traceId": said,
                         "idempotencyKey": key})  # fmt: skip
        found = [
            [
                event["eventId"]
                for event in reading(made).usage_events(made.tenant_no, trace_id=asked)["items"]
            ]
            for asked in (trace_id, trace_id.upper())
        ]
        assert found[0] == found[1]
        assert {"small", "capital"} < set(found[0])
