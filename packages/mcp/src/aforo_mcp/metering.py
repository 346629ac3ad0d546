"""A call of a tool from its first to its last moment, however many layers of ours it passes.

A middleware and a decorator may both be around one call, and a tool may call other metered functions: the
outermost layer opens the call and writes its span, the others join it. One request is one span.

Metering never reaches the program: what goes wrong here is counted, logged once, and the tool runs on.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

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


class Layer:
    """A stretch of code around a call: `with Layer(…) as layer: layer.result = …`.

    `find` says which tool is called, and by which request. `is_body` says that the code is a function of the
    program's, and `result` whatever that returned; else `result` is one of the protocol, object or dict.
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
        "_terms",
        "result",
    )

    def __init__(self, terms: Terms, find: Callable[[], tuple[str, Request | None]], is_body: bool) -> None:
        self._terms = terms
        self._find = find
        self._is_body = is_body
        self._is_part = False
        self._opens = False
        self._call: Call | None = None
        self._current: Token[Call | None] | None = None
        self._inside: Inside | None = None
        self._carried: Token[Context] | None = None
        self.result: Any = None

    def __enter__(self) -> Self:
        try:
            tool, request = self._find()
            call = _call_of(request)
            self._opens = call is None
            if call is None:
                call = spans.open_call(tool, request, self._terms)
            else:
                call.identity = self._terms.identity.over(call.identity)
            self._call = call
            if self._terms.cost is not None:
                call.fixed_costs.append(self._terms.cost)
            # The first function is the tool's own. What runs inside of it is a part of the call.
            self._is_part = call.in_body
            call.in_body = call.in_body or self._is_body
            place = plugin.current_parent() if self._is_part else None
            self._inside = Inside(*(place or (call.trace_id, call.span_id)), call.identity)
            self._current = _current.set(call)
            self._inside.__enter__()
            self._carried = context.attach(_carrying(call.identity))
        except Exception as error:
            _excuse("enter", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call, self._call = self._call, None
        if call is None:
            return
        try:
            self._leave()
            outcome: object = error
            if error is None:
                outcome = spans.result_of(self.result) if self._is_body else self.result
            if self._opens:
                spans.close_call(call, outcome)
            elif self._is_part:
                call.add(calls.cost_of(outcome))
            elif self._is_body:
                call.inner_error = spans.error_type_of(outcome)
                call.result = calls.cost_of(outcome)
        except Exception as problem:
            _excuse("exit", problem)

    def _leave(self) -> None:
        """Put back what was current. A stretch that ends in another context has nothing to put back there."""
        if self._inside is None or self._current is None or self._carried is None:
            return
        if plugin.put_back(_current, self._current):
            self._inside.__exit__(None, None, None)
            context.detach(self._carried)


def _call_of(request: Request | None) -> Call | None:
    """The open call around this code, if it is of the same request; a context outlives its request in tasks
    that were started there.
    """
    call = current_call()
    if call is None or request is None or call.request is None or call.request.is_same(request):
        return call
    return None


def _carrying(identity: Identity) -> Context:
    """The context in which a tool runs: what it meters, and what it calls, is for the same payer."""
    current = context.get_current()
    return _alone(identity) if not current else _with(identity, current)


@lru_cache(maxsize=1024)
def _alone(identity: Identity) -> Context:
    """The same where nothing of OpenTelemetry's is current: the usual case, in one step."""
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
