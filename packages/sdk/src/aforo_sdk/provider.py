"""A `TracerProvider` of the OpenTelemetry API whose spans go to the spool.

For other instrumentations of GenAI: give them `aforo_sdk.tracer_provider()` and their spans are billed. It
has no sampler, no queue and no exporter; `OTEL_SDK_DISABLED`, `OTEL_TRACES_SAMPLER`, an unsampled parent and
the SDK's limits mean nothing to it. Its own limits: `ATTRIBUTES_MAX` attributes a span, 65,536 characters a
text. Events and links are not kept: no bill is made from them.
"""

# ruff: noqa: ARG002 - the signatures are OpenTelemetry's
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util import types
from opentelemetry.util._decorator import _agnosticcontextmanager

from aforo_sdk import conventions, ids, notices, parents, runtime, wire
from aforo_sdk.errors import error_text, error_type
from aforo_sdk.identity import ATTRIBUTE_NAMES, Identity
from aforo_sdk.parents import Metered

ATTRIBUTES_MAX: Final = 1024
_TIME_NS_MAX: Final = (1 << 64) - 1


class SpoolSpan(trace.Span, Metered):
    """A span that is written to the spool when it ends; after that it does not change any more."""

    def __init__(
        self, name: str, context: SpanContext, parent_id: int, kind: int, start_ns: int, payer: Identity
    ) -> None:
        self._name = str(name)
        self._context = context
        self._parent_id = parent_id
        self._kind = kind
        self._start_ns = start_ns
        self._payer = payer
        self._attributes: dict[str, types.AttributeValue] = {}
        self._error: str | None = None
        self._status = StatusCode.UNSET
        self._ended = False

    def get_span_context(self) -> SpanContext:
        """The ids of this span; always sampled."""
        return self._context

    def is_recording(self) -> bool:
        """Whether the span is still open."""
        return not self._ended

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """Set one attribute; the last value of a key counts. None is left out."""
        if self._ended or value is None:
            return
        if key in self._attributes or len(self._attributes) < ATTRIBUTES_MAX:
            self._attributes[str(key)] = value
        else:
            notices.count("attributes_dropped")

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """Set several attributes."""
        for key, value in (attributes or {}).items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: types.Attributes = None, timestamp: int | None = None) -> None:
        """Not kept."""

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """Not kept."""

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if not self._ended:
            self._name = str(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; as in the SDK, OK is final and UNSET changes nothing."""
        stated = status if isinstance(status, Status) else Status(status, description)
        if self._ended or self._status is StatusCode.OK or stated.is_unset:
            return
        self._status = stated.status_code
        self._error = None if stated.is_ok else stated.description or ""

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Keep the exception's class as `error.type`, unless one is set."""
        if conventions.ERROR_TYPE not in self._attributes:
            self.set_attribute(conventions.ERROR_TYPE, error_type(exception))

    def end(self, end_time: int | None = None) -> None:
        """Write the span to the spool. The first call counts. Never raises."""
        if self._ended:
            return
        self._ended = True
        try:
            runtime.emit(
                self._context.trace_id,
                self._context.span_id,
                self._parent_id,
                self._name,
                self._kind,
                self._start_ns,
                _time_ns(end_time),
                self._stamped(),
                self._error,
            )
        except Exception as problem:
            # An attribute that cannot even be turned into text. The span is billed by what identifies it.
            notices.count("spans_failed")
            notices.warn_once(
                "span", f"aforo: a span could not be recorded ({type(problem).__name__}: {problem})."
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the span, with the error that leaves the block."""
        if error is not None and not isinstance(error, GeneratorExit) and self.is_recording():
            self.record_exception(error)
            self.set_status(StatusCode.ERROR, error_text(error))
        super().__exit__(kind, error, traceback)

    def _stamped(self) -> bytes:
        """Identity first, then the span's own attributes; what the instrumentation itself says about the
        payer wins.
        """
        own = {name: self._attributes.pop(key, None) for name, key in ATTRIBUTE_NAMES.items()}
        stated = Identity(**{name: None if value is None else str(value) for name, value in own.items()})
        parts = [stated.over(self._payer).attributes]
        for key, value in self._attributes.items():
            try:
                parts.append(wire.attribute(key, cast(wire.AttributeValue, value)))
            except Exception:
                notices.count("attributes_dropped")
        return b"".join(parts)


class SpoolTracer(trace.Tracer):
    """Starts spans that go to the spool."""

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace.Span:
        """A new span under the span of `context` (whatever its sampling flag), else under our innermost
        open call.
        """
        trace_id, parent_id = _parent(context) or (ids.new_trace_id(), 0)
        span = SpoolSpan(
            name,
            SpanContext(
                trace_id, ids.new_span_id(), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
            ),
            parent_id,
            kind.value + 1,  # OTLP counts from 1
            _time_ns(start_time),
            runtime.current_identity(context),
        )
        span.set_attributes(attributes or {})
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """`start_span`, current within the block."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(
            span,
            end_on_exit=end_on_exit,
            record_exception=record_exception,
            set_status_on_exception=set_status_on_exception,
        ):
            yield span


class SpoolTracerProvider(trace.TracerProvider):
    """Gives out tracers whose spans go to the spool. One tracer serves all: scopes are not told apart."""

    def __init__(self) -> None:
        self._tracer = SpoolTracer()

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: types.Attributes = None,
    ) -> trace.Tracer:
        """The tracer."""
        return self._tracer


_provider: Final = SpoolTracerProvider()


def tracer_provider() -> trace.TracerProvider:
    """The private provider of this process, for instrumentations that take one."""
    return _provider


def _parent(context: Context | None) -> tuple[int, int] | None:
    if context is None and (found := parents.current_parent()) is not None:
        return found
    stated = trace.get_current_span(context).get_span_context()
    return (stated.trace_id, stated.span_id) if stated.is_valid else None


def _time_ns(value: object) -> int:
    """A time given by an instrumentation, brought into the range of the wire; now when it is none."""
    return min(max(value, 0), _TIME_NS_MAX) if isinstance(value, int) else time.time_ns()
