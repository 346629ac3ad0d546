"""Decorators for hand-written agents: `tool`, `agent`, `step`.

Each call becomes one span, built when the call ends. Functions keep their signature, results and exceptions;
coroutines, generators and async generators stay what they are. A generator's span begins with its first item
and ends when it is exhausted, closed or collected. A function that hands a coroutine on, as a plain decorator
around a coroutine function does, has ended when that has.
"""

import functools
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Token
from decimal import Decimal
from types import CoroutineType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast, overload

from opentelemetry.context import Context, attach, get_current

from aforo_sdk import conventions, ids, notices, parents, runtime, wire
from aforo_sdk.errors import UsageError, error_text, error_type, shown
from aforo_sdk.parents import Inside
from aforo_sdk.usage import decimal_text

F = TypeVar("F", bound=Callable[..., Any])


class _Shape(NamedTuple):
    """What every span of one decorated function has in common."""

    span_name: str
    attributes: bytes
    agent_name: str | None


class Stretches(Protocol):
    """What holds while a generator's own code runs, and not while its caller has the thread."""

    def enter(self) -> Any:
        """Begin a stretch."""

    def leave(self, token: Any) -> bool:
        """End the stretch that gave `token`; False if it ends in another context than it began in."""

    def end(self, error: BaseException | None = None) -> None:
        """The generator has ended, by `error` if there is one."""


