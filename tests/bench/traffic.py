"""Synthetic GenAI traffic: OTLP requests of whole agent runs, and a client that keeps connections busy.

A run is six spans of about 15 attributes: an agent above a chat, a tool, a chat, a tool and a chat.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

NS = 1_000_000_000
CUSTOMERS = 500
SPANS_PER_RUN = 6


def requests(count: int, spans: int, seed: int) -> Iterator[bytes]:
    """Serialized requests of `spans` spans each, of the last hour, every id new."""
    source = random.Random(seed)
    begun_ns = time.time_ns() - 3600 * NS
    for number in range(count):
        yield _request(source, spans, begun_ns + number * 3000 * NS // max(count, 1))


def _request(source: random.Random, spans: int, at_ns: int) -> bytes:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    _set(
        group.resource,
        {"service.name": "support-agent", "service.version": "1.4.2", "telemetry.sdk.language": "python"},
    )
    scope = group.scope_spans.add()
    scope.scope.name = "bench"
    left = spans
    while left > 0:
        left -= _run(source, scope, min(SPANS_PER_RUN, left), at_ns)
        at_ns += source.randrange(1_000_000, 5_000_000)
    return request.SerializeToString()


def _run(source: random.Random, scope: Any, spans: int, at_ns: int) -> int:
    trace_id, root_id = source.randbytes(16), source.randbytes(8)
    common = {
        "gen_ai.provider.name": "openai",
        "gen_ai.conversation.id": f"conv_{source.randrange(10**9):09d}",
        "gen_ai.agent.name": "billing_agent",
        "aforo.agent.id": "agent_7f3a",
        "aforo.customer.id": f"cust_{source.randrange(CUSTOMERS):05d}",
        "aforo.product.type": "AGENTIC_API",
        "server.address": "api.example.test",
        "server.port": 443,
    }
    for index in range(spans):
        span = scope.spans.add()
        span.trace_id = trace_id
        span.span_id = source.randbytes(8) if index else root_id
        span.parent_span_id = root_id if index else b""
        span.kind = 3
        span.start_time_unix_nano = at_ns + index * NS * 2 // 5
        span.end_time_unix_nano = at_ns + 5 * NS // 2 if not index else span.start_time_unix_nano + NS // 5
        name, attributes = _operation(source, index)
        span.name = name
        _set(span, attributes | common)
    return spans


def _operation(source: random.Random, index: int) -> tuple[str, dict[str, Any]]:
    if not index:
        named = {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "gpt-4o-mini"}
        claimed = {"gen_ai.usage.input_tokens": 9000, "gen_ai.usage.output_tokens": 900}
        return "invoke_agent billing_agent", named | claimed | {
            "gen_ai.agent.description": "answers billing questions"
        }
    if index % 2:
        return "chat gpt-4o-mini", {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.response.id": f"chatcmpl-{source.getrandbits(96):024x}",
            "gen_ai.usage.input_tokens": source.randrange(700, 4000),
            "gen_ai.usage.output_tokens": source.randrange(10, 900),
            "gen_ai.usage.cache_read.input_tokens": 512,
        }
    return "execute_tool lookup_usage", {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup_usage",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": f"call_{source.getrandbits(96):024x}",
        "gen_ai.tool.description": "Look up usage",
        "aforo.step.index": index,
        "bench.note": "a tool that looks up what somebody used",
    }


def _set(owner: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        entry = owner.attributes.add()
        entry.key = key
        if isinstance(value, int):
            entry.value.int_value = value
        else:
            entry.value.string_value = value


class Answers(NamedTuple):
    """What a client saw: acknowledged requests, wall seconds, sorted latencies in seconds."""

    acknowledged: int
    wall_s: float
    latencies_s: list[float]

    def percentile_ms(self, share: float) -> float:
        """A latency percentile in milliseconds."""
        return 1000 * self.latencies_s[min(len(self.latencies_s) - 1, int(len(self.latencies_s) * share))]


PROTOBUF = "application/x-protobuf"


def send(
    url: str,
    bodies: list[bytes],
    connections: int = 4,
    per_s: float | None = None,
    content_type: str = PROTOBUF,
) -> Answers:
    """Post every body over kept-alive connections, as fast as answers come or at a fixed rate in all."""
    return asyncio.run(_send(url, bodies, connections, per_s, content_type))


async def _send(
    url: str, bodies: list[bytes], connections: int, per_s: float | None, content_type: str
) -> Answers:
    target = urlsplit(url)
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Type: {content_type}\r\n".encode()
    )
    waiting = list(enumerate(bodies))[::-1]
    latencies: list[float] = []
    begun = time.perf_counter()

    async def work() -> None:
        reader, writer = await asyncio.open_connection(target.hostname, target.port, limit=1 << 20)
        while waiting:
            number, body = waiting.pop()
            if per_s is not None:
                await asyncio.sleep(max(0.0, begun + number / per_s - time.perf_counter()))
            while True:
                sent = time.perf_counter()
                writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(answer.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
                await reader.readexactly(length)
                if answer[9:12] in (b"200", b"202"):
                    latencies.append(time.perf_counter() - sent)
                    break
                assert answer[9:12] in (b"503", b"429"), answer
                await asyncio.sleep(0.05)
        writer.close()

    await asyncio.gather(*[work() for _ in range(connections)])
    return Answers(len(latencies), time.perf_counter() - begun, sorted(latencies))
