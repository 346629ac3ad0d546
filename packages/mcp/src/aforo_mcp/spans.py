"""The state of a call of a tool, and its span: opened with the request, written when the result is there."""

from collections import deque
from collections.abc import Mapping
from contextvars import Token
from threading import Lock
from time import time_ns
from typing import Final
from weakref import WeakValueDictionary

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside
from opentelemetry.context import Context, get_current

from aforo_mcp import calls
from aforo_mcp.calls import NOTHING, Reported
from aforo_mcp.requests import Request, Told
from aforo_mcp.tally import Tally
from aforo_mcp.terms import Opening, Terms, opening_of

NAME_LENGTH_MAX: Final = 256
WAITING_MAX: Final = 4_096
WAITING_ALIKE_MAX: Final = 64

_PLAIN: Final = frozenset({str, int, float, bool, list, type(None)})
"""What functions mostly return, and servers put into a result that says nothing else."""

_NO_CUSTOMER: Final = (
    "aforo: a call of an MCP tool names no customer: it is kept in quarantine until somebody assigns it. Say "
    "who pays: customer_id= of @metered_tool or AforoMiddleware, AFORO_CUSTOMER_ID or aforo_sdk.init(), or "
    '`_meta` {"aforo.customer.id": "…"} of the request.'
)


class Layer(Inside):
    """A stretch of code around a call: the program's own function if it `is_body`, else what leads there.

    `carried` is what it puts back at its end: the OpenTelemetry context around.
    """

    __slots__ = ("carried", "is_body")

    carried: Token[Context]
    is_body: bool


class Call(Layer):
    """One call of a tool that is running, and its outermost layer.

    `attributes` are the encoded ones that its first request gives it. `in_body` says that the tool's own
    function was entered, `inner_error` how that ended. `used` is what was reported, None as long as nothing
    is. `payer` is whom the request was opened for; `opening` has what inner layers know better.
    """

    __slots__ = (
        "__weakref__", "attributes", "in_body", "inner_error", "opening", "parent_id", "request", "start_ns", "used",
    )  # fmt: skip

    def __init__(self, opening: Opening, request: Request | None, around: Context, place: Inside) -> None:
        self.opening = opening
        self.request = request
        self.attributes = b""
        self.used: Tally | None = None
        self.in_body = False
        self.inner_error = ""
        self.start_ns = now_ns = time_ns()
        if around or place.trace_id:
            trace_id, span_id, self.parent_id = plugin.new_place(around, now_ns, place)
        else:  # the usual case, in one step
            trace_id, span_id = plugin.new_ids(now_ns)
            self.parent_id = 0
        Inside.__init__(self, trace_id, span_id, opening.payer, None, around, self)
        if request is not None:
            request_id = request.request_id
            if type(request_id) is int:
                self.attributes = plugin.utf8(calls.REQUEST_ID, b"%d" % request_id)
            elif request_id is not None:
                self.attributes = plugin.text_once(calls.REQUEST_ID, str(request_id))
            if request.told is not None:
                self._stand(request, request.told)

    def _stand(self, request: Request, told: Told) -> None:
        """Take the place that the request says the call has, if it does."""
        trace_id, parent_id, call_id = request.place(self.opening.tool)
        if trace_id:
            self.trace_id, self.parent_id = trace_id, parent_id
        if told.session_id:
            self.attributes += plugin.text_once(calls.MCP_SESSION_ID, told.session_id)
        if call_id and _is_alone(call_id, self):
            self.attributes += plugin.text_once(c.TOOL_CALL_ID, call_id)

    def go_on(self, request: Request) -> None:
        """Serve the request that brings what a round has asked for."""
        self.request = request
        self.span_id = plugin.new_span_id()
        self.serving = self
        self.in_body = False
        self.inner_error = ""
        if self.used is not None:
            self.used.go_on()

    def bill(self, identity: Identity) -> None:
        """Take what a layer further inside knows better of who pays."""
        version = "" if self.request is None else self.request.protocol_version
        self.opening = opening_of(self.opening.tool, version, identity.over(self.opening.payer))

    @property
    def is_open(self) -> bool:
        """Whether a request of it is served."""
        return self.serving is self

    def is_of(self, request: Request | None) -> bool:
        """Whether this is the call of a request that is served: a context outlives its request in tasks that
        were started there.
        """
        own = self.request
        return self.is_open and (request is None or own is None or own.is_same(request))

    def add(self, part: Reported) -> None:
        """Take what a part of the call reports."""
        if part is not NOTHING:
            self.tally().add(part)

    def take(self, stated: Reported) -> None:
        """Take what a result of the call reports."""
        if stated is not NOTHING:
            self.tally().take(stated)

    def tally(self) -> Tally:
        """What takes the reports of this call, from any thread."""
        used = self.used
        if used is None:
            with _reporting:
                used = self.used = self.used or Tally()
        return used


