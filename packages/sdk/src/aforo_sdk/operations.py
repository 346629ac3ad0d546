"""The operations of an agent as spans: names and attributes of each kind, encoded, the same for every plugin.

What stays the same from call to call is encoded once and kept in bounded caches.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import orjson

from aforo_sdk import conventions as c
from aforo_sdk import notices, wire
from aforo_sdk.answers import Answer

RAW_USAGE_SIZE_BYTES_MAX: Final = 4_096

_UNANSWERED: Final = wire.text(c.STEP_TYPE, c.STEP_MODEL_CALL) + wire.text(c.USAGE_QUALITY, c.MISSING)


@dataclass(frozen=True, slots=True)
class Opening:
    """What a span is from its start: name, OTLP kind, encoded attributes.

    `is_step` says that it is a step (a model or tool call); `unfinished` are the attributes it gets in place
    of an outcome if its run never ends.
    """

    name: str
    kind: int
    attributes: bytes
    is_step: bool = False
    unfinished: bytes = b""


@lru_cache(maxsize=1024)
def model_call(operation: str, provider: str, model: str) -> Opening:
    """A call of a model, `operation` chat or text_completion. What is not known is empty and left out."""
    known = ((c.OPERATION_NAME, operation), (c.PROVIDER_NAME, provider), (c.REQUEST_MODEL, model))
    attributes = b"".join([wire.text(key, value) for key, value in known if value])
    return Opening(titled(operation, model), c.KIND_CLIENT, attributes, True, _UNANSWERED)


@lru_cache(maxsize=1024)
def tool_call(name: str, hands_over: bool = False) -> Opening:
    """A call of a tool; `hands_over` says that it passes the word to another agent."""
    attributes = (
        wire.text(c.OPERATION_NAME, c.EXECUTE_TOOL)
        + wire.text(c.TOOL_NAME, name)
        + wire.text(c.TOOL_TYPE, "function")
        + wire.text(c.STEP_TYPE, c.STEP_HANDOFF if hands_over else c.STEP_TOOL_CALL)
    )
    return Opening(titled(c.EXECUTE_TOOL, name), c.KIND_INTERNAL, attributes, True)


@lru_cache(maxsize=256)
def paused(tool: Opening) -> Opening:
    """A call of a tool that an interrupt cut short: structure only, since resuming makes the call anew."""
    return Opening(f"paused {tool.name}", tool.kind, b"")


@lru_cache(maxsize=256)
def retrieval(name: str) -> Opening:
    """A search of a retriever."""
    attributes = wire.text(c.OPERATION_NAME, c.RETRIEVAL)
    return Opening(titled(c.RETRIEVAL, name), c.KIND_CLIENT, attributes)


@lru_cache(maxsize=1024)
def agent_call(name: str) -> Opening:
    """The entrance of an agent. Its name is not added here: it stands on everything inside the agent."""
    attributes = wire.text(c.OPERATION_NAME, c.INVOKE_AGENT)
    return Opening(titled(c.INVOKE_AGENT, name), c.KIND_INTERNAL, attributes)


@lru_cache(maxsize=1024)
def workflow(name: str) -> Opening:
    """A crew, a team, a graph: what runs agents."""
    attributes = wire.text(c.OPERATION_NAME, c.INVOKE_WORKFLOW) + wire.text(c.WORKFLOW_NAME, name)
    return Opening(titled(c.INVOKE_WORKFLOW, name), c.KIND_INTERNAL, attributes)


@lru_cache(maxsize=1024)
def structure(kind: str, name: str) -> Opening:
    """A part of a run that only holds others together: a chain, a task, a turn. Bills nothing."""
    return Opening(titled(kind, name), c.KIND_INTERNAL, b"")


def titled(operation: str, name: str) -> str:
    """The name of a span, as OpenTelemetry has it."""
    return f"{operation} {name}" if name else operation


@lru_cache(maxsize=512)
def step_index(step: int) -> bytes:
    """The place of a call among the model and tool calls of its tree."""
    return wire.integer(c.STEP_INDEX, step)


def call_id(tool_call_id: object) -> bytes:
    """The id under which the model asked for a tool; nothing if it did not."""
    return wire.text_once(c.TOOL_CALL_ID, str(tool_call_id)) if tool_call_id else b""


def outcome(answer: Answer, step: str) -> bytes:
    """What a model call came to; `step` is its type: a call like any other, or the agent's final answer."""
    encoded = _said(step, answer.quality, answer.model) + wire.counts(answer.tokens)
    if answer.response_id:
        encoded += wire.text_once(c.RESPONSE_ID, answer.response_id)
    if answer.raw_usage:
        try:
            raw = orjson.dumps(answer.raw_usage)
        except orjson.JSONEncodeError:
            notices.count("raw_usage_unreadable")
        else:
            if len(raw) <= RAW_USAGE_SIZE_BYTES_MAX:
                encoded += wire.utf8(c.USAGE_RAW, raw)
    return encoded


@lru_cache(maxsize=1024)
def _said(step: str, quality: str, model: str) -> bytes:
    known = ((c.STEP_TYPE, step), (c.USAGE_QUALITY, quality), (c.RESPONSE_MODEL, model))
    return b"".join([wire.text(key, value) for key, value in known if value])


def error_type_of(error: BaseException) -> str:
    """`error.type` as the OTel conventions have it: the qualified class name, bare for what Python brings."""
    cls = type(error)
    if cls.__module__ in ("builtins", "asyncio.exceptions"):
        return cls.__name__
    return f"{cls.__module__}.{cls.__qualname__}"
