"""What happens at the start and at the end of a run: into the table, out of the table, into the spool.

Every entry guards itself (a decorator would be one call more): an error of metering is counted, logged once,
and never reaches the program. Everything happens in the thread or task that calls, and no context is attached
to it.
"""

import asyncio
import atexit
import os
from collections.abc import Mapping
from dataclasses import replace
from time import time_ns
from typing import Any, Final
from uuid import UUID

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside

from aforo_langchain import mapping, spans
from aforo_langchain.runs import RUNS, OpenRun, key_of
from aforo_langchain.scopes import Scope, inner_scope, root_scope

_NOTHING: Final[Mapping[str, Any]] = {}


def start_chain(own: Identity, run_id: UUID, serialized: object, told: Mapping[str, Any]) -> None:
    """Enter a chain, graph, node or agent that starts now, unless another handler has.

    `own` is the identity of the handler, `told` what else LangChain passes to the callback.
    """
    try:
        start_ns = time_ns()
        key = key_of(run_id)
        if key in RUNS.open:
            return
        parent = RUNS.parent_of(told.get("parent_run_id"))
        metadata = told.get("metadata") or _NOTHING
        name = mapping.name_of(told.get("name"), serialized)
        if parent is None:
            agent = mapping.agent_of(metadata, name, None)
            scope, parent_id = _root(own, metadata, agent, start_ns)
            in_loop = False
        else:
            agent = mapping.agent_of(metadata, name, parent.scope.agent)
            scope, parent_id = inner_scope(parent.scope, metadata, agent), parent.span_id
            in_loop = parent.in_agent_loop and mapping.is_agent_loop(metadata)
        opening = spans.chain(name, agent, parent is None)
        in_loop = in_loop or agent is not None
        span_id = plugin.new_span_id()
        place = scope.tree.place()
        RUNS.add(
            OpenRun(key, parent, {}, scope, opening, span_id, parent_id, start_ns, b"", in_loop, None, place)
        )
    except Exception as error:
        _excuse("start_chain", error)


def start_call(
    own: Identity, run_id: UUID, operation: str, serialized: object, told: Mapping[str, Any]
) -> None:
    """Enter a model call, tool call or search that starts now, unless another handler has.

    `operation` is its OTel name; the rest as in `start_chain`.
    """
    try:
        start_ns = time_ns()
        key = key_of(run_id)
        if key in RUNS.open:
            return
        parent = RUNS.parent_of(told.get("parent_run_id"))
        metadata = told.get("metadata") or _NOTHING
        if parent is None:
            agent = mapping.agent_of(metadata, "", None)
            scope, parent_id = _root(own, metadata, agent, start_ns)
            in_loop = agent is not None
        else:
            scope, parent_id = parent.scope, parent.span_id
            in_loop = parent.in_agent_loop and mapping.is_agent_loop(metadata)
            if scope.identity.session_id is None:
                scope = inner_scope(scope, metadata)
        attributes, batch = b"", None
        if operation == c.EXECUTE_TOOL:
            opening = spans.tool_call(mapping.name_of(told.get("name"), serialized))
            attributes = plugin.step_index(next(scope.tree.steps)) + plugin.call_id(told.get("tool_call_id"))
            in_loop = False
        elif operation == c.RETRIEVAL:
            opening = plugin.retrieval(mapping.name_of(told.get("name"), serialized))
        else:
            params = told.get("invocation_params")
            model = mapping.model_of(metadata, params)
            opening = plugin.model_call(operation, mapping.provider_of(metadata), model)
            attributes = plugin.step_index(next(scope.tree.steps))
            batch = params if told.get("batch_size", 1) > 1 else None
        span_id, place = plugin.new_span_id(), scope.tree.place()
        run = OpenRun(
            key, parent, {}, scope, opening, span_id, parent_id, start_ns, attributes, in_loop, batch, place
        )  # fmt: skip
        RUNS.add(run)
    except Exception as error:
        _excuse("start_call", error)


def inside(place: Inside) -> Inside | None:
    """Where the code runs that asks, if that is a run which began in `place`: it hangs there, for its payer.

    What the program says inside of the run, with a session of ours, wins over what was settled at the root.
    """
    try:
        run = RUNS.enclosing() if RUNS.open else None
        if run is None or run.around is not place:
            return None
        if run.inside is None:
            scope = run.scope
            payer = scope.identity if place is scope.tree.around else place.payer.over(scope.identity)
            run.inside = Inside(scope.trace_id, run.span_id, payer, scope.agent or None)
        return run.inside
    except Exception as error:
        _excuse("inside", error)
        return None


def end(run_id: UUID) -> None:
    """Write the span of a chain or a search that has its result."""
    try:
        run = RUNS.take(key_of(run_id))
        if run is not None:
            _close(run, time_ns())
    except Exception as error:
        _excuse("end", error)


