"""A call of a tool from its first to its last moment, however many layers of ours it passes.

A middleware and a decorator may both be around one call, and a tool may call other metered functions: the
outermost layer opens the call and writes its span, the others join it. One request is one span.

Metering never reaches the program: what goes wrong here is counted, logged once, and the tool runs on.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside
from opentelemetry import baggage, context
from opentelemetry.context import Context

from aforo_mcp import calls, spans
from aforo_mcp.requests import Request
from aforo_mcp.spans import Call
from aforo_mcp.terms import Terms

_current: Final[ContextVar[Call | None]] = ContextVar("aforo_mcp_call", default=None)


def current_call() -> Call | None:
    """The call that this code runs in; None outside of one."""
    call = _current.get()
    return call if call is not None and call.is_open else None


Find: TypeAlias = Callable[[Any], tuple[str, Request | None]]


class Layer:
    """A stretch of code around a call: `with Layer(…) as layer: layer.result = …`.

    `find` says of `subject` which tool is called, and by which request. `is_body` says that the code is a
    function of the program's, and `result` whatever that returned; else `result` is one of the protocol, object
    or dict.
    """

    __slots__ = (
        "_call",
        "_carried",
        "_current",
        "_find",
        "_inside",
        "_is_body",
        "_is_part",
        "_opens",
        "_subject",
        "_terms",
        "result",
    )

    _inside: Inside
    _current: Token[Call | None]
    _is_part: bool
    _opens: bool

    def __init__(self, terms: Terms, find: Find, subject: Any, is_body: bool) -> None:
        self._terms = terms
        self._find = find
        self._subject = subject
        self._is_body = is_body
        self._call: Call | None = None
        self._carried: Token[Context] | None = None
        self.result: Any = None

    def __enter__(self) -> Self:
        try:
            terms, around = self._terms, context.get_current()
            tool, request = self._find(self._subject)
            call = _current.get()
            self._opens = call is None or not call.is_of(request)
            if call is None or self._opens:
                call = spans.open_call(tool, request, terms, around)
            else:
                call.identity = terms.identity.over(call.identity)
            self._call = call
            if terms.cost is not None:
                call.tally().fixed_costs.append(terms.cost)
            trace_id, span_id = call.trace_id, call.span_id
            # The first function is the tool's own. What runs inside of it is a part of the call.
            self._is_part = call.in_body
            if self._is_part:
                trace_id, span_id = plugin.current_parent(around) or (trace_id, span_id)
            elif self._is_body:
                call.in_body = True
            self._current = _current.set(call)
            self._inside = Inside(trace_id, span_id, call.identity).__enter__()
            self._carried = context.attach(_carrying(call.identity, around))
        except Exception as error:
            _excuse("enter", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call = self._call
        if call is None:
            return
        try:
            # A stretch that ends in another context has nothing to put back there.
            if self._carried is not None and plugin.put_back(_current, self._current):
                self._inside.__exit__(None, None, None)
                context.detach(self._carried)
            outcome: object = error
            if error is None:
                outcome = spans.result_of(self.result) if self._is_body else self.result
            if self._opens:
                spans.close_call(call, outcome)
            elif calls.is_plain(outcome):
                pass
            elif self._is_part:
                call.add(calls.cost_of(outcome))
            elif self._is_body:
                call.inner_error = spans.error_type_of(outcome)
                call.take(calls.cost_of(outcome))
        except Exception as problem:
            _excuse("exit", problem)


def _carrying(identity: Identity, around: Context) -> Context:
    """The context in which a tool runs: what it meters, and what it calls, is for the same payer."""
    if not around:  # nothing of OpenTelemetry's here at all: the usual case, in one step
        return _alone(identity)
    if not baggage.get_all(around):
        return Context({**around, **_alone(identity)})
    return _with(identity, around)


@lru_cache(maxsize=1024)
def _alone(identity: Identity) -> Context:
    return _with(identity, Context())


def _with(identity: Identity, carrying: Context) -> Context:
    for key, value in identity.items():
        carrying = baggage.set_baggage(key, value, carrying)
    return carrying


def _excuse(moment: str, error: Exception) -> None:
    plugin.count("mcp_metering_errors")
    plugin.warn_once(
        f"mcp.{moment}", f"aforo: a call of an MCP tool was not metered ({moment}); it goes on: {error!r}"
    )
