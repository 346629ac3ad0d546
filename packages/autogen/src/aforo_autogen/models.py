"""Model calls: `create` and `create_stream` of every model client.

Clients wrap clients (caches, retries, routers) and classes call `super()`. What is billed is the innermost
call that was answered; a call that only passed on what another one answered writes nothing.
"""

import inspect
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, Optional
from weakref import WeakSet

from aforo_sdk import conventions as c
from aforo_sdk import plugin

from aforo_autogen import answers, frames, scopes
from aforo_autogen.answers import Seen
from aforo_autogen.frames import Frame, Method

current_call: Final[ContextVar[Optional["ModelCall"]]] = ContextVar("aforo_autogen_model_call", default=None)
_refusing: Final[WeakSet[Any]] = WeakSet()
"""Clients whose gateway does not know how to be asked for usage."""


class ModelCall(Frame):
    """A model call, perhaps inside another client's (`around`). `seen` is the provider's own response."""

    __slots__ = ("answered_inside", "around", "began", "opened_inside", "seen", "step")

    def __init__(self, provider: str, model: str) -> None:
        around = current_call.get()
        scope = scopes.known() or (around.scope if around is not None else scopes.root())
        super().__init__(plugin.model_call(c.CHAT, provider, model), scope)
        self.around = around
        self.seen: Seen | None = None
        self.began = self.answered_inside = self.opened_inside = False
        self.step: int | None
        if around is not None and around.step is not None:
            self.step, around.step = around.step, None
        else:
            self.step = next(scope.steps)
        if around is not None:
            around.opened_inside = True
        self.variable, self.value = current_call, self

    def see(self, item: Any) -> None:
        """A stream ends with its result, whoever reads on."""
        self.began = True
        if not isinstance(item, str) and hasattr(item, "usage"):
            self.end(item)

    def end(self, result: Any) -> None:
        """Write the call, unless a call inside it has answered."""
        if self.done:
            return
        if result is None:  # a stream without a result
            answer = answers.broken_answer_of(self.seen, True, EOFError())
        else:
            answer = answers.answer_of(result, self.seen)
        self.finish(answer)

    def finish(self, answer: plugin.Answer) -> None:
        """Write the call with what came of it, unless a call inside it has answered."""
        if self.around is not None:
            self.around.answered_inside = True
        if self.answered_inside:
            self.done = True
            return
        final = self.scope.kind == scopes.AGENT and not answer.asks_for_tools
        self._write(plugin.outcome(answer, c.STEP_FINAL_ANSWER if final else c.STEP_MODEL_CALL))

    def fail(self, error: BaseException) -> None:
        """Write the call, unless a call inside it tells."""
        if self.opened_inside:
            self.done = True
        elif not self.done:
            answer = answers.broken_answer_of(self.seen, self.began, error)
            self._write(plugin.outcome(answer, c.STEP_MODEL_CALL), plugin.error_type_of(error), error)

    def _write(self, outcome: bytes, error_type: str = "", error: object = None) -> None:
        step = next(self.scope.steps) if self.step is None else self.step
        self.write(plugin.step_index(step) + outcome, error_type, error)


def open_call(client: Any, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
    """Start a model call."""
    return ModelCall(answers.provider_of(client), answers.model_of(client, kwargs))


def wrap_stream(original: Method) -> Method:
    """Wrap `create_stream`; where it can be asked for usage and nobody said otherwise, ask."""
    can_ask = "include_usage" in _parameters(original)

    @wraps(original)
    def create_stream(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = original.__get__(self, type(self))
        asks = can_ask and scopes.is_active() and _may_ask(self, kwargs)
        source = method(*args, **kwargs | {"include_usage": True}) if asks else method(*args, **kwargs)
        if not scopes.is_active() or not frames.is_stream(source, original):
            return source
        if asks:
            source = _asked(source, self, lambda: method(*args, **kwargs))
        return frames.followed(lambda: frames.opened(open_call, self, args, kwargs), source)

    return create_stream


def _may_ask(client: Any, kwargs: dict[str, Any]) -> bool:
    try:
        return client not in _refusing and not answers.asks_for_usage(client, kwargs)
    except Exception as error:
        frames.excuse(error)
        return False


async def _asked(source: Any, client: Any, again: Callable[[], Any]) -> AsyncGenerator[Any, None]:
    """A stream that was asked for usage. A gateway that refuses that is called `again`, as it was meant."""
    items = aiter(source)
    try:
        try:
            first = await anext(items)
        except StopAsyncIteration:
            return
        except Exception as error:
            if not answers.is_refusal(error):
                raise
            _refusing.add(client)
            plugin.warn_once(
                "autogen.include_usage",
                "a gateway refuses to be asked for the usage of streams (stream_options): it is called "
                "without, and the tokens of such calls are missing.",
            )
            items = aiter(again())
        else:
            yield first
        async for item in items:
            yield item
    finally:
        await frames.close(items)


def wrap_call_event(original: Method) -> Method:
    """Wrap the constructor of `LLMCallEvent`: clients put the provider's whole response into it.

    It is made whether or not anybody listens to AutoGen's log, so that log is left alone.
    """

    @wraps(original)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        original.__get__(self, type(self))(*args, **kwargs)
        call = current_call.get()
        if call is not None:
            frames.guarded(call_saw(call), kwargs.get("response"))

    return construct


def wrap_chunks(original: Method) -> Method:
    """Wrap the method that gives the provider's own chunks of a stream, where a client has one."""

    @wraps(original)
    def chunks(self: Any, *args: Any, **kwargs: Any) -> Any:
        source = original.__get__(self, type(self))(*args, **kwargs)
        call = current_call.get()
        return source if call is None or not hasattr(source, "__aiter__") else _watched(call, source)

    return chunks


async def _watched(call: ModelCall, source: Any) -> AsyncGenerator[Any, None]:
    look = call_saw(call)
    try:
        async for chunk in source:
            frames.guarded(look, chunk)
            yield chunk
    finally:
        await frames.close(source)


def call_saw(call: ModelCall) -> Callable[[object], None]:
    """What takes a response, or one more chunk of it, into a call. The last usage is the stream's."""

    def look(response: object) -> None:
        seen, before = answers.seen_in(response), call.seen
        if before is not None:
            seen = Seen(
                seen.usage or before.usage,
                seen.model or before.model,
                seen.response_id or before.response_id,
            )
        call.seen = seen

    return look


def _parameters(method: Method) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(method).parameters)
    except (TypeError, ValueError):
        return frozenset()
