"""An operation from its start to its end: the context it sets, and the one span it writes.

Whatever is wrapped, it comes down to two shapes: something that is awaited, and a stream that is read. Both
run unchanged; an error of metering is counted, logged once, and never reaches the program.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextvars import ContextVar, Token
from functools import wraps
from time import time_ns
from typing import Any, TypeAlias

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Opening

from aforo_autogen import scopes
from aforo_autogen.scopes import Scope

Method: TypeAlias = Callable[..., Any]
Wrap: TypeAlias = Callable[[Method], Method]


class Frame:
    """An operation that has started, inside `scope`. Its span is written once: the first end wins.

    While its code runs, `variable` is set to `value`. `stamp` says who pays and which agent it is.
    """

    __slots__ = (
        "attributes",
        "done",
        "opening",
        "scope",
        "span_id",
        "stamp",
        "start_ns",
        "value",
        "variable",
    )

    def __init__(self, opening: Opening, scope: Scope, attributes: bytes = b"") -> None:
        self.opening = opening
        self.scope = scope
        self.stamp = scope.attributes
        self.attributes = attributes
        self.span_id = plugin.new_span_id()
        self.start_ns = time_ns()
        self.done = False
        self.variable: ContextVar[Any] = scopes.current
        self.value: object = scope

    def resume(self) -> Token[Any]:
        """Begin a stretch of its code: all of it, or what makes the next item of a stream."""
        return self.variable.set(self.value)

    def pause(self, token: Token[Any]) -> None:
        """End the stretch that gave `token`."""
        plugin.put_back(self.variable, token)

    def bound(self, method: Method) -> Method:
        """What runs inside of the frame for `method`."""
        return method

    def see(self, item: Any) -> None:
        """Look at an item of the stream that this operation is."""

    def end(self, result: Any) -> None:  # noqa: ARG002 - what a method gave says more in other frames
        """Write the span of an operation that went well."""
        self.write()

    def fail(self, error: BaseException) -> None:
        """Write the span of an operation that `error` ended."""
        self.write(b"", plugin.error_type_of(error), error)

    def write(self, outcome: bytes = b"", error_type: str = "", error: object = None) -> None:
        """Write the span; `error_type` is empty if all went well.

        The text of an exception may quote a prompt: it becomes the status message only where content may be
        captured.
        """
        if self.done:
            return
        self.done = True
        attributes = self.opening.attributes + self.stamp + self.attributes + outcome
        message = None
        if error_type:
            attributes += plugin.text(c.ERROR_TYPE, error_type)
            message = str(error) if error is not None and plugin.capture_content() else error_type
        plugin.emit(
            self.scope.trace_id,
            self.span_id,
            self.scope.span_id,
            self.opening.name,
            self.opening.kind,
            self.start_ns,
            time_ns(),
            attributes,
            message,
        )


class Silent(Frame):
    """An operation that writes no span: it belongs to one that is metered already."""

    __slots__ = ()

    def __init__(self, scope: Scope | None) -> None:
        self.done = True
        self.variable = scopes.current
        self.value = scope

    def end(self, result: Any) -> None:
        """Nothing is written."""

    def fail(self, error: BaseException) -> None:
        """Nothing is written."""


Open: TypeAlias = Callable[[Any, tuple[Any, ...], dict[str, Any]], Frame]
"""Starts the operation that a method is: its object, positional and keyword arguments."""


def call(open_frame: Open) -> Wrap:
    """A wrapper for methods that are awaited."""

    def wrap(original: Method) -> Method:
        if not inspect.iscoroutinefunction(original):
            return _handed_on(original, open_frame)

        @wraps(original)
        async def metered(self: Any, *args: Any, **kwargs: Any) -> Any:
            method = original.__get__(self, type(self))
            if not scopes.is_active():
                return await method(*args, **kwargs)
            frame = opened(open_frame, self, args, kwargs)
            return await awaited(frame, method, args, kwargs)

        return metered

    return wrap


def _handed_on(original: Method, open_frame: Open) -> Method:
    """A wrapper for a plain function that should give something to await."""

    @wraps(original)
    def metered(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = original.__get__(self, type(self))(*args, **kwargs)
        if not scopes.is_active() or not _is_as_ever(
            inspect.isawaitable(given), original, "nothing to await"
        ):
            return given

        async def rest() -> Any:
            return await awaited(opened(open_frame, self, args, kwargs), lambda: given, (), {})

        return rest()

    return metered


def stream(open_frame: Open) -> Wrap:
    """A wrapper for methods that return a stream. The operation starts when the stream is first read."""

    def wrap(original: Method) -> Method:
        @wraps(original)
        def metered(self: Any, *args: Any, **kwargs: Any) -> Any:
            source = original.__get__(self, type(self))(*args, **kwargs)
            if not scopes.is_active() or not is_stream(source, original):
                return source
            return followed(lambda: opened(open_frame, self, args, kwargs), source)

        return metered

    return wrap


async def awaited(frame: Frame, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation that is awaited."""
    token = frame.resume()
    try:
        result = await _bound(frame, method)(*args, **kwargs)
    except BaseException as error:
        guarded(frame.fail, error)
        raise
    finally:
        frame.pause(token)
    guarded(frame.end, result)
    return result


def _bound(frame: Frame, method: Method) -> Method:
    try:
        return frame.bound(method)
    except Exception as error:
        excuse(error)
        return method


async def followed(start: Callable[[], Frame], source: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    """Pass a stream on. Our context is set only while the source works, never in the code that reads it."""
    frame = start()
    items = aiter(source)
    try:
        while True:
            token = frame.resume()
            try:
                item = await anext(items)
            except StopAsyncIteration:
                break
            finally:
                frame.pause(token)
            guarded(frame.see, item)
            yield item
    except BaseException as error:
        try:
            await close(items)
        finally:
            guarded(frame.fail, error)
        raise
    guarded(frame.end, None)


async def close(items: object) -> None:
    """Close what a stream is read from, if it can be closed."""
    aclose = getattr(items, "aclose", None)
    if aclose is not None:
        await aclose()


def opened(open_frame: Open, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
    """Start an operation; one that cannot be metered is silent."""
    try:
        return open_frame(owner, args, kwargs)
    except Exception as error:
        excuse(error)
        return Silent(scopes.current.get())


def guarded(action: Callable[[Any], None], argument: object) -> None:
    """Do something that only metering needs."""
    try:
        action(argument)
    except Exception as error:
        excuse(error)


def excuse(error: Exception) -> None:
    """Count an error of metering, and log the first."""
    plugin.count("autogen_metering_errors")
    plugin.warn_once(
        "autogen.metering", f"a call was not metered, it goes on ({scopes.releases()}): {error!r}"
    )


def is_stream(source: object, method: Method) -> bool:
    """Whether a method gave a stream, as it should."""
    return _is_as_ever(hasattr(source, "__aiter__"), method, "no stream")


def _is_as_ever(is_so: bool, method: Method, instead: str) -> bool:
    """Whether a method gave what it should; one warning if it gave something else."""
    if not is_so:
        name = getattr(method, "__qualname__", "a method")
        plugin.warn_once(
            f"autogen.shape.{name}",
            f"{name} returned {instead} ({scopes.releases()}): its calls run as before but are not metered.",
        )
    return is_so
