"""From a scope to its span: what each kind becomes, and the span handed to the SDK in one piece at the end."""

from typing import Final

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Opening

from aforo_crewai import mapping
from aforo_crewai.scopes import Scope

_STRUCTURES: Final = {
    "agent_reasoning": "reasoning",
    "knowledge_query": "knowledge query",
    "llm_guardrail": "guardrail",
    "memory_query": "memory query",
    "memory_retrieval": "memory retrieval",
    "memory_save": "memory save",
}


def opening_of(kind: str, source: object, event: object, role: str) -> Opening | None:
    """What the span of a scope is from its start, `role` the agent's if it is one; None: it has none, and what is
    inside hangs one higher.
    """
    if kind == mapping.MODEL:
        return model_call(source, mapping.text_of(event, "model"))
    if kind in {mapping.TOOL, mapping.MCP_TOOL}:
        return tool_call(mapping.tool_name_of(event))
    if kind in mapping.AGENTS:
        return plugin.agent_call(role)
    if kind == mapping.CREW:
        return plugin.workflow(mapping.text_of(event, "crew_name") or "crew")
    if kind == mapping.FLOW:
        return None if mapping.is_internal(source) else plugin.workflow(mapping.text_of(event, "flow_name"))
    if kind == mapping.METHOD:
        return plugin.structure("method", mapping.text_of(event, "method_name"))
    if kind == mapping.TASK:
        # Without a name of its own an event bears the task's description, which is a prompt.
        return plugin.structure("task", mapping.text_of(getattr(event, "task", None), "name"))
    if kind == mapping.KNOWLEDGE:
        return plugin.retrieval("knowledge")
    structure = _STRUCTURES.get(kind)
    return None if structure is None else plugin.structure(structure, "")


def model_call(llm: object, model: str) -> Opening:
    """A call of a model. What is not known is left out."""
    return plugin.model_call(c.CHAT, mapping.provider_of(llm), model)


def tool_call(name: str) -> Opening:
    """A call of a tool. The two with which an agent turns to another one of its crew hand over."""
    return plugin.tool_call(name, mapping.hands_over(name))


def emit(scope: Scope, end_ns: int, outcome: bytes = b"", error_type: str = "", error: object = None) -> None:
    """Write the span of a scope that has ended; `error_type` is empty if it went well.

    The text of an error may quote a prompt: it becomes the status message only where content may be captured.
    """
    opening = scope.opening
    if opening is None:
        return
    attributes = opening.attributes + scope.inherited + scope.attributes + outcome
    message = None
    if error_type:
        attributes += plugin.text(c.ERROR_TYPE, error_type)
        message = str(error) if error is not None and plugin.capture_content() else error_type
    plugin.emit(
        scope.tree.trace_id,
        scope.span_id,
        scope.parent_span_id,
        opening.name,
        opening.kind,
        scope.start_ns,
        max(end_ns, scope.start_ns),
        attributes,
        message,
    )
