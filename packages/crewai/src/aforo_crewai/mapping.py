"""What CrewAI's events say, in the trade's terms. Pure functions: no state, no clock, no encoding.

Events are read by the names of their fields, and nothing trusts a shape: an event that has lost a field says
less, it does not break. An answer is looked at only to tell a final one from one that goes on.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aforo_sdk import conventions as c
from aforo_sdk.plugin import Answer, answer_of_usage, error_type_of

START: Final = "start"
END: Final = "end"
FAILURE: Final = "failure"

# What scopes are called: the type of an event without its last word.
CREW: Final = "crew_kickoff"
FLOW: Final = "flow"
METHOD: Final = "method_execution"
TASK: Final = "task"
AGENTS: Final = frozenset({"agent_execution", "lite_agent_execution"})
MODEL: Final = "llm_call"
TOOL: Final = "tool_usage"
MCP_TOOL: Final = "mcp_tool_execution"
KNOWLEDGE: Final = "knowledge_search_query"

_EDGES: Final = {
    "started": START,
    "completed": END,
    "finished": END,
    "paused": END,
    "failed": FAILURE,
    "error": FAILURE,
    "canceled": FAILURE,
}
_NO_SCOPE: Final = frozenset({"agent_logs_started"})  # the one that nothing ends

_PROVIDERS: Final = {
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "claude": "anthropic",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
_HAND_OVERS: Final = frozenset({"delegate_work_to_coworker", "ask_question_to_coworker"})


# How the clients of the providers word it: OpenAI and Anthropic, Gemini, Bedrock; then CrewAI itself.
_REFUSED: Final = re.compile(
    r"error code: [45]\d\d|\b[45]\d\d [a-z_]+\. \{|an error occurred \("
    r"|connection error|failed to connect|call denied by"
)


class Asked(NamedTuple):
    """A tool call that a model asked for: the id it gave, the tool, the arguments as they came."""

    call_id: str
    tool: str
    arguments: object


@lru_cache(maxsize=1024)
def moment_of(event_type: str) -> tuple[str, str]:
    """Return (kind of scope, START, END or FAILURE) for the type of an event; the edge is empty if it is
    neither.
    """
    kind, _, last = event_type.rpartition("_")
    return kind, "" if event_type in _NO_SCOPE else _EDGES.get(last, "")


def text_of(thing: object, name: str) -> str:
    """Return a field that should hold text, without white space around it; empty if it does not."""
    value = getattr(thing, name, None)
    return value.strip() if isinstance(value, str) else ""


def is_executor(source: object) -> bool:
    """Tell whether a flow is the loop of an agent: its executor is a flow too."""
    return any(cls.__name__ == "AgentExecutor" for cls in type(source).__mro__)


def is_internal(source: object) -> bool:
    """Tell whether a flow is none of the user's: agents and memories are built of flows."""
    return type(source).__module__.startswith("crewai.") or is_executor(source)


def role_of(event: object) -> str:
    """Return the role of the agent that an event starts; empty if it does not say."""
    # Events are models, which take long to say that they lack a field: the one that most have comes first.
    if role := text_of(getattr(event, "agent", None), "role"):
        return role
    told = getattr(event, "agent_info", None)
    stated = told.get("role") if isinstance(told, Mapping) else None
    return stated.strip() if isinstance(stated, str) else text_of(event, "agent_role")


def provider_of(llm: object) -> str:
    """Return the provider under its OTel well-known name, empty if nobody said: a model class of the user's
    own is "openai" unless it says otherwise, whatever it calls.
    """
    name = text_of(llm, "provider")
    if name == "openai" and not _is_crewais_own(llm.__class__.__mro__):
        return ""
    return _PROVIDERS.get(name, name)


def tells(llm: object) -> bool:
    """Tell whether a model is sure to emit events: CrewAI's own classes do, others may or may not."""
    return type(llm).__module__.startswith("crewai.")


