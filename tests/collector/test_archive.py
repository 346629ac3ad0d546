"""Spans that are needed again are read from the bodies they came in, one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.doors import otlp
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .engine import Engine, body, span

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 7}
SPANS = [span(number, number // 2, source=f"source-{number % 3}", **CHAT) for number in range(1, 9)]


def as_json(sent: bytes) -> bytes:
    """The same request in OTLP/JSON, which has the ids in hex."""
    request = MessageToDict(ExportTraceServiceRequest.FromString(sent))
    for scope_spans in request["resourceSpans"][0]["scopeSpans"]:
        for one in scope_spans["spans"]:
            one["traceId"] = f"{1:032x}"
            one["spanId"] = f"{1:016x}"
    return json.dumps(request).encode()


@pytest.mark.parametrize("caller", [NOBODY, Identity("globex", app_id="portal")], ids=["", "customer"])
def test_a_span_that_is_read_again_is_the_one_that_came(caller: Identity) -> None:
    """In both encodings, by its place in the body, whoever sent it."""
    sent = body(SPANS, {"aforo.customer.id": "acme"})
    for data, content_type in ((sent, otlp.PROTOBUF), (as_json(sent), otlp.JSON)):
        at = otlp.reread(data, content_type, caller)
        assert [at(place) for place in range(len(SPANS))] == otlp.decode(data, content_type, None, caller)


def test_of_a_batch_only_what_is_needed_is_translated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent that comes late costs as much as it has children, however many spans came together with those."""
    read: list[Any] = []
    translate = otlp._span

    def counted(*given: Any) -> Any:
        read.append(given)
        return translate(*given)

    made = Engine(tmp_path)
    crowd = [span(100 + number, trace=7, **CHAT) for number in range(50)]
    made.send(body([*crowd, span(2, 1, trace=7, **CHAT)], {"aforo.customer.id": "acme"}))
    made.restart()
    late = body(
        [span(1, trace=7, **{"gen_ai.operation.name": "invoke_agent", "aforo.customer.id": "globex"})]
    )
    monkeypatch.setattr(otlp, "_span", counted)
    made.send(late)
    made.database.close()
    assert 2 <= len(read) <= 3