class _Call:
    """One running call. `enter` and `leave` bracket each stretch of its code, `end` writes its span, once."""

    __slots__ = ("_attributes", "_ended", "_parent_id", "_start_ns", "open", "shape")

    def __init__(self, shape: _Shape) -> None:
        around = parents.innermost()
        self.shape = shape
        self.open, self._ended = around, True
        try:
            trace_id, self._parent_id = parents.current_parent() or (ids.new_trace_id(), 0)
            agent_name = shape.agent_name or around.agent_name
            self._attributes = runtime.current_identity().attributes + shape.attributes
            if agent_name:
                self._attributes += wire.text(conventions.AGENT_NAME, agent_name)
            self.open = Inside(trace_id, ids.new_span_id(), around.payer, agent_name)
            self._ended = False
        except Exception as problem:
            # The call goes on without a span: nothing here may become the user's problem.
            notices.count("spans_failed")
            notices.warn_once(
                "call", f"aforo: a call could not be metered ({type(problem).__name__}: {problem})."
            )
        self._start_ns = time.time_ns()

    def enter(self) -> Token[Inside]:
        return parents.here.set(self.open)

    def leave(self, token: Token[Inside]) -> bool:
        return parents.put_back(parents.here, token)

    def end(self, error: BaseException | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        attributes, message = self._attributes, None
        if error is not None and not isinstance(error, GeneratorExit):
            attributes += wire.text(conventions.ERROR_TYPE, error_type(error))
            message = error_text(error)
        runtime.emit(
            self.open.trace_id,
            self.open.span_id,
            self._parent_id,
            self.shape.span_name,
            conventions.KIND_INTERNAL,
            self._start_ns,
            max(self._start_ns, time.time_ns()),
            attributes,
            message,
        )


@overload
def tool(name: F, /) -> F: ...
@overload
def tool(name: str | None = None, *, cost: str | int | Decimal | None = None) -> Callable[[F], F]: ...
def tool(name: F | str | None = None, *, cost: str | int | Decimal | None = None) -> F | Callable[[F], F]:
    """Meter a function as a tool of an agent: one `execute_tool` span per call.

    `name` defaults to the function's. `cost` is what one call costs us, in USD as decimal text ("0.01"); one
    that is no such number is left out, with a warning.
    """
    fixed = wire.text(conventions.OPERATION_NAME, conventions.EXECUTE_TOOL)
    if cost is not None:
        try:
            fixed += wire.text(conventions.PROVIDER_COST, decimal_text("cost", cost))
        except UsageError as error:
            notices.warn_once(
                f"cost {shown(cost)}", f"aforo: @tool(cost=…): {error} The tool is metered without a cost."
            )

    def shape(called: str) -> _Shape:
        return _Shape(
            f"{conventions.EXECUTE_TOOL} {called}", fixed + wire.text(conventions.TOOL_NAME, called), None
        )

    return _decorator(name, shape)


@overload
def agent(name: F, /) -> F: ...
@overload
def agent(name: str | None = None) -> Callable[[F], F]: ...
def agent(name: F | str | None = None) -> F | Callable[[F], F]:
    """Meter a function as an agent: one `invoke_agent` span per call, and its name on the spans inside.

    `name` defaults to the function's.
    """
    fixed = wire.text(conventions.OPERATION_NAME, conventions.INVOKE_AGENT)
    return _decorator(name, lambda called: _Shape(f"{conventions.INVOKE_AGENT} {called}", fixed, called))


@overload
def step(name: F, /) -> F: ...
@overload
def step(name: str | None = None) -> Callable[[F], F]: ...
def step(name: F | str | None = None) -> F | Callable[[F], F]:
    """Show a function as a step of an agent's loop: one span per call with its name as the step's type.

    It bills nothing by itself; the model and tool calls inside of it do. `name` defaults to the function's.
    """
    return _decorator(
        name, lambda called: _Shape(f"step {called}", wire.text(conventions.STEP_TYPE, called), None)
    )


def _decorator(name: F | str | None, shape: Callable[[str], _Shape]) -> F | Callable[[F], F]:
    """The decorator itself, or its result when it was used without parentheses."""
    if name is None or isinstance(name, str):
        stated = name or None
        return lambda function: _metered(function, shape, stated)
    return _metered(name, shape, None)


def _metered(function: F, shape: Callable[[str], _Shape], name: str | None) -> F:
    if isinstance(function, staticmethod | classmethod):
        return cast(F, type(function)(_metered(function.__func__, shape, name)))
    made = shape(name or str(getattr(function, "__name__", None) or type(function).__name__))
    if inspect.isasyncgenfunction(function):
        return cast(F, async_generator(function, lambda *_: _Call(made)))
    if inspect.isgeneratorfunction(function):
        return cast(F, generator(function, lambda *_: _Call(made)))
    if inspect.iscoroutinefunction(function):
        return cast(F, _coroutine(function, made))
    return cast(F, _plain(function, made))


def _plain(function: Callable[..., Any], shape: _Shape) -> Callable[..., Any]:
    @functools.wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        call = _Call(shape)
        token = call.enter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            call.leave(token)
            call.end(error)
            raise
        call.leave(token)
        if isinstance(result, CoroutineType):
            return _awaited(call, lambda: result)
        call.end()
        return result

    return metered


async def _awaited(call: _Call, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    token = call.enter()
    try:
        result = await begin()
    except BaseException as error:
        call.leave(token)
        call.end(error)
        raise
    call.leave(token)
    call.end()
    return result


def _coroutine(function: Callable[..., Any], shape: _Shape) -> Callable[..., Any]:
    @functools.wraps(function)
    async def metered(*args: Any, **kwargs: Any) -> Any:
        return await _awaited(_Call(shape), lambda: function(*args, **kwargs))

    return metered


class _Turns:
    """The code of a generator by turns with that of its caller: each finds itself where it was at its last turn.

    So a session that the generator's code opens holds there until that code ends it, and never for the caller.
    """

    __slots__ = ("_around", "_entered", "_left_open", "_stretches", "_token")

    def __init__(self, stretches: Stretches) -> None:
        self._stretches = stretches
        self._left_open: tuple[Inside, Context] | None = None

    def enter(self) -> None:
        self._around = get_current()
        self._token = self._stretches.enter()
        self._entered = parents.here.get()
        if self._left_open is not None:
            inside, carried = self._left_open
            parents.here.set(inside)
            attach(carried)

    def leave(self) -> None:
        inside, resumed = parents.here.get(), self._left_open is not None
        self._left_open = None if inside is self._entered else (inside, get_current())
        if self._stretches.leave(self._token) and (resumed or self._left_open is not None):
            attach(self._around)


Begin: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Stretches]
"""What the code of a call runs in; it may take from the call's named arguments what is meant for itself."""


def generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """A generator function whose code runs in the stretches of what `begin` gives, each run in its own."""

    @functools.wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = begin(args, kwargs)
        turns = _Turns(call)
        argument: Any = None
        try:
            inner = function(*args, **kwargs)
            resume: Callable[[Any], Any] = inner.send
            while True:
                # Entered only while the inner code runs: between items the caller's code has the thread.
                turns.enter()
                try:
                    item = resume(argument)
                except StopIteration as stop:
                    call.end()
                    return stop.value
                finally:
                    turns.leave()
                try:
                    argument = yield item
                    resume = inner.send
                except GeneratorExit:
                    turns.enter()
                    try:
                        inner.close()
                    finally:
                        turns.leave()
                    raise
                except BaseException as error:
                    resume, argument = inner.throw, error
        except BaseException as error:
            call.end(error)
            raise

    return metered


def async_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """An async generator function whose code runs in the stretches of what `begin` gives."""

    @functools.wraps(function)
    async def metered(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = begin(args, kwargs)
        turns = _Turns(call)
        argument: Any = None
        try:
            inner = function(*args, **kwargs)
            resume: Callable[[Any], Any] = inner.asend
            while True:
                turns.enter()
                try:
                    item = await resume(argument)
                except StopAsyncIteration:
                    call.end()
                    return
                finally:
                    turns.leave()
                try:
                    argument = yield item
                    resume = inner.asend
                except GeneratorExit:
                    turns.enter()
                    try:
                        await inner.aclose()
                    finally:
                        turns.leave()
                    raise
                except BaseException as error:
                    resume, argument = inner.athrow, error
        except BaseException as error:
            call.end(error)
            raise

    return metered
