"""A call of a tool from its first to its last moment, however many layers of ours it passes.

A middleware and a decorator may both be around one call, and a tool may call other metered functions: the
outermost layer opens the call and writes its span, the others join it. One request is one span.

Metering never reaches the program: what goes wrong here is counted, logged once, and the tool runs on.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside
from opentelemetry import baggage, context
from opentelemetry.context import Context

from aforo_mcp import calls, spans
from aforo_mcp.requests import Request, release_of
from aforo_mcp.spans import Call, Layer
from aforo_mcp.terms import Terms, carrying

Find: TypeAlias = Callable[[Any], tuple[str, Request | None] | None]


def current_call() -> Call | None:
    """The call that this code runs in; None outside of one."""
    call = plugin.served()
    return call if isinstance(call, Call) and call.is_open else None


class Part(Layer):
    """A layer inside of one that has opened the call. A body inside of the call's own is a part of it, and what
    it reports adds up; others know better how the call ended and what it cost.
    """

    __slots__ = ("_adds_up", "_call")

    def __init__(self, call: Call, is_body: bool, around: Context) -> None:
        self._call = call
        self._adds_up = call.in_body
        self.is_body = is_body
        place = plugin.current_parent(around) if call.in_body else None
        trace_id, span_id = place or (call.trace_id, call.span_id)
        Inside.__init__(self, trace_id, span_id, call.opening.payer, None, around, call)

    def join(self, outcome: object) -> None:
        """Bring what came of this layer into the call."""
        if calls.is_plain(outcome):
            return
        if self._adds_up:
            self._call.add(calls.cost_of(outcome))
        elif self.is_body:
            self._call.inner_error = spans.error_type_of(outcome)
            self._call.take(calls.cost_of(outcome))


def begin(terms: Terms, find: Find, subject: Any, is_body: bool) -> Layer | None:
    """Begin a stretch of code around a call: the program's own function if it `is_body`, else what leads there.

    `find` says of `subject` which tool is called, and by which request; None if none is. Never raises; None: it
    is not metered.
    """
    try:
        around = context.get_current()
        if (found := find(subject)) is None:
            return None
        tool, request = found
        place = plugin.innermost()
        call = place.serving
        if isinstance(call, Call) and call.is_of(request):
            call.bill(terms.identity)
            layer: Layer = Part(call, is_body, around)
        else:
            layer = call = spans.open_call(tool, request, terms, around, place)
            layer.is_body = is_body
        if is_body:
            call.in_body = True
        if terms.cost is not None:
            call.tally().fixed_costs.append(terms.cost)
        _enter(layer, call, around)
        return layer
    except Exception as error:
        _excuse("begin", error)
        return None


def pause(layer: Layer | None) -> bool:
    """Leave a stretch that `resume` goes on with: what comes next of its code runs later. Never raises.

    False if it ends in another context than it began in, which has nothing to put back.
    """
    try:
        if layer is not None and layer.leave():
            context.detach(layer.carried)
            return True
    except Exception as error:
        _excuse("pause", error)
    return layer is None


def resume(layer: Layer | None) -> None:
    """Go on with a stretch that was paused, in whatever context that is. Never raises."""
    try:
        if layer is not None and isinstance(call := layer.serving, Call):
            _enter(layer, call, context.get_current())
    except Exception as error:
        _excuse("resume", error)


class Stretches:
    """A layer around the code of a generator, which runs in stretches; `begin` has given it, or None."""

    def __init__(self, layer: Layer | None) -> None:
        self._layer = layer
        pause(layer)

    def enter(self) -> None:
        """Begin a stretch."""
        resume(self._layer)

    def leave(self, token: None) -> bool:  # noqa: ARG002 - the protocol's signature
        """End a stretch; False if it ends in another context than it began in."""
        return pause(self._layer)

    def end(self, error: BaseException | None = None) -> None:
        """The generator has ended."""
        end(self._layer, error)


def end(layer: Layer | None, outcome: object) -> None:
    """End a stretch with what came of it: a function's own answer, a result of the protocol's (object or dict),
    or an exception. Never raises.
    """
    if layer is None:
        return
    try:
        # A stretch that ends in another context has nothing to put back there.
        if layer.leave():
            context.detach(layer.carried)
        if layer.is_body and not isinstance(outcome, BaseException):
            outcome = spans.result_of(outcome)
        if isinstance(layer, Call):
            spans.close_call(layer, outcome)
        elif isinstance(layer, Part):
            layer.join(outcome)
    except Exception as problem:
        _excuse("end", problem)


def _enter(layer: Layer, call: Call, around: Context) -> None:
    """Let what runs from here on be inside of `layer`, and for the payer of its call."""
    # Without anything of OpenTelemetry's around, the usual case, what is carried is always the same.
    carried = _carrying(call.opening.payer, around) if around else call.opening.carried
    layer.enter()
    layer.carried = context.attach(carried)


def _carrying(payer: Identity, around: Context) -> Context:
    """The context in which a tool runs: what it meters, and what it calls, is for the same payer."""
    if baggage.get_all(around):
        return carrying(payer, around)
    return Context({**around, **carrying(payer, Context())})


def _excuse(moment: str, error: Exception) -> None:
    plugin.count("mcp_metering_errors")
    releases = f"{release_of('mcp')}, {release_of('fastmcp')}"
    plugin.warn_once(
        f"mcp.{moment}",
        f"aforo: a call of an MCP tool was not metered ({moment}; {releases}); it goes on: {error!r}",
    )
