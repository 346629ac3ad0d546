"""What happens when CrewAI says something: a scope into the table, out of the table, into the spool.

Everything happens in the thread or task that emits, before the emitting call returns: so the payer is the one
of the context, steps are numbered as they start, and a session that is closed right after a run holds all of
it. An error of metering is counted, logged once, and never reaches the program.
"""

import atexit
import os
from contextvars import ContextVar
from importlib import metadata
from time import time_ns
from typing import Final

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Answer, Identity, Inside, answer_of_usage

from aforo_crewai import mapping, spans
from aforo_crewai.scopes import SCOPES, Loop, Scope, Tree

BLOCKED: Final = "crewai.hooks.dispatch.HookAborted"
_CHUNKS: Final = frozenset({"llm_stream_chunk", "llm_thinking_chunk"})
_RUNS: Final = frozenset({mapping.CREW, mapping.FLOW, "lite_agent_execution"})
_tree: Final[ContextVar[Tree | None]] = ContextVar("aforo_crewai_tree", default=None)


def see(own: Identity, source: object, event: object) -> None:
    """Take note of one event that `source` has emitted; `own` is the identity given to `instrument()`."""
    try:
        event_type = getattr(event, "type", "")
        if event_type in _CHUNKS:
            call = SCOPES.call(mapping.text_of(event, "call_id"))
            if call is not None:
                call.began = True
            return
        kind, edge = mapping.moment_of(event_type)
        if edge == mapping.START:
            _start(own, kind, source, event)
        elif edge:
            _end(kind, edge, source, event)
        elif event_type == "hook_dispatched" and getattr(event, "outcome", "") == "aborted":
            _block(event)
    except Exception as error:
        excuse("see", error)


def announce(parent_event_id: str | None, llm: object) -> None:
    """A model is about to be called in the scope `parent_event_id`, says a hook; an event may say so too."""
    try:
        scope = SCOPES.around(parent_event_id)
        if scope is not None and scope.kind != mapping.MODEL:
            if scope.called_ns:  # the call before came to nothing, and is made again
                _close_called(scope, time_ns(), b"", c.ERROR_TYPE_OTHER)
            scope.called, scope.called_ns = llm, time_ns()
    except Exception as error:
        excuse("announce", error)


def answered(parent_event_id: str | None, answer: object) -> None:
    """A model that was announced has answered in text; if no event told of it, this is its span."""
    try:
        scope = SCOPES.around(parent_event_id)
        if scope is not None and scope.called_ns:
            said = answer if isinstance(answer, str) else ""
            final = scope.loop is not None and mapping.is_final(said, False, scope.loop.has_tools, False)
            step = c.STEP_FINAL_ANSWER if final else c.STEP_MODEL_CALL
            _close_called(scope, time_ns(), plugin.outcome(Answer(), step))
    except Exception as error:
        excuse("answered", error)


def used(parent_event_id: str | None, usage: object) -> None:
    """Take note of what the model call of this context has used, as its answer says. Its end may not be told:
    CrewAI keeps silent of an answer through LiteLLM that asks for tools.
    """
    try:
        scope = SCOPES.around(parent_event_id)
        if scope is not None and scope.kind == mapping.MODEL:
            scope.used, scope.answered_ns = usage, time_ns()
            if scope.loop is not None:
                scope.loop.answered = scope
    except Exception as error:
        excuse("used", error)


def inside(parent_event_id: str | None, place: Inside) -> Inside | None:
    """Where the code runs that asks, if that is the scope `parent_event_id` and it began in `place`: it hangs
    there, for its payer. What the program says inside, with a session of ours, wins.
    """
    try:
        scope = SCOPES.around(parent_event_id)
        if scope is None or scope.around is not place:
            return None
        if scope.inside is None:
            tree = scope.tree
            payer = tree.payer if place is tree.around else place.payer.over(tree.payer)
            scope.inside = Inside(tree.trace_id, scope.span_id, payer)
        return scope.inside
    except Exception as error:
        excuse("inside", error)
        return None


