"""A small real collector for tests: an HTTP server that decodes OTLP with the official schema and can be
told to fail.
"""

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, slots=True)
class Reply:
    """What the sink answers: status, headers, body, and how long it takes."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Got:
    """One request as it arrived: when (monotonic), its headers and its decoded content."""

    at: float
    headers: dict[str, str]
    content: ExportTraceServiceRequest
    status: int


class Sink:
    """Listens on a free loopback port. `answer` decides about each request; spans of accepted ones are
    kept.
    """

    def __init__(self) -> None:
        self.answer: Callable[[ExportTraceServiceRequest], Reply] = lambda _: Reply()
        self.requests: list[Got] = []
        self.connections = 0
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                sink.connections += 1
                super().setup()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                content = ExportTraceServiceRequest.FromString(body)
                reply = sink.answer(content)
                sink.requests.append(Got(time.monotonic(), dict(self.headers.items()), content, reply.status))
                time.sleep(reply.delay_s)
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/x-protobuf")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: object) -> None:
                pass  # A killed client breaks its connection: that is what is tested.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()

    @property
    def spans(self) -> list[Span]:
        """The spans of every accepted request, in the order of arrival."""
        return [span for got in list(self.requests) if got.status < 300 for span in spans_of(got.content)]

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans]

    def span(self, name: str) -> Span:
        """The one span of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def wait_for(self, names: set[str], timeout_s: float = 20.0) -> bool:
        """Wait until spans of all these names have arrived."""
        deadline = time.monotonic() + timeout_s
        while not names <= set(self.names):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def spans_of(content: ExportTraceServiceRequest) -> list[Span]:
    """The spans of a request, in order."""
    return [
        span for resource in content.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]


def value_of(value: AnyValue) -> object:
    """An OTLP value as a Python value."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(value_of(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return {pair.key: value_of(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def attributes_of(span: Span) -> dict[str, object]:
    """The attributes of a span; the last value of a repeated key counts."""
    return {pair.key: value_of(pair.value) for pair in span.attributes}
