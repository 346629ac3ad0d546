"""`POST /v1/traces`: what every client of OTLP/HTTP relies on."""

import asyncio
import gzip
import json
import socket
import sqlite3
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.collector.running import Running, Start
from tests.collector.wire import JSON, PROTOBUF, body, chat, customer, tool

MIB = 1024 * 1024


def post(
    collector: Running, content: Any, headers: dict[str, str] = PROTOBUF, **more: str
) -> httpx2.Response:
    """The answer to a request of these bytes."""
    return collector.http.post("/v1/traces", content=content, headers=headers | more)


def recorded(collector: Running, customer_id: str) -> list[dict[str, Any]]:
    """The usage events of a customer."""
    return collector.data("/v1/usage-events", customerId=customer_id)


def test_protobuf_is_answered_in_protobuf_once_it_can_be_read_back(collector: Running) -> None:
    """A 200 is an ExportTraceServiceResponse, and every read after it shows the span's events."""
    acme = customer()
    response = post(collector, body(chat(acme), tool(acme)))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-protobuf"
    assert not ExportTraceServiceResponse.FromString(response.content).HasField("partial_success")
    metrics = {event["metricName"] for event in recorded(collector, acme)}
    assert {"agentic_api.tool_calls", "agentic_api.input_tokens"} <= metrics


def test_json_with_hexadecimal_ids_bills_like_protobuf(collector: Running) -> None:
    """OTLP/JSON spells ids in hexadecimal and numbers as text; the events carry exactly these ids."""
    acme, trace_id, span_id = customer(), "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    now_ns = time.time_ns()
    document = {
        "resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": trace_id, "spanId": span_id, "name": "execute_tool lookup", "kind": 1,
            "startTimeUnixNano": str(now_ns - 5_000_000), "endTimeUnixNano": str(now_ns),
            "attributes": [
                {"key": "gen_ai.operation.name", "value": {"stringValue": "execute_tool"}},
                {"key": "gen_ai.tool.name", "value": {"stringValue": "lookup"}},
                {"key": "aforo.customer.id", "value": {"stringValue": acme}},
            ],
        }]}]}]
    }  # fmt: skip
    response = post(collector, json.dumps(document).encode(), JSON)
    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["content-type"] == "application/json"
    events = recorded(collector, acme)
    assert {(event["traceId"], event["spanId"]) for event in events} == {(trace_id, span_id)}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", ""])
def test_bodies_may_be_compressed(collector: Running, encoding: str) -> None:
    """Gzip and deflate bodies are unpacked before they are read."""
    acme, content = customer(), body(tool(customer_id := customer()))
    packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(content)
    more = {"Content-Encoding": encoding} if encoding else {}
    assert post(collector, packed, **more).status_code == 200
    assert recorded(collector, customer_id)
    assert not recorded(collector, acme)


def test_a_span_that_cannot_be_billed_costs_only_itself(collector: Running) -> None:
    """`partialSuccess` counts the rejected spans and says why, in both encodings; the rest is billed."""
    acme = customer()
    bad = chat(acme, gen_ai__usage__input_tokens=-5)
    response = post(collector, body(bad, tool(acme)))
    partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    assert (response.status_code, partial.rejected_spans) == (200, 1)
    assert "INVALID_ATTRIBUTE" in partial.error_message
    assert {event["toolName"] for event in recorded(collector, acme)} == {"lookup"}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "00", "spanId": "11"}]}]}]}
    answered = post(collector, json.dumps(document).encode(), JSON).json()
    assert answered["partialSuccess"]["rejectedSpans"] == "1"
    assert answered["partialSuccess"]["errorMessage"]


