"""AG2 1.x: a middleware, put around every agent by `instrument()`, or given to an agent by hand.

    from ag2.middleware import Middleware
    Agent("researcher", config=config, middleware=[Middleware(AforoAG2Middleware, customer_id="acme")])

Model calls are billed where they pass the middleware. What AG2 spends elsewhere (compaction, aggregation) is
told by its `UsageEvent`s, of which only those kinds count: a `model_call` has passed already, and a `subtask`
repeats what the sub-agent's own calls said.
"""

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import lru_cache, partial, wraps
from typing import Any, Final

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Answer, Identity, answer_of_usage
from ag2.events import Condition, UsageEvent
from ag2.middleware import BaseMiddleware
from ag2.utils import AGENT_CONTEXT_DEPENDENCY_KEY, MODEL_CONFIG_CONTEXT_DEPENDENCY_KEY

from aforo_autogen import frames, runs, scopes, tools
from aforo_autogen.frames import Frame, Method
from aforo_autogen.models import ModelCall
from aforo_autogen.tools import ToolCall

TOLD_ELSEWHERE: Final = frozenset({"model_call", "subtask"})
"""Kinds of `UsageEvent` whose tokens have passed the middleware."""

_PROVIDERS: Final = {
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertexai": "gcp.vertex_ai",
    "xai": "x_ai",
}
# AG2 keeps each provider's own rules under one set of names: the names of the provider bring its rules back.
_OPENAI: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
)
_ANTHROPIC: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
)
_GEMINI: Final = (
    "prompt_token_count",
    "candidates_token_count",
    "cached_content_token_count",
    "cache_creation_tokens",
    "thoughts_token_count",
)
_NAMES: Final = {
    "anthropic": _ANTHROPIC,
    "aws.bedrock": _ANTHROPIC,
    "gcp.gemini": _GEMINI,
    "gcp.vertex_ai": _GEMINI,
}
_COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "thinking_tokens",
)

_ADDITIONAL: Final = "additional_middleware"

_identity: Final = lru_cache(maxsize=256, typed=True)(Identity)
"""AG2 makes a middleware for every turn, with the same arguments."""


class AforoAG2Middleware(BaseMiddleware):
    """Meters the turns, model calls and tool calls of the agent that it is given to.

    Takes the identity that `instrument()` takes; beside `instrument()` every call is metered once. Sub-agents
    without a middleware of their own are metered under `instrument()` only.
    """

    def __init__(
        self,
        event: Any,
        context: Any,
        customer_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        *,
        team_id: str | None = None,
        app_id: str | None = None,
        product_type: str | None = None,
    ) -> None:
        super().__init__(event, context)
        self._own = (customer_id, team_id, agent_id, app_id, session_id, product_type)

    async def on_turn(self, call_next: Method, event: Any, context: Any) -> Any:
        """An agent's turn: what AG2 spends beside its model calls is heard while it lasts."""
        frame = _opened(partial(_open_turn, self._own), context, "")
        if not isinstance(frame, runs.Run):  # the turn is metered further out
            return await call_next(event, context)
        with ExitStack() as listening:
            if not scopes.is_active():
                frames.guarded(partial(_listen, listening), context)
            return await frames.awaited(frame, call_next, (event, context), {})

    async def on_llm_call(self, call_next: Method, events: Any, context: Any) -> Any:
        """A model call."""
        return await frames.awaited(_opened(_open_call, context), call_next, (events, context), {})

    async def on_tool_execution(self, call_next: Method, event: Any, context: Any) -> Any:
        """A tool call."""
        return await frames.awaited(_opened(_open_tool, event), call_next, (event, context), {})


class _Spent(ModelCall):
    """A model call of AG2."""

    __slots__ = ()

    def end(self, result: Any) -> None:
        """Write the call that a `ModelResponse` answered."""
        if not self.done:
            asks_for_tools = bool(getattr(result, "tool_calls", None))
            self.finish(_answer_of(result, getattr(result, "response_id", None), asks_for_tools))


class _Tool(ToolCall):
    """A tool call of AG2."""

    __slots__ = ()

    def end(self, result: Any) -> None:
        """Write the call; a `ToolErrorEvent` says that it failed. One left to a client has not run here."""
        if type(result).__name__ == "ClientToolCallEvent":
            self.opening, self.attributes = plugin.paused(self.opening), b""
        self.error = getattr(result, "error", None)
        self.failed = self.error is not None
        super().end(result)