def _start(own: Identity, kind: str, source: object, event: object) -> None:
    """Enter a scope that starts."""
    key = mapping.text_of(event, "event_id")
    if not key or key in SCOPES.open:
        return
    start_ns = time_ns()
    parent = _parent_of(kind, event)
    if parent is None:
        for left in SCOPES.take_left_open(start_ns):
            _abandon(left, start_ns)
        tree = _root(own, kind, event)
        above, inherited, loop = tree.above, tree.identity, None
    else:
        tree, above, inherited, loop = parent.tree, parent.span_id, parent.inherited, parent.loop
        if parent.called_ns:
            _resolve_called(parent, kind, start_ns)
        if loop is not None and loop.answered is not None:
            _close_answered(loop)
    is_agent = kind in mapping.AGENTS
    role = mapping.role_of(event) if is_agent else ""
    opening = spans.opening_of(kind, source, event, role)
    if kind == mapping.MCP_TOOL and (tool := _enclosing_tool(parent)) is not None:
        tool.opening, opening = opening, None  # one call, under the name that the server gave the tool
    scope = Scope(
        key,
        kind,
        id(source),
        parent,
        tree,
        opening,
        above if opening is None else plugin.new_span_id(),
        above,
        start_ns,
        inherited,
    )
    if is_agent:
        scope.loop = Loop(bool(getattr(event, "tools", None)))
        if role:
            scope.inherited = tree.identity + plugin.text(c.AGENT_NAME, role)
    elif kind == mapping.MODEL:
        scope.loop, scope.call_id = loop, mapping.text_of(event, "call_id")
        scope.offered = bool(getattr(event, "tools", None))
    elif kind == mapping.FLOW and mapping.is_executor(source):
        scope.loop = loop
    if opening is not None and opening.is_step:
        scope.attributes = plugin.step_index(next(tree.steps))
        if kind == mapping.TOOL and loop is not None:
            arguments = getattr(event, "tool_args", None)
            asked = mapping.taken_from(loop.asked, mapping.tool_name_of(event), arguments)
            scope.attributes += plugin.call_id(asked)
        if kind == mapping.TOOL:
            scope.cached = mapping.is_cached(source, event)
    scope.around = tree.place()
    SCOPES.add(scope)


def _end(kind: str, edge: str, source: object, event: object) -> None:
    """Write the span of a scope that ends, the first time it does; with a root, all that it leaves open."""
    end_ns = time_ns()
    failed = edge == mapping.FAILURE
    call_id = mapping.text_of(event, "call_id") if kind == mapping.MODEL else ""
    if call_id:
        scope = SCOPES.call(call_id)
        if scope is None and not failed and (late := SCOPES.take_late(call_id)) is not None:
            _close_model(late, end_ns, event, failed)
            return
    else:
        scope = SCOPES.ended(kind, getattr(event, "started_event_id", None), id(source))
    if scope is None or not SCOPES.take(scope):
        return
    if scope.called_ns:
        answered_too = b"" if failed else plugin.outcome(Answer(), c.STEP_MODEL_CALL)
        _close_called(scope, end_ns, answered_too, c.ERROR_TYPE_OTHER if failed else "")
    if kind == mapping.FLOW and scope.loop is not None and scope.parent is not None:
        scope.parent.loop = None  # what the agent's models do from here on is no part of its loop
    if scope is scope.tree.root:
        for left in SCOPES.take_rest(scope.tree):
            _give_up(left, end_ns)
    if kind == mapping.MODEL:
        _close_model(scope, end_ns, event, failed)
    elif kind == mapping.TOOL:
        _close_tool(scope, end_ns, event, failed)
    else:
        if failed and kind == mapping.MCP_TOOL and (tool := _enclosing_tool(scope.parent)) is not None:
            tool.failure = mapping.text_of(event, "error_type") or c.TOOL_ERROR
        error_type, error = mapping.error_of(event) if failed else ("", None)
        spans.emit(scope, end_ns, b"", error_type, error)


def _close_model(scope: Scope, end_ns: int, event: object, failed: bool) -> None:
    """Write the span of a model call. A provider that refuses bills nothing; in any other failure something
    was consumed, and nobody says how much.
    """
    if failed:
        quality = "" if mapping.was_refused(event) and not scope.began else c.MISSING
        answer = answer_of_usage(scope.used) if scope.answered_ns else Answer({}, quality)
        error_type, error = mapping.error_of(event)
        spans.emit(scope, end_ns, plugin.outcome(answer, c.STEP_MODEL_CALL), error_type, error)
        return
    answer, loop, step = mapping.answer_of(event), scope.loop, c.STEP_MODEL_CALL
    if loop is not None:
        loop.asked = mapping.asked_by(event)
        said = mapping.text_of(event, "response")
        if mapping.is_final(said, answer.asks_for_tools, loop.has_tools, scope.offered):
            step = c.STEP_FINAL_ANSWER
    spans.emit(scope, end_ns, plugin.outcome(answer, step))


def _close_answered(loop: Loop) -> None:
    """Something starts in a loop whose model has answered: write the span of that call, if nobody told its end."""
    scope, loop.answered = loop.answered, None
    if scope is not None and SCOPES.take(scope):
        _write_answered(scope)


def _write_answered(scope: Scope) -> None:
    answer = answer_of_usage(scope.used, asks_for_tools=True)
    spans.emit(scope, scope.answered_ns, plugin.outcome(answer, c.STEP_MODEL_CALL))


