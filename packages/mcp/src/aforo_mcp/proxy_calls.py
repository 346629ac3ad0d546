"""The calls that pass through the proxy: opened by a request, ended by its answer, one span each.

A `Connection` is one peer, within which the ids of requests are unique: a child process, a session of the
legacy protocol, or a single POST of the stateless one. Its methods may be called from several threads, never
raise, and write the span before they return: what the client has seen is on the bill.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, NamedTuple, ParamSpec

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity

from aforo_mcp import calls, jsonrpc, links
from aforo_mcp.links import Link

PARKED_MAX: Final = 10_000
PARKED_AGE_S_MAX: Final = 3_600
CONNECTION_LOST: Final = "ConnectionError"
"""The `error.type` of a call whose server went away without an answer."""

_PROTOCOL_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_NO_HEADERS: Final[Mapping[str, str]] = {}


P = ParamSpec("P")


def guarded(action: Callable[P, None]) -> Callable[P, None]:
    """Do something that only metering needs: what passes must not suffer from its trouble."""

    @wraps(action)
    def trying(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            action(*args, **kwargs)
        except Exception as problem:
            _failed(action.__name__, problem)

    return trying


def _failed(moment: str, problem: Exception) -> None:
    """Count an error of metering, and log the first of each moment."""
    plugin.count("mcp_proxy_failed")
    plugin.warn_once(
        f"mcp.proxy.{moment}",
        f"what passes could not be metered ({moment}: {type(problem).__name__}: {problem}); it was passed on "
        "unchanged.",
    )


class Payment(NamedTuple):
    """What the operator stated: who pays, over all that clients say, and whether they have a say at all."""

    stated: Identity
    trusts_meta: bool = True


class OpenCall(NamedTuple):
    """A call without an answer yet."""

    trace_id: int
    span_id: int
    parent_id: int
    tool: str
    payer: Identity
    start_ns: int
    attributes: bytes


class Parked:
    """Calls whose last answer asked for input, until the request that brings it goes on with them.

    Bounded in number and age: what is never taken up again ends as cancelled, at the time it was parked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: OrderedDict[tuple[object, ...], list[tuple[OpenCall, int]]] = OrderedDict()

    def put(self, scope: object, call: OpenCall, state: str, now_ns: int) -> None:
        """Keep a call under what its next request will say."""
        with self._lock:
            self._calls.setdefault((scope, call.tool, state), []).append((call, now_ns))
        self._sweep(now_ns)

    def take(self, scope: object, tool: str, state: str) -> OpenCall | None:
        """The call that a request with this state goes on with; None if it begins a call of its own."""
        key = scope, tool, state
        with self._lock:
            waiting = self._calls.get(key)
            if not waiting:
                return None
            call, _ = waiting.pop(0)
            if not waiting:
                del self._calls[key]
            return call

    @guarded
    def close(self) -> None:
        """Nothing comes any more: end them all."""
        self._sweep(time.time_ns(), everything=True)

    def _sweep(self, now_ns: int, *, everything: bool = False) -> None:
        oldest_ns = now_ns - PARKED_AGE_S_MAX * 1_000_000_000
        ended = []
        with self._lock:
            while self._calls:
                key, waiting = next(iter(self._calls.items()))
                if not (everything or len(self._calls) > PARKED_MAX or waiting[0][1] < oldest_ns):
                    break
                ended += waiting
                del self._calls[key]
        for call, parked_ns in ended:
            _emit(call, parked_ns, calls.WAS_CANCELLED)


