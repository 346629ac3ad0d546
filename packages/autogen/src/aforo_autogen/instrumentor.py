"""Meter every agent of the process, with nothing passed anywhere: one table of patches, put on and taken off."""

import sys
import threading
from functools import partial, wraps
from types import ModuleType
from typing import Any, Final

from aforo_sdk.plugin import Identity

from aforo_autogen import frames, models, patches, runs, scopes, tools
from aforo_autogen.arrivals import Arrivals
from aforo_autogen.frames import Method
from aforo_autogen.patches import Patch


def _ag2_scope(original: Method) -> Method:
    """Wrap how AG2 runs an agent; its part of this package is imported with AG2."""
    from aforo_autogen.ag2 import wrap_drive_scope

    return wrap_drive_scope(original)


def _ag2_send(original: Method) -> Method:
    """Wrap how AG2 sends an event: some tell what it spent. Subscribing to them takes longer than a turn's
    metering.
    """
    from ag2.events import UsageEvent

    @wraps(original)
    def send(self: Any, event: object, *args: Any, **kwargs: Any) -> Any:
        if isinstance(event, UsageEvent) and scopes.is_active():
            from aforo_autogen.ag2 import spent

            frames.guarded(spent, event)
        return original(self, event, *args, **kwargs)

    return send


PATCHES: Final = (
    Patch(
        "autogen_core.models",
        "ChatCompletionClient",
        {
            "create": frames.call(models.open_call),
            "create_stream": models.wrap_stream,
            "_create_stream_chunks": models.wrap_chunks,
            "_create_stream_chunks_beta_client": models.wrap_chunks,
        },
        "autogen-core",
        "model calls are",
        frozenset({"_create_stream_chunks", "_create_stream_chunks_beta_client"}),
    ),
    Patch(
        "autogen_core.logging",
        "LLMCallEvent",
        {"__init__": models.wrap_call_event},
        "autogen-core",
        "cached and reasoning tokens are",
    ),
    Patch(
        "autogen_core.tools",
        "BaseTool",
        {"run_json": frames.call(tools.open_tool), "run_json_stream": frames.stream(tools.open_tool)},
        "autogen-core",
        "tool calls are",
        frozenset({"run_json_stream"}),
    ),
    Patch(
        "autogen_core.tools",
        "Workbench",
        {
            "call_tool": frames.call(tools.open_workbench),
            "call_tool_stream": frames.stream(tools.open_workbench),
        },
        "autogen-core",
        "tool calls of workbenches are",
        frozenset({"call_tool_stream"}),
    ),
    Patch(
        "autogen_agentchat.base",
        "ChatAgent",
        {"on_messages": frames.call(runs.open_agent), "on_messages_stream": frames.stream(runs.open_agent)},
        "autogen-agentchat",
        "agents are",
    ),
    Patch(
        "autogen_agentchat.base",
        "Team",
        {"run_stream": frames.stream(runs.open_team)},
        "autogen-agentchat",
        "teams are",
    ),
    Patch(
        "ag2.agent",
        "Agent",
        {"_drive_scope": _ag2_scope},
        "ag2",
        "agents without AforoAG2Middleware are",
    ),
    Patch(
        "ag2.context",
        "ConversationContext",
        {"send": _ag2_send},
        "ag2",
        "compaction and aggregation are",
    ),
)

_lock = threading.Lock()
_arrivals: Arrivals | None = None


def instrument(
    customer_id: str | None = None,
    session_id: str | None = None,
    agent_id: str | None = None,
    *,
    team_id: str | None = None,
    app_id: str | None = None,
    product_type: str | None = None,
) -> None:
    """Meter every AutoGen and AG2 agent, team, tool and model call of this process from now on.

    What is not given comes from the context in which a run starts. Calling it again replaces the identity.
    Frameworks may be imported before or after. Never raises.
    """
    global _arrivals
    with _lock:
        scopes.meter_as(Identity(customer_id, team_id, agent_id, app_id, session_id, product_type))
        if _arrivals is None:
            modules = {patch.module for patch in PATCHES}
            _arrivals = Arrivals({module: partial(_put_on, module) for module in modules})
            _arrivals.start()


def uninstrument() -> None:
    """Undo `instrument()`: nothing that starts later is metered, and the frameworks are as they were.

    Runs that are open still end. Without `instrument()` it does nothing.
    """
    global _arrivals
    with _lock:
        scopes.meter_as(None)
        if _arrivals is None:
            return
        _arrivals.stop()
        _arrivals = None
        for patch in PATCHES:
            frames.guarded(partial(patches.take_off, patch), sys.modules.get(patch.module))


def instrumented() -> bool:
    """Whether `instrument()` is in force; `aforo_sdk.doctor` asks."""
    return _arrivals is not None


def _put_on(name: str, module: ModuleType) -> None:
    """Wrap what one module brings."""
    for patch in PATCHES:
        if patch.module == name:
            try:
                patches.put_on(patch, module)
            except Exception as error:
                patches.warn(patch, f"{patch.owner} as it is known ({error!r})")