def wrap_drive_scope(original: Method) -> Method:
    """Wrap how AG2 opens the scope of a turn: with our middleware innermost, and the turn around all others.

    Raises:
        TypeError: when it takes other arguments than those that we need.
    """
    missing = {"context", _ADDITIONAL} - set(inspect.signature(original).parameters)
    if missing:
        raise TypeError(f"_drive_scope takes no {' and no '.join(sorted(missing))}")

    @wraps(original)
    def drive_scope(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = original.__get__(self, type(self))
        try:
            given = tuple(kwargs.get(_ADDITIONAL) or ())
            if not scopes.is_active() or _has_ours(self, given):
                return method(*args, **kwargs)
            context, name = kwargs["context"], str(getattr(self, "name", ""))
        except Exception as error:
            frames.excuse(error)
            return method(*args, **kwargs)
        return _driven(method(*args, **kwargs | {_ADDITIONAL: (*given, AforoAG2Middleware)}), context, name)

    return drive_scope


def _has_ours(agent: Any, given: tuple[Any, ...]) -> bool:
    """Whether an agent has our middleware already: then that one meters it, under its own identity."""
    own = [entry.middleware for entry in getattr(agent, "middleware", ())]
    return any(getattr(factory, "cls", factory) is AforoAG2Middleware for factory in (*own, *given))


@asynccontextmanager
async def _driven(
    scope: AbstractAsyncContextManager[Method], context: Any, name: str
) -> AsyncGenerator[Callable[[], Any], None]:
    async with scope as drive:

        async def metered() -> Any:
            frame = _opened(partial(_open_turn, ()), context, name)
            return await frames.awaited(frame, drive, (), {})

        yield metered


class _Hears(Condition):
    """Sees the events that AG2 sends, and lets none of them through.

    A subscriber would do, but for every event that it is given AG2 makes a model of its arguments.
    """

    def __call__(self, event: Any) -> bool:
        """Take note of what was spent, unless `instrument()` does so."""
        if isinstance(event, UsageEvent) and not scopes.is_active():
            frames.guarded(spent, event)
        return False


async def _unheard() -> None:
    """What subscribes, and is never called."""


def _listen(listening: ExitStack, context: Any) -> None:
    listening.enter_context(context.stream.where(_Hears()).sub_scope(_unheard))


def spent(event: Any) -> None:
    """Write what AG2 spent in a call that passed no middleware. When it began is not told."""
    scope = scopes.current.get()
    if scope is None or event.kind in TOLD_ELSEWHERE:
        return
    attributes = plugin.step_index(next(scope.steps))
    answer = _answer_of(event, None)
    opening = plugin.model_call(c.CHAT, _provider_of(event.provider), "")
    Frame(opening, scope, attributes).write(plugin.outcome(answer, c.STEP_MODEL_CALL))


def _opened(open_frame: Callable[..., Frame], *args: Any) -> Frame:
    try:
        return open_frame(*args)
    except Exception as error:
        frames.excuse(error)
        return frames.Silent(scopes.current.get())


def _open_turn(own: tuple[str | None, ...], context: Any, name: str) -> Frame:
    if not name:
        name = str(getattr(context.dependencies.get(AGENT_CONTEXT_DEPENDENCY_KEY), "name", ""))
    return runs.start_agent(context, name, scopes.known() or scopes.root(_identity(*own)))


def _open_call(context: Any) -> Frame:
    config = context.dependencies.get(MODEL_CONFIG_CONTEXT_DEPENDENCY_KEY)
    return _Spent(_provider_of(_told(config, "provider")), str(_told(config, "model") or ""))


def _open_tool(event: Any) -> Frame:
    return tools.start(None, str(event.name), event.id, _Tool)


def _told(config: object, name: str) -> object:
    """What a model's configuration says; some raise instead of saying nothing."""
    try:
        return getattr(config, name, None)
    except Exception:
        return None


def _provider_of(name: object) -> str:
    """A provider of AG2 under its OTel well-known name; one without such a name stays as AG2 calls it."""
    text = str(getattr(name, "value", name) or "")
    return _PROVIDERS.get(text, text)


def _answer_of(told: Any, response_id: object, asks_for_tools: bool = False) -> Answer:
    """Read the usage and the model of a `ModelResponse` or `UsageEvent`."""
    names, usage = _NAMES.get(_provider_of(told.provider), _OPENAI), told.usage
    raw = {
        name: int(count)
        for name, own in zip(names, _COUNTS, strict=True)
        if (count := getattr(usage, own, None)) is not None
    }
    return answer_of_usage(raw, told.model, response_id, asks_for_tools)
