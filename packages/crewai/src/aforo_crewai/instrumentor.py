"""Meter every crew, agent and flow of the process: one tap on the event bus and hooks, put on and taken off together.

CrewAI runs handlers of its bus on a pool of threads, after the emitting call has gone on. A run's last spans
would then be written after the session around it was closed, or not at all in a process that ends. So we read
each event where it is emitted, when the bus has given it its place in the tree. Events that are replayed from
a checkpoint are not emitted, and not seen.

The hooks are for calls that emit no events. CrewAI makes an event of its own of every call of a hook, which costs
more than all else here: so only loops whose model may say nothing itself have them. The one before a model call
is registered too, for calls that bypass the model's class.
"""

import threading
from collections.abc import Callable, Mapping
from functools import cache, wraps
from importlib import import_module
from typing import Any, Final, NamedTuple

from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside

from aforo_crewai import mapping, metering
from aforo_crewai.scopes import SCOPES

_LOOPS: Final = frozenset({"flow_started", "lite_agent_execution_started"})
"""The events with which an agent's loop begins; flows of the user's have no hooks."""

_lock = threading.Lock()
_own: Identity | None = None


class Feature(NamedTuple):
    """A part of CrewAI that metering stands on: where it is, the fields it must have, what is lost without.

    `path` is a module and a name in it, which may be dotted.
    """

    path: tuple[str, str]
    fields: tuple[str, ...]
    loss: str


EMIT: Final = Feature(("crewai.events.event_bus", "CrewAIEventsBus.emit"), (), "nothing is metered")
HOOKS: Final = (
    Feature(("crewai.hooks", "register_hook"), (), "models that emit no events are not metered"),
    Feature(("crewai.hooks", "unregister_hook"), (), "models that emit no events are not metered"),
    Feature(
        ("crewai.hooks", "InterceptionPoint"),
        ("PRE_MODEL_CALL",),
        "models that emit no events are not metered",
    ),
    Feature(
        ("crewai.events.event_context", "get_current_parent_id"),
        (),
        "models that emit no events are not metered",
    ),
)
LITELLM: Final = Feature(
    ("crewai.utilities.token_counter_callback", "TokenCalcHandler.log_success_event"),
    (),
    "calls through LiteLLM that ask for tools have no tokens",
)
EVENTS: Final = (
    Feature(
        ("crewai.events.base_events", "BaseEvent"),
        ("type", "event_id", "parent_event_id", "started_event_id"),
        "spans may stand in the wrong tree",
    ),
    Feature(
        ("crewai.events.types.llm_events", "LLMCallStartedEvent"),
        ("call_id", "model", "tools"),
        "model calls may be mixed up",
    ),
    Feature(
        ("crewai.events.types.llm_events", "LLMCallCompletedEvent"),
        ("call_id", "usage", "response_id", "call_type", "response"),
        "tokens may be missing",
    ),
    Feature(
        ("crewai.events.types.tool_usage_events", "ToolUsageFinishedEvent"),
        ("tool_name", "from_cache", "failure"),
        "tool calls may count as successful, or twice",
    ),
)


class _Patch(NamedTuple):
    bus: Any
    original: Callable[..., Any]
    tapped: Callable[..., Any]


class _Hooks(NamedTuple):
    unregister: Callable[..., Any]
    current_parent_id: Callable[[], str | None]
    before: Any


_patch: _Patch | None = None
_hooks: _Hooks | None = None


def instrument(
    customer_id: str | None = None,
    session_id: str | None = None,
    agent_id: str | None = None,
    *,
    team_id: str | None = None,
    app_id: str | None = None,
    product_type: str | None = None,
) -> None:
    """Meter every crew, agent, flow and model call of this process from now on, in all threads.

    What is not given here comes from the context of each run (`aforo_sdk.session`, W3C baggage), then from
    `aforo_sdk.init`. Calling it again replaces the identity. A part of CrewAI that is not there costs one
    warning and what hangs on it.
    """
    global _own, _patch
    with _lock:
        _own = Identity(customer_id, team_id, agent_id, app_id, session_id, product_type)
        for feature in EVENTS:
            _found(feature)
        if _patch is None and (emit := _found(EMIT)) is not None:
            bus = import_module(EMIT.path[0]).CrewAIEventsBus
            _patch = _Patch(bus, emit, _tap(emit))
            bus.emit = _patch.tapped
        if _hooks is None:
            _guarded("register", _hook)


def uninstrument() -> None:
    """Undo `instrument()`: nothing more is metered, CrewAI is as it was. Without `instrument()` it does
    nothing.

    Runs that are open are written as they stand, marked as unfinished.
    """
    global _own, _patch, _hooks
    with _lock:
        _own = None
        # If someone else has patched over ours, taking ours out would take theirs: it stays and passes
        # through.
        if _patch is not None and _patch.bus.__dict__.get("emit") is _patch.tapped:
            _patch.bus.emit = _patch.original
            _patch = None
        if _hooks is not None:
            hooks, _hooks = _hooks, None
            _guarded("unregister", lambda: hooks.unregister(hooks.before, before_model_call))
        metering.close_all()