class Connection:
    """The calls of one peer that wait for an answer.

    `session_id` is the transport's own session ("" = it has none), which is billed as the session where the
    caller names no other; `attributes` stand on every span of the connection. `listeners` are the streams on
    which answers to earlier requests may come; the last of them was left at `left_s` (seconds of the loop).
    """

    def __init__(
        self,
        payment: Payment,
        parked: Parked,
        session_id: str = "",
        attributes: bytes = b"",
        link: Link | None = None,
    ) -> None:
        self._payment = payment
        self._parked = parked
        self._session = Identity(session_id=session_id)
        self._attributes = attributes
        self._link = link
        self._lock = threading.Lock()
        self._calls: dict[object, list[OpenCall]] = {}
        self._billed: Identity | None = None
        self.listeners: set[object] = set()
        self.left_s = -math.inf

    @property
    def waits(self) -> bool:
        """Whether any call is without an answer."""
        return bool(self._calls)

    def request(
        self, raw: bytes | bytearray, headers: Mapping[str, str] = _NO_HEADERS, link: Link | None = None
    ) -> list[OpenCall]:
        """Take note of what the client sends, before the server sees it; returns the calls that it opens.

        `headers` are those of HTTP, in lower case: `traceparent` and `baggage` count where `_meta` is silent.
        `link` is what the server gets with it, if that is not the connection's.
        """
        opened = []
        try:
            for message in jsonrpc.messages(raw) if jsonrpc.concerns_calls(raw) else ():
                method, params, request_id = message.get("method"), message.get("params"), message.get("id")
                if not isinstance(params, Mapping):
                    continue
                if method == "notifications/cancelled":
                    self._cancel(params)
                elif method == calls.TOOLS_CALL and "name" in params and jsonrpc.is_id(request_id):
                    opened.append(self._open(request_id, params, headers, link or self._link))
        except Exception as problem:
            _failed("request", problem)
        return opened

    @guarded
    def reply(self, raw: bytes | bytearray) -> None:
        """Take note of what the server sends, before the client sees it."""
        for message in jsonrpc.messages(raw) if self._calls else ():
            if "method" not in message and (call := self._take(message.get("id"))) is not None:
                error = message.get("error")
                self._answered(call, error if isinstance(error, Mapping) else message.get("result"))

    def is_open(self, call: OpenCall) -> bool:
        """Whether the call is still without an answer."""
        with self._lock:
            return any(call is other for waiting in self._calls.values() for other in waiting)

    def end(self, call: OpenCall, error_type: str, end_ns: int) -> None:
        """End a call that gets no answer any more, if it has not ended."""
        with self._lock:
            for request_id, waiting in self._calls.items():
                if any(call is other for other in waiting):
                    waiting.remove(call)
                    if not waiting:
                        del self._calls[request_id]
                    break
            else:
                return
        self._emit(call, end_ns, error_type)

    @guarded
    def close(self, error_type: str) -> None:
        """The connection is gone: end what is open."""
        now_ns = time.time_ns()
        with self._lock:
            left = [call for waiting in self._calls.values() for call in waiting]
            self._calls.clear()
        for call in left:
            self._emit(call, now_ns, error_type)

    @guarded
    def end_session(self) -> None:
        """The transport's own session is over: if it was billed as one, close it at the collector, too."""
        payer, self._billed = self._billed, None
        if payer is not None:
            now_ns = time.time_ns()
            attributes = payer.attributes + plugin.text(c.AFORO_OPERATION_NAME, c.SESSION_END)
            trace_id, span_id = plugin.new_trace_id(), plugin.new_span_id()
            plugin.emit(trace_id, span_id, 0, c.SESSION_END, c.KIND_INTERNAL, now_ns, now_ns, attributes)

    def _open(
        self, request_id: object, params: Mapping[str, Any], headers: Mapping[str, str], link: Link | None
    ) -> OpenCall:
        tool, state = str(params["name"]), str(params.get("requestState") or "")
        meta = params.get("_meta")
        payer = self._payer(meta, headers)
        call = None
        if state or "inputResponses" in params:
            call = self._parked.take(self._scope(payer), tool, state)
        if call is None:
            parent = calls.parent_of(meta) or calls.parent_of(headers)
            place = links.place_of(parent, link, request_id, tool)
            attributes = calls.opening_of(tool)[1] + payer.attributes + self._attributes
            attributes += plugin.text_once(calls.REQUEST_ID, str(request_id))
            if place.call_id and not self._is_waiting(request_id):
                attributes += plugin.text_once(c.TOOL_CALL_ID, place.call_id)
            version = meta.get(_PROTOCOL_KEY) if isinstance(meta, Mapping) else None
            if version := version or headers.get("mcp-protocol-version"):
                attributes += plugin.text(calls.PROTOCOL_VERSION, str(version))
            span_id = plugin.new_span_id()
            trace_id = place.trace_id or plugin.new_trace_id()
            call = OpenCall(trace_id, span_id, place.parent_id, tool, payer, time.time_ns(), attributes)
        with self._lock:
            self._calls.setdefault(request_id, []).append(call)
        return call

    def _is_waiting(self, request_id: object) -> bool:
        """Whether a client has this id in use already: two calls at once are two, whatever it calls them."""
        with self._lock:
            return any(str(other) == str(request_id) for other in self._calls)

    def _payer(self, meta: object, headers: Mapping[str, str]) -> Identity:
        found = self._payment.stated
        if self._payment.trusts_meta:
            found = found.over(calls.identity_of(meta)).over(calls.identity_of(headers))
        found = found.over(self._session).over(plugin.current_identity())
        if found.customer_id is None:
            plugin.warn_once(
                "mcp.customer",
                "no customer is known for a tool call: it is kept, but not billed until it is assigned to one. "
                "Name the customer with --customer or AFORO_CUSTOMER_ID, or let clients send "
                "`customerId` in `_meta`.",
            )
        return found

    def _scope(self, payer: Identity) -> object:
        """Whose calls may be taken up by one another's requests."""
        return self._session.session_id or payer.attributes

    def _take(self, request_id: object) -> OpenCall | None:
        if not jsonrpc.is_id(request_id):
            return None
        with self._lock:
            waiting = self._calls.get(request_id)
            if not waiting:
                return None
            call = waiting.pop(0)
            if not waiting:
                del self._calls[request_id]
            return call

    def _cancel(self, params: Mapping[str, Any]) -> None:
        call = self._take(params.get("requestId"))
        if call is not None:
            reason = str(params.get("reason"))
            timed_out = "-32001" in reason or "timed out" in reason
            self._emit(call, time.time_ns(), calls.TIMED_OUT if timed_out else calls.WAS_CANCELLED)

    def _answered(self, call: OpenCall, answer: object) -> None:
        now_ns = time.time_ns()
        if calls.is_interim(answer):
            state = answer.get("requestState") if isinstance(answer, Mapping) else None
            self._parked.put(self._scope(call.payer), call, str(state or ""), now_ns)
            return
        self._emit(call, now_ns, calls.error_type_of_answer(answer), calls.cost_of(answer).attributes)

    def _emit(self, call: OpenCall, end_ns: int, error_type: str, reported: bytes = b"") -> None:
        if self._session.session_id and call.payer.session_id == self._session.session_id:
            self._billed = call.payer
        _emit(call, end_ns, error_type, reported)


def _emit(call: OpenCall, end_ns: int, error_type: str, reported: bytes = b"") -> None:
    attributes = call.attributes + reported
    if error_type:
        attributes += plugin.text(c.ERROR_TYPE, error_type)
    plugin.emit(
        call.trace_id,
        call.span_id,
        call.parent_id,
        calls.opening_of(call.tool)[0],
        c.KIND_SERVER,
        call.start_ns,
        max(call.start_ns, end_ns),
        attributes,
        error_type or None,
    )