_reporting: Final = Lock()

_with_id: Final[WeakValueDictionary[str, Call]] = WeakValueDictionary()
"""The call that each `gen_ai.tool.call.id` was last given to."""
_waiting: Final[dict[tuple[str, str, Identity], deque[Call]]] = {}
"""Calls whose last round asked for input, under what the request that brings it will say."""


def open_call(
    tool: str,
    request: Request | None,
    terms: Terms,
    around: Context | None = None,
    place: Inside | None = None,
) -> Call:
    """A call that begins now, or one that goes on: in the context `around`, inside of `place` (None = here)."""
    if len(tool) > NAME_LENGTH_MAX:
        tool = tool[:NAME_LENGTH_MAX]
    if around is None:
        around = get_current()
    if place is None:
        place = plugin.innermost()
    opening = terms.opening(tool, request, around, place)
    if request is not None and request.state is not None:
        try:
            call = _waiting[tool, request.state, opening.payer].popleft()
        except (KeyError, IndexError):
            pass  # its first round was served by another process
        else:
            call.go_on(request)
            return call
    return Call(opening, request, around, place)


def close_call(call: Call, outcome: object) -> None:
    """Write the span of a call that ended in `outcome`: a result, or an exception."""
    call.serving = None  # or only the garbage collector would free the call
    opening, message, end_ns = call.opening, None, time_ns()
    name, attributes = opening.name, opening.attributes + call.attributes
    error_type = "" if calls.is_plain(outcome) else _read(call, outcome)
    if error_type is None:  # the round is structure: it bills nothing
        name, attributes = f"paused {name}", opening.payer.attributes
    elif opening.payer.customer_id is None:
        plugin.warn_once("mcp.no_customer", _NO_CUSTOMER)
    if error_type is not None and call.used is not None:
        attributes += call.used.attributes
    if error_type:
        attributes += plugin.text(c.ERROR_TYPE, error_type)
        raised = isinstance(outcome, BaseException) and plugin.capture_content()
        message = str(outcome) if raised else error_type
    plugin.emit(
        call.trace_id,
        call.span_id,
        call.parent_id,
        name,
        c.KIND_SERVER,
        call.start_ns,
        end_ns if end_ns > call.start_ns else call.start_ns,  # noqa: FURB136 - `max` costs as much as a span's ids
        attributes,
        message,
    )


def _read(call: Call, outcome: object) -> str | None:
    """Take what the outcome of a call reports, and return its `error.type`; None if the call goes on."""
    asked = calls.asked_by(outcome)
    if calls.is_interim(asked):
        _wait(call, asked)
        return None
    call.take(calls.cost_of(outcome))
    error_type = error_type_of(outcome)
    if error_type == c.TOOL_ERROR:
        return call.inner_error or error_type  # the function knows best how it ended
    return error_type


def error_type_of(outcome: object) -> str:
    """`error.type` of a result or an exception, "" for a success.

    A JSON-RPC error that was made of a `TimeoutError` is one: FastMCP answers so when its tools take too
    long.
    """
    if isinstance(outcome, BaseException):
        cause = outcome.__cause__ or outcome
        if hasattr(cause, "error") and isinstance(cause.__context__, TimeoutError):
            return calls.TIMED_OUT
    return calls.error_type_of_answer(outcome)


def result_of(answer: object) -> object:
    """What a function returned as the result that a server makes of it: a dict or an object of the
    program's own is structured content.
    """
    if type(answer) in _PLAIN:
        return calls.PLAIN
    if isinstance(answer, Mapping):
        if "content" in answer or calls.is_interim(answer):
            return answer
        failed = answer.get("isError") is True or answer.get("is_error") is True
        return {"isError": failed, "structuredContent": answer}
    if hasattr(answer, "content") or calls.is_interim(answer):
        return answer
    fields = getattr(answer, "__dict__", None)
    return {"structuredContent": fields} if isinstance(fields, dict) else None


def _wait(call: Call, asked: object) -> None:
    """Keep a call whose round asked for input. Where another process serves the next round, the call begins
    there, and the round is all there is of it here.
    """
    if isinstance(asked, Mapping):
        state = asked.get("requestState")
    else:
        state = getattr(asked, "request_state", None)
    key = call.opening.tool, str(state or ""), call.payer
    _waiting.setdefault(key, deque(maxlen=WAITING_ALIKE_MAX)).append(call)
    if len(_waiting) > WAITING_MAX:
        _waiting.pop(next(iter(_waiting)), None)


def _is_alone(call_id: str, call: Call) -> bool:
    """Whether no other open call has this id. If one does, a client says so that is not to be believed."""
    other = _with_id.setdefault(call_id, call)
    if other is not call and not other.is_open:
        _with_id[call_id] = other = call
    return other is call