def test_sending_again_changes_nothing(collector: Running) -> None:
    """A retry of an acknowledged body is counted as duplicates and billed once."""
    acme = customer()
    content = body(tool(acme), chat(acme))
    before = collector.data("/v1/intake/balance")
    for _ in range(3):
        assert post(collector, content).status_code == 200
    after = collector.data("/v1/intake/balance")
    assert after["duplicates"] - before["duplicates"] == 4
    assert after["recorded"] - before["recorded"] == 2
    outcomes = ("recorded", "duplicates", "conflicts", "rejected")
    assert after["received"] == sum(after[outcome] for outcome in outcomes)


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"{", JSON, 400),
        (b'{"resourceSpans": 7}', JSON, 400),
        (b"no gzip", PROTOBUF | {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"x" * 100, mtime=0)[:-9], PROTOBUF | {"Content-Encoding": "gzip"}, 400),
        (b"", PROTOBUF | {"Content-Encoding": "br"}, 400),
        (b"", PROTOBUF | {"X-API-Key": "sk_live_other"}, 401),
        (b"", JSON | {"Authorization": "Bearer sk_live_other"}, 401),
    ],
)
def test_errors_have_the_content_type_of_the_request(
    collector: Running, content: bytes, headers: dict[str, str], status: int
) -> None:
    """What is wrong with a request is said as google.rpc.Status, in protobuf or JSON as it was asked."""
    response = collector.http.post("/v1/traces", content=content, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == headers["Content-Type"]
    if headers["Content-Type"] == "application/json":
        message = response.json()["message"]
    else:
        message = Status.FromString(response.content).message
    assert ": " in message
    assert collector.http.get("/livez").status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_content_types_are_refused(collector: Running, content_type: str) -> None:
    """415 for anything that is neither protobuf nor JSON."""
    response = post(collector, b"", {"Content-Type": content_type} if content_type else {})
    assert (response.status_code, response.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_content_type_may_have_parameters(collector: Running) -> None:
    """`application/json; charset=utf-8` is JSON."""
    response = post(collector, b"{}", {"Content-Type": "application/json; charset=utf-8"})
    assert response.status_code == 200


def test_large_bodies_are_refused(start: Start) -> None:
    """413 by Content-Length, by what arrives in chunks, and by what a body unpacks to; it goes on serving."""
    collector = start("--dev", "--body-bytes-max", str(MIB))
    acme = customer()
    for content, more in [
        (b"x" * (MIB + 1), {}),
        (iter([b"x" * MIB, b"x"]), {}),
        (gzip.compress(b"x" * (4 * MIB + 1)), {"Content-Encoding": "gzip"}),
    ]:
        response = post(collector, content, **more)
        assert response.status_code == 413
        assert "BODY_TOO_LARGE" in Status.FromString(response.content).message
    assert post(collector, body(tool(acme))).status_code == 200
    assert recorded(collector, acme)


def test_too_much_at_once_is_sent_away_for_a_moment(start: Start) -> None:
    """With more bytes in flight than fit, requests get 503 with Retry-After; what is sent again is billed."""
    collector = start("--dev", "--body-bytes-max", str(60 * MIB))
    held = socket.create_connection(httpx2.URL(collector.url).netloc.decode().split(":"), timeout=30)
    with held:
        held.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
            b"Content-Length: 60000000\r\n\r\n"
        )
        held.sendall(b"\0" * 59_000_000)
        acme = customer()
        large = body(*[tool(acme, note="x" * 1_000_000) for _ in range(12)])
        while (response := post(collector, large)).status_code == 200:
            time.sleep(0.05)
        assert response.status_code == 503
        assert 0 < int(response.headers["retry-after"]) < 10
        assert "BUSY" in Status.FromString(response.content).message
    while (response := post(collector, large)).status_code == 503:
        time.sleep(0.05)
    assert response.status_code == 200


def test_many_clients_at_once_are_all_recorded(collector: Running) -> None:
    """Requests that wait together become one transaction, and none of them is lost."""
    acme = customer()
    bodies = [body(*[tool(acme) for _ in range(5)]) for _ in range(60)]
    with ThreadPoolExecutor(12) as threads:
        responses = list(threads.map(lambda content: post(collector, content), bodies))
    assert {response.status_code for response in responses} == {200}
    calls = collector.data(
        "/v1/usage-events", customerId=acme, metricName="agentic_api.tool_calls", limit=1000
    )
    assert len(calls) == 300


def test_a_bad_body_between_good_ones_fails_alone(collector: Running) -> None:
    """A malformed body gets its 400 although it waits in one group with others, which are recorded."""
    acme = customer()
    good, bad = body(tool(acme)), b"\xff"
    with ThreadPoolExecutor(8) as threads:
        contents = [good if number % 2 else bad for number in range(40)]
        statuses = list(threads.map(lambda content: post(collector, content).status_code, contents))
    assert statuses == [200 if number % 2 else 400 for number in range(40)]


def test_the_official_exporter_delivers(collector: Running) -> None:
    """OpenTelemetry's own OTLP/HTTP exporter works unchanged, identity on the resource included."""
    acme = customer()
    provider = TracerProvider(
        resource=Resource({"aforo.customer.id": acme, "aforo.product.type": "AI_AGENT"})
    )
    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces", headers={"x-api-key": "sk_test_dev"})
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("app").start_as_current_span("execute_tool search") as span:
        span.set_attributes({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"})
    provider.shutdown()
    events = recorded(collector, acme)
    assert {event["metricName"] for event in events} == {"ai_agent.tool_calls", "ai_agent.steps"}
    assert {event["toolName"] for event in events} == {"search"}


def test_a_full_queue_sends_away_and_loses_nothing(start: Start, tmp_path: Path) -> None:
    """While the store cannot be written, requests wait up to a bound, beyond it 503; none is half done."""
    collector = start("--dev")
    acme = customer()
    bodies = [body(tool(acme)) for _ in range(400)]
    lock = sqlite3.connect(tmp_path / "data" / "aforo.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    statuses = asyncio.run(_post_all(collector, bodies, lock))
    lock.close()
    assert set(statuses) == {200, 503}
    calls = collector.data(
        "/v1/usage-events", customerId=acme, metricName="agentic_api.tool_calls", limit=1000
    )
    assert len(calls) == statuses.count(200) >= 255, (
        "256 may wait, one of them the start's own look at prices"
    )


async def _post_all(collector: Running, bodies: list[bytes], lock: sqlite3.Connection) -> list[int]:
    """Post everything at once, and let go of the store as soon as the first was sent away."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(limits=limits, timeout=30, trust_env=False) as http:

        async def one(content: bytes) -> int:
            response = await http.post(f"{collector.url}/v1/traces", content=content, headers=PROTOBUF)
            if response.status_code == 503 and lock.in_transaction:
                assert response.headers["retry-after"] == "2"
                ready = await http.get(f"{collector.url}/readyz")
                if lock.in_transaction:
                    assert ready.status_code == 503
                    lock.execute("ROLLBACK")
            return response.status_code

        return await asyncio.gather(*map(one, bodies))
