"""Which span encloses the code that runs now.

Our decorators and plugins keep their open span in a context variable of their own and never attach it to the
OpenTelemetry context: the application's spans must not become children of spans its backend never sees.
"""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from opentelemetry import trace
from opentelemetry.context import Context, get_current

from aforo_sdk.identity import Identity, in_context


class Metered:
    """Marks spans of our own `TracerProvider`: they are in the spool, whatever their parent's sampling
    flag says.
    """

    __slots__ = ()


class OpenSpan(NamedTuple):
    """An open call of ours that is running: its ids, its agent's name, and the ambient span that was
    current at its start.
    """

    trace_id: int
    span_id: int
    agent_name: str | None
    ambient: trace.Span


open_span: Final[ContextVar[OpenSpan | None]] = ContextVar("aforo_open_span", default=None)


def current_parent(context: Context | None = None) -> tuple[int, int] | None:
    """(trace id, span id) of the innermost open call of ours, else of the sampled OpenTelemetry span of `context`
    (None = the current one).

    A span that was opened on our own `TracerProvider` since that call began lies further inside and wins.

    None when there is neither: the caller starts a trace of its own.
    """
    enclosing = open_span.get()
    if context is None:
        context = get_current()
    if not context:  # nothing of OpenTelemetry's here at all: the usual case, in one step
        return None if enclosing is None else (enclosing.trace_id, enclosing.span_id)
    ambient = trace.get_current_span(context)
    if enclosing is not None and not (isinstance(ambient, Metered) and ambient is not enclosing.ambient):
        return enclosing.trace_id, enclosing.span_id
    span = ambient.get_span_context()
    if span.is_valid and span.trace_flags.sampled:
        return span.trace_id, span.span_id
    return None


class Inside:
    """A stretch of code inside of an open span: what is metered there hangs under it and is for its payer.

    `with Inside(trace_id, span_id, payer):` around the code that a call runs; one object serves any number of
    stretches, one after the other. `payer` is all that is known of who pays, `agent_name` the agent that
    runs. What the code says itself wins: a session, a decorated call, an agent of its own. Where a stretch
    ends in another context than it began in, nothing is put back.
    """

    __slots__ = ("_agent_name", "_payer", "_payers", "_span_id", "_spans", "_trace_id")

    def __init__(self, trace_id: int, span_id: int, payer: Identity, agent_name: str | None = None) -> None:
        self._trace_id = trace_id
        self._span_id = span_id
        self._payer = payer
        self._agent_name = agent_name
        self._spans: Token[OpenSpan | None] | None = None
        self._payers: Token[Identity] | None = None

    def __enter__(self) -> Self:
        ambient = trace.get_current_span() if get_current() else trace.INVALID_SPAN
        opened = OpenSpan(self._trace_id, self._span_id, self._agent_name, ambient)
        self._spans = open_span.set(opened)
        self._payers = in_context.set(self._payer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._payers is not None and self._spans is not None:
            try:
                in_context.reset(self._payers)
                open_span.reset(self._spans)
            except (ValueError, RuntimeError):
                pass  # begun in another context, where nothing of ours is set now


def put_back(variable: ContextVar[Any], token: Token[Any]) -> bool:
    """Give a context variable the value back that it had before `token`.

    False where that is not possible: the stretch ends in another context than it began in (a generator that
    was closed elsewhere), where nothing of ours is set.
    """
    try:
        variable.reset(token)
    except (ValueError, RuntimeError):
        return False
    return True