@lru_cache(maxsize=256)
def _is_crewais_own(classes: tuple[type, ...]) -> bool:
    modules = [cls.__module__ for cls in classes]
    return any(module == "crewai.llm" or module.startswith("crewai.llms.providers.") for module in modules)


def tool_name_of(event: object) -> str:
    """Return the name of a tool as models are told it: CrewAI passes it on in either form."""
    return "_".join(text_of(event, "tool_name").lower().split())


def hands_over(tool: str) -> bool:
    """Tell whether a tool passes the word to another agent of the crew."""
    return tool in _HAND_OVERS


def answer_of(event: object) -> Answer:
    """Read the end of a model call."""
    usage, response_id = getattr(event, "usage", None), getattr(event, "response_id", None)
    return answer_of_usage(usage, "", response_id, _call_type(event) == "tool_call")


def is_cached(source: object, event: object) -> bool:
    """Tell whether a tool call that starts will be answered out of CrewAI's cache: where the model was told of
    tools natively, its end does not say.
    """
    read = getattr(getattr(getattr(source, "tools_handler", None), "cache", None), "read", None)
    arguments = getattr(event, "tool_args", None)
    if read is None or not isinstance(arguments, dict):
        return False
    try:
        found = read(tool=getattr(event, "tool_name", ""), input=json.dumps(arguments) if arguments else "")
    except (TypeError, ValueError):
        return False
    return found is not None


def asked_by(event: object) -> list[Asked]:
    """Return the tool calls that a model's answer asks for, in whichever provider's form it lists them."""
    response = getattr(event, "response", None)
    found = []
    for call in response if isinstance(response, list) else ():
        if isinstance(call, Mapping):
            call_id = call.get("id") or call.get("call_id") or call.get("toolUseId")
            called = call.get("function")
            told = called if isinstance(called, Mapping) else call
            name, arguments = told.get("name"), told.get("arguments", told.get("input"))
            if isinstance(call_id, str) and isinstance(name, str):
                found.append(Asked(call_id, name, arguments))
    return found


def taken_from(asked: list[Asked], tool: str, arguments: object) -> str:
    """Remove the call that a tool's start answers to, and return its id; empty if no model asked for it.

    The arguments matter only where the same tool was asked for more than once.
    """
    alike = [call for call in asked if call.tool == tool]
    if not alike:
        return ""
    if len(alike) > 1:
        alike = [call for call in alike if _plain(call.arguments) == _plain(arguments)] or alike
    asked.remove(alike[0])
    return alike[0].call_id


def is_final(answer: str, asks_for_tools: bool, tools: bool, offered: bool) -> bool:
    """Tell whether what a model said in an agent's loop ends the loop.

    `tools` says that the agent has any, `offered` that the model was told of them natively. If it has some and
    was not told, it follows a text protocol, in which asking for a tool and the last answer bear marks.
    """
    if asks_for_tools or offered or not tools:
        return not asks_for_tools
    return "Final Answer:" in answer or "Action:" not in answer


def error_of(event: object) -> tuple[str, object]:
    """Return (`error.type`, the error itself) of an event that reports a failure."""
    error = getattr(event, "error", None)
    if isinstance(error, BaseException):
        return error_type_of(error), error
    return text_of(event, "error_type") or c.ERROR_TYPE_OTHER, error


def was_refused(event: object) -> bool:
    """Tell whether a model call failed because the provider, the network or a hook refused it, so that it
    consumed nothing. Other failures come after an answer: it could not be read, or our side did not wait.
    """
    error = str(getattr(event, "error", "")).lower()
    return _REFUSED.search(error) is not None and "timed out" not in error


def _call_type(event: object) -> object:
    call_type = getattr(event, "call_type", None)
    return getattr(call_type, "value", call_type)


def _plain(arguments: object) -> Any:
    if isinstance(arguments, str):
        try:
            return json.loads(arguments)
        except ValueError:
            return arguments
    return arguments