def instrumented() -> bool:
    """Whether `instrument()` is in force; `aforo_sdk.doctor` asks."""
    return _own is not None


def _tap(emit: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the bus's `emit`: what was emitted is metered too. Whatever else `emit` may take is passed on."""

    @wraps(emit)
    def emit_metered(self: Any, *given: Any, **named: Any) -> Any:
        future = emit(self, *given, **named)
        own = _own
        if own is not None:
            try:
                _see(own, *given, **named)
            except Exception as error:
                metering.excuse("emit", error)
        return future

    return emit_metered


def _see(own: Identity, source: Any, event: Any, *_: Any, **__: Any) -> None:
    """Take note of an event, by the arguments that `emit` was called with."""
    if getattr(event, "type", "") in _LOOPS:
        _equip(source)
        _guarded("listen", lambda: _listen(source))
    metering.see(own, source, event)


def before_model_call(context: Any) -> None:
    """Hook: a model is about to be called."""
    hooks = _hooks
    if hooks is not None:
        metering.announce(hooks.current_parent_id(), getattr(context, "llm", None))


def after_model_call(context: Any) -> None:
    """Hook: the model has answered in text."""
    hooks = _hooks
    if hooks is not None:
        metering.answered(hooks.current_parent_id(), getattr(context, "response", None))


def _hook() -> None:
    """Register the hook before model calls, if this CrewAI has such hooks."""
    global _hooks
    register, unregister, points, current_parent_id = (_found(feature) for feature in HOOKS)
    if register is None or unregister is None or points is None or current_parent_id is None:
        return
    register(points.PRE_MODEL_CALL, before_model_call)
    _hooks = _Hooks(unregister, current_parent_id, points.PRE_MODEL_CALL)


def _guarded(what: str, action: Callable[[], object]) -> None:
    """Use a part of CrewAI that is there, but may have changed."""
    try:
        action()
    except Exception as error:
        metering.excuse(what, error)


def _equip(executor: Any) -> None:
    """Give our hooks to the loop of an agent whose model may not emit events, and take them from any other.

    It keeps lists of its own: what was registered when it was made, perhaps before `instrument()`.
    """
    if _hooks is None:
        return
    silent = not mapping.tells(getattr(executor, "llm", None))
    for name, hook in (
        ("before_llm_call_hooks", before_model_call),
        ("after_llm_call_hooks", after_model_call),
    ):
        own = getattr(executor, name, None)
        if not isinstance(own, list):
            if silent and mapping.is_executor(executor):
                _warn_of(f"AgentExecutor.{name}", HOOKS[0].loss)
        elif (hook in own) is not silent:
            (own.append if silent else own.remove)(hook)


def _listen(executor: Any) -> None:
    """Have the loop of an agent tell us what each call through LiteLLM has used: of those that ask for tools no
    event tells the end.
    """
    listeners = getattr(executor, "callbacks", None)
    if getattr(getattr(executor, "llm", None), "is_litellm", False) is not True:
        return
    listener = _listener_class()
    if listener is None or not isinstance(listeners, list):
        return
    if not any(isinstance(one, listener) for one in listeners):
        listeners.append(listener())


@cache
def _listener_class() -> Any:
    """CrewAI listens to nobody but to handlers of its own kind; None if it has none any more."""
    if _found(LITELLM) is None:
        return None
    kind: Any = import_module(LITELLM.path[0]).TokenCalcHandler

    class Listener(kind):  # type: ignore[misc]
        """Passes on what LiteLLM says that a call has used."""

        def log_success_event(self, kwargs: Any, response_obj: Any, *_: Any, **__: Any) -> None:  # noqa: ARG002
            """Hear of a call that was answered."""
            hooks = _hooks
            if hooks is not None and isinstance(response_obj, Mapping):
                metering.used(hooks.current_parent_id(), response_obj.get("usage"))

    return Listener


def _found(feature: Feature) -> Any:
    """Return a part of CrewAI; None, and one warning, if it or one of its fields is not there."""
    module, name = feature.path
    missing = f"{module}.{name}"
    try:
        part: Any = import_module(module)
        for step in name.split("."):
            part = getattr(part, step)
        fields = getattr(part, "model_fields", None)
        lost = [one for one in feature.fields if not (one in fields if fields else hasattr(part, one))]
        if not lost:
            return part
        missing = f"{missing}.{lost[0]}"
    except (ImportError, AttributeError):
        pass
    _warn_of(missing, feature.loss)
    return None


def _warn_of(missing: str, loss: str) -> None:
    plugin.warn_once(
        f"crewai.{missing}",
        f"aforo-crewai: crewai {metering.version()} has no {missing}: {loss}; the rest is metered.",
    )


def _inside(place: Inside) -> Inside | None:
    """Where the code runs that asks, if that is a call of CrewAI's which began in `place`."""
    hooks = _hooks if SCOPES.open else None
    return None if hooks is None else metering.inside(hooks.current_parent_id(), place)


plugin.found_by(_inside)