def _close_tool(scope: Scope, end_ns: int, event: object, failed: bool) -> None:
    """Write the span of a tool call. A result out of CrewAI's cache is no execution: structure only."""
    error_type, error = mapping.error_of(event) if failed else (scope.failure, None)
    if not error_type and getattr(event, "failure", None) is not None:
        error_type = c.TOOL_ERROR
    if not error_type and (scope.cached or getattr(event, "from_cache", False) is True):
        scope.opening, scope.attributes = plugin.structure("cached", mapping.tool_name_of(event)), b""
    spans.emit(scope, end_ns, b"", error_type, error)


def _resolve_called(scope: Scope, kind: str, now_ns: int) -> None:
    """Something starts where a model call was announced: its own event, or a tool that it asked for."""
    if kind == mapping.MODEL:
        scope.called, scope.called_ns = None, 0
    elif kind == mapping.TOOL:
        _close_called(scope, now_ns, plugin.outcome(Answer(), c.STEP_MODEL_CALL))


def _close_called(scope: Scope, end_ns: int, outcome: bytes, error_type: str = "") -> None:
    """Write the span of a model call that no event told of."""
    llm, start_ns = scope.called, scope.called_ns
    scope.called, scope.called_ns = None, 0
    call = Scope(
        "",
        mapping.MODEL,
        id(llm),
        scope,
        scope.tree,
        spans.model_call(llm, mapping.text_of(llm, "model")),
        plugin.new_span_id(),
        scope.span_id,
        start_ns,
        scope.inherited,
        plugin.step_index(next(scope.tree.steps)),
    )
    spans.emit(call, end_ns, outcome or plugin.outcome(Answer({}, ""), c.STEP_MODEL_CALL), error_type)


def _block(event: object) -> None:
    """A hook has refused a call: a model is not called, a tool is skipped though its end looks normal."""
    scope = SCOPES.around(getattr(event, "parent_event_id", None))
    point = getattr(event, "interception_point", "")
    if scope is not None and point == "pre_tool_call" and scope.kind == mapping.TOOL:
        scope.failure = BLOCKED
    elif scope is not None and point == "pre_model_call":
        scope.called, scope.called_ns = None, 0


def _enclosing_tool(scope: Scope | None) -> Scope | None:
    """The tool call that a scope is, or stands in with nothing but spanless scopes between."""
    while scope is not None and scope.opening is None:
        scope = scope.parent
    return scope if scope is not None and scope.kind == mapping.TOOL else None


def _parent_of(kind: str, event: object) -> Scope | None:
    """The scope that one which starts belongs in; None: it is a root.

    CrewAI takes too much off its stack when it reports a failure twice: what then starts below nothing is
    inside the run of this context, if that goes on. And it takes nothing off when a run is interrupted: a run
    that starts in the midst of a model call is not part of that call's.
    """
    parent = SCOPES.around(getattr(event, "parent_event_id", None))
    if parent is not None and parent.answered_ns:
        parent = parent.parent  # what starts now comes after it, though it may still lie on the stack
    if parent is None:
        return SCOPES.root_of(_tree.get())
    return None if parent.kind == mapping.MODEL and kind in _RUNS else parent


def _root(own: Identity, kind: str, event: object) -> Tree:
    """Return the tree of a root that starts. Identity: `own`, then the context of the emitter."""
    around = plugin.innermost()
    trace_id, above = plugin.current_parent(place=around) or (plugin.new_trace_id(), 0)
    tree = Tree(trace_id, above, own.over(plugin.current_identity(place=around)), around)
    if kind not in _RUNS:
        unseen = SCOPES.unseen(getattr(event, "parent_event_id", None), tree)
        if unseen is not None:
            return unseen
    _tree.set(tree)
    return tree


def _give_up(scope: Scope, end_ns: int) -> None:
    """Write the span of a scope that nobody ends."""
    if scope.answered_ns:
        _write_answered(scope)
        return
    unfinished = scope.opening.unfinished if scope.opening is not None else b""
    spans.emit(scope, end_ns, unfinished, c.ERROR_TYPE_OTHER)


def _abandon(scope: Scope, end_ns: int) -> None:
    plugin.count("crewai_scopes_left_open")
    _give_up(scope, end_ns)


def excuse(entry: str, error: Exception) -> None:
    """Count an error of metering, and log the first of each entry."""
    plugin.count("crewai_handler_errors")
    plugin.warn_once(
        f"crewai.{entry}",
        f"aforo-crewai: {entry} with crewai {version()}: something was not metered, the run goes on: {error!r}",
    )


def version() -> str:
    """The release of CrewAI that is installed."""
    try:
        return metadata.version("crewai")
    except metadata.PackageNotFoundError:
        return "(unknown version)"


def close_all() -> None:
    """Write the spans of the scopes that are open when metering or the process ends."""
    try:
        for scope in SCOPES.take_all():
            _abandon(scope, time_ns())
    except Exception as error:
        excuse("close_all", error)


atexit.register(close_all)
os.register_at_fork(after_in_child=SCOPES.clear)
