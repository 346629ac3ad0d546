"""From a run to its span: names and attributes of each kind of run, encoded, handed to the SDK in one piece
at the end.

What stays the same from call to call is encoded once and kept in bounded caches.
"""

from functools import lru_cache
from typing import Final

import orjson
from aforo_sdk import conventions as c
from aforo_sdk import plugin

from aforo_langchain.mapping import Answer
from aforo_langchain.runs import Opening, OpenRun

RAW_USAGE_SIZE_BYTES_MAX: Final = 4_096

_UNANSWERED: Final = plugin.text(c.STEP_TYPE, c.STEP_MODEL_CALL) + plugin.text(c.USAGE_QUALITY, c.MISSING)


@lru_cache(maxsize=1024)
def model_call(operation: str, provider: str, model: str) -> Opening:
    """A call of a model, `operation` chat or text_completion. What is not known is empty and left out."""
    known = ((c.OPERATION_NAME, operation), (c.PROVIDER_NAME, provider), (c.REQUEST_MODEL, model))
    attributes = b"".join([plugin.text(key, value) for key, value in known if value])
    return Opening(_titled(operation, model), c.KIND_CLIENT, attributes, True, _UNANSWERED)


@lru_cache(maxsize=1024)
def tool_call(name: str) -> Opening:
    """A call of a tool. One that is named `transfer_to_…` hands over to another agent."""
    step = c.STEP_HANDOFF if name.startswith("transfer_to_") else c.STEP_TOOL_CALL
    attributes = (
        plugin.text(c.OPERATION_NAME, c.EXECUTE_TOOL)
        + plugin.text(c.TOOL_NAME, name)
        + plugin.text(c.TOOL_TYPE, "function")
        + plugin.text(c.STEP_TYPE, step)
    )
    return Opening(_titled(c.EXECUTE_TOOL, name), c.KIND_INTERNAL, attributes, True)


@lru_cache(maxsize=256)
def paused(tool: Opening) -> Opening:
    """A call of a tool that an interrupt cut short: structure only, since resuming makes the call anew."""
    return Opening(f"paused {tool.name}", tool.kind, b"")


@lru_cache(maxsize=256)
def retrieval(name: str) -> Opening:
    """A search of a retriever."""
    attributes = plugin.text(c.OPERATION_NAME, c.RETRIEVAL)
    return Opening(_titled(c.RETRIEVAL, name), c.KIND_CLIENT, attributes)


@lru_cache(maxsize=1024)
def chain(name: str, agent: str | None, is_root: bool) -> Opening:
    """A chain: the entrance of `agent` if that is not None, else a workflow at the root, else structure only.

    An agent's name is not added here: it stands on everything inside the agent.
    """
    if agent is not None:
        attributes = plugin.text(c.OPERATION_NAME, c.INVOKE_AGENT)
        return Opening(_titled(c.INVOKE_AGENT, agent), c.KIND_INTERNAL, attributes)
    if not is_root:
        return Opening(_titled("chain", name), c.KIND_INTERNAL, b"")
    attributes = plugin.text(c.OPERATION_NAME, c.INVOKE_WORKFLOW) + plugin.text(c.WORKFLOW_NAME, name)
    return Opening(_titled(c.INVOKE_WORKFLOW, name), c.KIND_INTERNAL, attributes)


def _titled(operation: str, name: str) -> str:
    return f"{operation} {name}" if name else operation


@lru_cache(maxsize=512)
def step_index(step: int) -> bytes:
    """The place of a call among the model and tool calls of its tree."""
    return plugin.integer(c.STEP_INDEX, step)


def call_id(tool_call_id: object) -> bytes:
    """The id under which the model asked for a tool; nothing if it did not."""
    return plugin.text_once(c.TOOL_CALL_ID, str(tool_call_id)) if tool_call_id else b""


def outcome(answer: Answer, step: str) -> bytes:
    """What a model call came to; `step` is its type: a call like any other, or the agent's final answer."""
    encoded = _said(step, answer.quality, answer.model) + plugin.counts(answer.tokens)
    if answer.response_id:
        encoded += plugin.text_once(c.RESPONSE_ID, answer.response_id)
    if answer.raw_usage:
        try:
            raw = orjson.dumps(answer.raw_usage)
        except orjson.JSONEncodeError:
            plugin.count("langchain_raw_usage_unreadable")
        else:
            if len(raw) <= RAW_USAGE_SIZE_BYTES_MAX:
                encoded += plugin.utf8(c.USAGE_RAW, raw)
    return encoded


@lru_cache(maxsize=1024)
def _said(step: str, quality: str, model: str) -> bytes:
    known = ((c.STEP_TYPE, step), (c.USAGE_QUALITY, quality), (c.RESPONSE_MODEL, model))
    return b"".join([plugin.text(key, value) for key, value in known if value])


def emit(run: OpenRun, end_ns: int, outcome: bytes = b"", error_type: str = "", error: object = None) -> None:
    """Write the span of a run that has ended; `error_type` is empty if it went well.

    The text of an exception may quote a prompt: it becomes the status message only where content may be
    captured.
    """
    opening, scope = run.opening, run.scope
    attributes = opening.attributes + scope.attributes + run.attributes + outcome
    message = None
    if error_type:
        attributes += plugin.text(c.ERROR_TYPE, error_type)
        message = str(error) if error is not None and plugin.capture_content() else error_type
    plugin.emit(
        scope.trace_id,
        run.span_id,
        run.parent_span_id,
        opening.name,
        opening.kind,
        run.start_ns,
        end_ns,
        attributes,
        message,
    )
