"""A spool read back with OpenTelemetry's own protobuf classes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Status


@dataclass(frozen=True, slots=True)
class Seen:
    """One span out of the spool. `parent` is the parent's span id in hex, empty for none."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    failed: bool
    message: str
    attributes: dict[str, Any] = field(hash=False)

    def __getitem__(self, key: str) -> Any:
        """Return an attribute; None if the span has none of that name."""
        return self.attributes.get(key)


class Spans(list[Seen]):
    """The spans of one spool, in the order they were written."""

    def named(self, name: str) -> list[Seen]:
        """Return all spans of this name."""
        return [span for span in self if span.name == name]

    def one(self, name: str) -> Seen:
        """Return the only span of this name."""
        (span,) = self.named(name)
        return span

    def under(self, parent: Seen) -> list[Seen]:
        """Return the children of a span."""
        return [span for span in self if span.parent == parent.id and span.trace == parent.trace]

    def path(self, span: Seen) -> list[str]:
        """Return the names from the root down to `span`."""
        above = [other for other in self if other.id == span.parent and other.trace == span.trace]
        return [*(self.path(above[0]) if above else []), span.name]


def _value(value: AnyValue) -> Any:
    if value.WhichOneof("value") == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, value.WhichOneof("value") or "string_value")


def read(folder: Path) -> Spans:
    """Decode every segment of a spool folder: each file is one `ScopeSpans` message."""
    return Spans(
        Seen(
            name=span.name,
            kind=span.kind,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            failed=span.status.code == Status.STATUS_CODE_ERROR,
            message=span.status.message,
            attributes={attribute.key: _value(attribute.value) for attribute in span.attributes},
        )
        for path in sorted(folder.glob("*.seg"))
        for span in ScopeSpans.FromString(path.read_bytes()).spans
    )


ReadSpans = Callable[[], Spans]
