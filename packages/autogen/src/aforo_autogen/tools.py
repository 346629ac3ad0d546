"""Tool calls: `run_json` of every tool and `call_tool` of every workbench, one logical call each.

A static workbench runs a tool; a composite one may call another workbench; a class calls `super()`. Inside a
tool call these are the same call: they carry its id, or whoever has it in hand passes it on.

Inside of a tool anything may run. What another framework's plugin meters there hangs under the tool's span
and is for the same payer.
"""

import inspect
from contextvars import Token, copy_context
from copy import copy
from functools import partial
from types import MethodType
from typing import Any, Final

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Inside

from aforo_autogen import scopes
from aforo_autogen.frames import Frame, Method, Silent
from aforo_autogen.scopes import Scope

_FUNCTION: Final = "_func"


class ToolCall(Frame):
    """A call of a tool. `by` is the tool or workbench that has it in hand; `error` what a part of it raised."""

    __slots__ = ("by", "call_id", "error", "failed", "inside")

    def __init__(self, by: object, name: str, call_id: object, scope: Scope) -> None:
        step = plugin.step_index(next(scope.steps)) + plugin.call_id(call_id)
        super().__init__(plugin.tool_call(name, _hands_over(name, scope)), scope, step)
        self.by = by
        self.call_id = call_id
        self.failed = False
        self.error: BaseException | None = None
        self.value = scopes.within(scope, scopes.TOOL, self, self.span_id)
        self.inside = Inside(scope.trace_id, self.span_id, scope.payer, scope.agent or None)

    def resume(self) -> Token[Any]:
        """Begin a stretch of the tool's code."""
        self.inside.__enter__()
        return super().resume()

    def pause(self, token: Token[Any]) -> None:
        """End a stretch of the tool's code."""
        super().pause(token)
        self.inside.__exit__(None, None, None)

    def bound(self, method: Method) -> Method:
        """What runs inside of the call for a method of a tool or a workbench."""
        return _taking_context(method)

    def absorbs(self, by: object, call_id: object) -> bool:
        """Whether a call inside is this same logical call."""
        if call_id is not None:
            return call_id == self.call_id
        return by is self.by or hasattr(self.by, "call_tool")

    def see(self, item: Any) -> None:
        """The result of a workbench says whether the tool failed; a stream brings it as its last item."""
        self.failed = getattr(item, "is_error", False) is True

    def end(self, result: Any) -> None:
        """Write the call; its result may say that it failed."""
        if self.failed or getattr(result, "is_error", False) is True:
            error_type = c.TOOL_ERROR if self.error is None else plugin.error_type_of(self.error)
            self.write(b"", error_type, self.error)
        else:
            self.write()


class Absorbed(Silent):
    """A part of a tool call: what it raises is the call's error, if the call says that it failed."""

    __slots__ = ("whole",)

    def __init__(self, whole: ToolCall, by: object, scope: Scope) -> None:
        super().__init__(scope)
        self.whole = whole
        whole.by = by

    def bound(self, method: Method) -> Method:
        """What runs inside of the call for a method of a tool or a workbench."""
        return _taking_context(method)

    def fail(self, error: BaseException) -> None:
        """Keep the error for the call."""
        self.whole.error = error


def open_tool(tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
    """Start `run_json(args, cancellation_token, call_id)` of a tool."""
    return start(tool, str(tool.name), kwargs.get("call_id", args[2] if len(args) > 2 else None))


def open_workbench(workbench: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
    """Start `call_tool(name, arguments, cancellation_token, call_id)` of a workbench."""
    name = kwargs.get("name", args[0] if args else "")
    return start(workbench, str(name), kwargs.get("call_id", args[3] if len(args) > 3 else None))


def start(by: object, name: str, call_id: object, kind: type[ToolCall] = ToolCall) -> Frame:
    """Start a call of the tool `name`, or the part of one that is open."""
    scope, call_id = scopes.known() or scopes.root(), call_id or None
    around = scope.owner
    if isinstance(around, ToolCall) and not around.done and around.absorbs(by, call_id):
        return Absorbed(around, by, scope)
    return kind(by, name, call_id, scope)


def _taking_context(method: Method) -> Method:
    """A tool's method as it is, but for a `FunctionTool` of a function that is none of asyncio's.

    That one hands the function to a thread without the context, where nothing would be left of this call: so
    it is run with a tool whose function brings the context along.
    """
    tool = getattr(method, "__self__", None)
    function = getattr(tool, _FUNCTION, None)
    if type(tool).__qualname__ != "FunctionTool" or not isinstance(method, MethodType):
        return method
    if function is None or inspect.iscoroutinefunction(function) or hasattr(function, "_is_coroutine"):
        return method
    taking = copy(tool)
    setattr(taking, _FUNCTION, partial(copy_context().run, function))
    return MethodType(method.__func__, taking)


def _hands_over(name: str, scope: Scope) -> bool:
    """Whether a tool passes the word to another agent: AutoGen names such tools so, or the agent knows."""
    handoffs = getattr(scope.owner, "_handoffs", None) if scope.kind == scopes.AGENT else None
    return name.startswith("transfer_to_") or (isinstance(handoffs, dict) and name in handoffs)