def end_model(run_id: UUID, response: object) -> None:
    """Write the span of a model call that was answered by `response`, an `LLMResult`."""
    try:
        end_ns = time_ns()
        key = key_of(run_id)
        run = RUNS.take(key) or RUNS.take_late(key)
        if run is not None:
            answer = mapping.answer_of(response)
            final = run.in_agent_loop and not answer.asks_for_tools
            spans.emit(
                run, end_ns, plugin.outcome(answer, c.STEP_FINAL_ANSWER if final else c.STEP_MODEL_CALL)
            )
    except Exception as error:
        _excuse("end_model", error)


def end_tool(run_id: UUID, output: object) -> None:
    """Write the span of a tool call; its `output` may be, or bring, a message that says it failed."""
    try:
        key = key_of(run_id)
        run = RUNS.take(key) or RUNS.take_late(key)
        if run is not None:
            failed = mapping.is_tool_error(output, lambda call: plugin.call_id(call) in run.attributes)
            _close(run, time_ns(), c.TOOL_ERROR if failed else "")
    except Exception as error:
        _excuse("end_tool", error)


def fail(run_id: UUID, error: BaseException) -> None:
    """Write the span of a chain, search or tool call that `error` ended."""
    try:
        run = RUNS.take(key_of(run_id))
        if run is not None:
            if run.opening.is_step and mapping.is_steering(error, "GraphInterrupt"):
                # On resume the tool is called again from its start: that call is the one to count.
                run = replace(run, opening=plugin.paused(run.opening), attributes=b"")
            _fail(run, time_ns(), error)
    except Exception as problem:
        _excuse("fail", problem)


def fail_model(run_id: UUID, error: BaseException, response: object) -> None:
    """Write the span of a model call that `error` ended; `response` is what had come until then."""
    try:
        end_ns = time_ns()
        answer = mapping.broken_answer_of(response, error)
        run = RUNS.take(key_of(run_id))
        if run is None and answer.quality == c.PARTIAL:
            run = RUNS.take_late(key_of(run_id))
        if run is not None:
            _fail(run, end_ns, error, plugin.outcome(answer, c.STEP_MODEL_CALL))
            if not _in_event_loop():
                _close_batch(run, end_ns)
    except Exception as problem:
        _excuse("fail_model", problem)


def _fail(run: OpenRun, end_ns: int, error: BaseException, outcome: bytes = b"") -> None:
    """Write the span of a run that an exception ended, unless LangGraph only steers with it."""
    error_type = plugin.error_type_of(error)
    if run.children:
        # An `ainvoke` that is cancelled never says so; whoever awaited it does.
        _close_inside(run, end_ns, error_type if error_type == "CancelledError" else c.ERROR_TYPE_OTHER)
    spans.emit(run, end_ns, outcome, "" if mapping.is_steering(error) else error_type, error)


def _close(run: OpenRun, end_ns: int, error_type: str = "") -> None:
    if run.children:
        _close_inside(run, end_ns, c.ERROR_TYPE_OTHER)
    spans.emit(run, end_ns, b"", error_type)


def _close_inside(run: OpenRun, end_ns: int, error_type: str) -> None:
    """Write the spans of all that a run leaves open when it ends."""
    for inner in RUNS.take_inside(run):
        spans.emit(inner, end_ns, inner.opening.unfinished, error_type)


def _close_batch(run: OpenRun, end_ns: int) -> None:
    """Write the spans of the other prompts of a `generate()` that failed at `run` and will not end them.

    Those before it have been answered, how is lost; those after it were never asked. (`agenerate` ends all.)
    """
    for other in RUNS.take_batch(run):
        answered = other.start_ns < run.start_ns
        spans.emit(other, end_ns, other.opening.unfinished if answered else b"", c.ERROR_TYPE_OTHER)


def _root(own: Identity, metadata: Mapping[str, Any], agent: str | None, now_ns: int) -> tuple[Scope, int]:
    """Return the scope of a root run, and its parent's span id; first write what older runs left open."""
    for run in RUNS.take_left_open(now_ns):
        _abandon(run, now_ns)
    return root_scope(own, metadata, agent)


def _abandon(run: OpenRun, end_ns: int) -> None:
    plugin.count("langchain_runs_left_open")
    spans.emit(run, end_ns, run.opening.unfinished, c.ERROR_TYPE_OTHER)


def _excuse(entry: str, error: Exception) -> None:
    """Count an error of metering, and log the first of each entry."""
    plugin.count("langchain_callback_errors")
    plugin.warn_once(f"langchain.{entry}", f"{entry}: a run was not metered, it goes on: {error!r}")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def close_all() -> None:
    """Write the spans of the runs that are open when the process ends."""
    try:
        for run in RUNS.take_all():
            _abandon(run, time_ns())
    except Exception as error:
        _excuse("close_all", error)


atexit.register(close_all)
plugin.found_by(inside)
os.register_at_fork(after_in_child=RUNS.clear)
