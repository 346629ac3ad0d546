"""Where code runs: inside of which open span, and for whose bill.

Our decorators, sessions and plugins keep this in one context variable of their own and never attach their span
to the OpenTelemetry context: the application's spans must not become children of spans its backend never sees.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from time import time_ns
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from opentelemetry import baggage, trace
from opentelemetry.context import Context, get_current

from aforo_sdk import identity, ids
from aforo_sdk.identity import UNKNOWN, Identity


class Metered:
    """Marks spans of our own `TracerProvider`: they are in the spool, whatever their parent's sampling
    flag says.
    """

    __slots__ = ()


class Inside:
    """A stretch of code inside of an open span: what is metered there hangs under it and is for its payer.

    `with Inside(trace_id, span_id, payer):` around the code that a call runs; one object serves any number of
    stretches, one after the other, and is made where the call begins. `payer` is all that is known of who
    pays, `agent_name` the agent that runs. What the code says itself wins: a session, a decorated call, an
    agent of its own. Where a stretch ends in another context than it began in, nothing is put back.

    `ambient` is the OpenTelemetry span that was current where the call began; `around` is that context, if it
    is at hand. `serving` is the request that is served around, an object of the plugin's that serves it: what is
    inside hands it down. A trace id of 0 says that no span of ours is open.
    """

    __slots__ = ("_token", "agent_name", "ambient", "payer", "serving", "span_id", "trace_id")

    _token: Token["Inside"]
    serving: object

    def __init__(
        self,
        trace_id: int,
        span_id: int,
        payer: Identity,
        agent_name: str | None = None,
        around: Context | None = None,
        serving: object = None,
    ) -> None:
        self.serving = here.get().serving if serving is None else serving
        self.trace_id = trace_id
        self.span_id = span_id
        self.payer = payer
        self.agent_name = agent_name
        if around is None:
            around = get_current()
        self.ambient = trace.get_current_span(around) if around else trace.INVALID_SPAN

    def enter(self) -> None:
        """Begin a stretch."""
        self._token = here.set(self)

    def leave(self) -> bool:
        """End the stretch; False if it ends in another context than it began in."""
        try:
            here.reset(self._token)
        except (ValueError, RuntimeError):
            return False
        return True

    def __enter__(self) -> Self:
        self._token = here.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()


OUTSIDE: Final = Inside(0, 0, UNKNOWN, serving=False)
here: Final[ContextVar[Inside]] = ContextVar("aforo_here", default=OUTSIDE)

Find: TypeAlias = Callable[[Inside], Inside | None]
_finders: Final[list[Find]] = []


def found_by(find: Find) -> None:
    """Have `innermost` ask a plugin whose calls are not `Inside`, for it only hears of them: `find` returns the
    call around this code that began right inside of the given place (the same object each time), or None.
    """
    _finders.append(find)


def innermost() -> Inside:
    """Where this code runs: `here`, or further inside, in a call that a plugin knows by its framework's context."""
    place = here.get()
    nearer: Inside | None = place if _finders else None
    while nearer is not None:
        place = nearer
        nearer = next((found for find in _finders if (found := find(place)) is not None), None)
    return place


def current_parent(context: Context | None = None, place: Inside | None = None) -> tuple[int, int] | None:
    """(trace id, span id) of the innermost open call of ours, else of the sampled OpenTelemetry span of
    `context` (None = the current one). `place` is what `innermost` tells, if that is at hand.

    A span that was opened on our own `TracerProvider` since that call began lies further inside and wins.

    None when there is neither: the caller starts a trace of its own.
    """
    enclosing = place or innermost()
    if context is None:
        context = get_current()
    if not context:  # nothing of OpenTelemetry's here at all: the usual case, in one step
        return (enclosing.trace_id, enclosing.span_id) if enclosing.trace_id else None
    ambient = trace.get_current_span(context)
    if enclosing.trace_id and not (isinstance(ambient, Metered) and ambient is not enclosing.ambient):
        return enclosing.trace_id, enclosing.span_id
    span = ambient.get_span_context()
    if span.is_valid and span.trace_flags.sampled:
        return span.trace_id, span.span_id
    return None


def new_place(
    context: Context | None = None, now_ns: int | None = None, place: Inside | None = None
) -> tuple[int, int, int]:
    """(trace id, span id, parent id) of a span that begins in `context` (None = the current one), `now_ns` (unix
    nanoseconds): inside of what `current_parent` tells, else the root of a trace of its own, with 0 for the parent.
    `place` is what `innermost` tells, if that is at hand.
    """
    if context is None:
        context = get_current()
    if context or (place or innermost()).trace_id:
        parent = current_parent(context, place)
        if parent is not None:
            return parent[0], ids.new_span_id(), parent[1]
    trace_id, span_id = ids.new_ids(time_ns() if now_ns is None else now_ns)
    return trace_id, span_id, 0


def served() -> object:
    """The request that is being served here; something false outside of one."""
    return here.get().serving


def current_payer(context: Context | None = None, place: Inside | None = None) -> Identity:
    """What is said of who pays: by us, over the baggage of `context` (None = the current one). `place` is what
    `innermost` tells, if that is at hand.
    """
    own = (place or innermost()).payer
    if context is None:
        context = get_current()
    if not context:  # nothing of OpenTelemetry's here at all: the usual case, in one step
        return own
    carried = baggage.get_all(context)
    stated = identity.from_baggage(carried) if carried else UNKNOWN
    return own if stated is UNKNOWN else own.over(stated)


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
