"""From a run to its span: what LangChain's chains become, and the span handed to the SDK in one piece at the
end.
"""

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Opening

from aforo_langchain.runs import OpenRun


def tool_call(name: str) -> Opening:
    """A call of a tool. One that is named `transfer_to_…` hands over to another agent."""
    return plugin.tool_call(name, name.startswith("transfer_to_"))


def chain(name: str, agent: str | None, is_root: bool) -> Opening:
    """A chain: the entrance of `agent` if that is not None, else a workflow at the root, else structure."""
    if agent is not None:
        return plugin.agent_call(agent)
    return plugin.workflow(name) if is_root else plugin.structure("chain", name)


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
