"""The bodies of deliveries, kept compressed; any span is read again from the one it came in."""

from __future__ import annotations

from collections.abc import Callable

import zstandard

from aforo_collector.domain.identity import Identity
from aforo_collector.domain.span import Span
from aforo_collector.domain.trace import Node
from aforo_collector.doors.otlp import Rejection, reread
from aforo_collector.store.trace_rows import TraceRows

_BATCHES_READ_MAX = 8


class Archive:
    """Keeps and reads batches on the writing side."""

    def __init__(self, traces: TraceRows) -> None:
        self._traces = traces
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._read: dict[int, Callable[[int], Span | Rejection]] = {}

    def keep(
        self, batch_no: int, tenant_no: int, content_type: str, spans: int, body: bytes, caller: Identity,
        now_ns: int,
    ) -> None:  # fmt: skip
        """Write a body down, compressed, and what its credential said of who pays."""
        packed = self._compressor.compress(body)
        self._traces.put_batch(batch_no, tenant_no, now_ns, content_type, spans, packed, caller)

    def forget(self) -> None:
        """Drop all memory: after a rollback a batch number may be given to another body."""
        self._read.clear()

    def span_of(self, node: Node) -> Span:
        """The span of a stored node."""
        span_at = self._read.get(node.batch_no)
        if span_at is None:
            content_type, packed, caller = self._traces.batch(node.batch_no)
            body = zstandard.ZstdDecompressor().decompress(packed)
            span_at = reread(body, content_type, caller)
            if len(self._read) >= _BATCHES_READ_MAX:
                del self._read[next(iter(self._read))]
            self._read[node.batch_no] = span_at
        span = span_at(node.position)
        assert isinstance(span, Span)
        return span
