"""Which span encloses the code that runs now.

Our decorators keep their open span in a context variable of their own and never attach it to the
OpenTelemetry context: the application's spans must not become children of spans its backend never sees.
"""

from contextvars import ContextVar
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import get_current


class Metered:
    """Marks spans of our own `TracerProvider`: they are in the spool, whatever their parent's sampling
    flag says.
    """

    __slots__ = ()


class OpenSpan(NamedTuple):
    """A decorated call that is running: its ids, its agent's name, and the ambient span that was current
    at its start.
    """

    trace_id: int
    span_id: int
    agent_name: str | None
    ambient: trace.Span


open_span: Final[ContextVar[OpenSpan | None]] = ContextVar("aforo_open_span", default=None)


def current_parent() -> tuple[int, int] | None:
    """(trace id, span id) of the innermost open decorated call, else of the ambient sampled OpenTelemetry
    span.

    None when there is neither: the caller starts a trace of its own.
    """
    enclosing = open_span.get()
    if enclosing is None and not get_current():  # the usual case, in one step
        return None
    ambient = trace.get_current_span()
    if enclosing is not None and not (isinstance(ambient, Metered) and ambient is not enclosing.ambient):
        return enclosing.trace_id, enclosing.span_id
    context = ambient.get_span_context()
    if context.is_valid and context.trace_flags.sampled:
        return context.trace_id, context.span_id
    return None
