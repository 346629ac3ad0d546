"""What LangChain says about a run, in the trade's terms. Pure functions: no state, no clock, no encoding.

Nothing here reads what a message says, and nothing trusts a shape: gateways and test models put strange
things where usage belongs, so every value is checked, and what is no count is left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from aforo_sdk import conventions as c
from aforo_sdk.plugin import (
    COUNT_MAX,
    Answer,
    plain_usage,
    quality_of,
    raise_cache_writes,
    take_counts,
    tokens_of_usage,
)

PARTS_MAX: Final = 64
"""How much of a tool's result is looked through for what became of the call, from its end."""

_PROVIDERS: Final = {
    "amazon_bedrock": "aws.bedrock",
    "anthropic_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "google_anthropic_vertex": "gcp.vertex_ai",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "googlegenerativeai": "gcp.gemini",
    "ibm": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertexai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}


# The details that LangChain's `UsageMetadata` may carry, and the attributes they become.
_TOTALS: Final = {"input_tokens": c.INPUT_TOKENS, "output_tokens": c.OUTPUT_TOKENS}
_INPUT_DETAILS: Final = {
    "cache_read": c.CACHE_READ_TOKENS,
    "cache_creation": c.CACHE_WRITE_TOKENS,
    "ephemeral_5m_input_tokens": c.USAGE_CACHE_WRITE_5M,
    "ephemeral_1h_input_tokens": c.USAGE_CACHE_WRITE_1H,
    "audio": c.AUDIO_INPUT_TOKENS,
}
_OUTPUT_DETAILS: Final = {"reasoning": c.REASONING_TOKENS, "audio": c.AUDIO_OUTPUT_TOKENS}


def answer_of(result: object) -> Answer:
    """Read the `LLMResult` of a call that succeeded. Of several candidates the first carries the usage of
    all.

    `total_cost` 0 is how LangChain marks an answer out of its own cache. Such an answer repeats the counts
    and the id of the call that filled the cache: neither is taken again.
    """
    try:
        generation = result.generations[0][0]  # type: ignore[attr-defined]
    except (AttributeError, IndexError, TypeError):
        return Answer()
    message = getattr(generation, "message", None)
    said = _dict(getattr(message, "response_metadata", None) or getattr(generation, "generation_info", None))
    output = _dict(getattr(result, "llm_output", None))
    model = _text(said.get("model_name") or said.get("model") or output.get("model_name"))
    asks_for_tools = bool(
        getattr(message, "tool_calls", None) or getattr(message, "invalid_tool_calls", None)
    )
    usage = _dict(getattr(message, "usage_metadata", None))
    if usage.get("total_cost", 1) == 0:
        return Answer({}, c.CACHED_RESPONSE, None, model, "", asks_for_tools)
    raw = said.get("token_usage") or said.get("usage") or output.get("token_usage") or output.get("usage")
    if raw is None:
        raw = said.get("usage_metadata") or _dict(getattr(message, "additional_kwargs", None)).get("usage")
    if raw is not None and type(raw) is not dict:  # an object of the provider's library
        raw = plain_usage(raw)
    tokens = _tokens(usage) if usage else {}
    if raw and quality_of(tokens) != c.REPORTED:
        tokens = tokens_of_usage(raw) or tokens
    response_id = said.get("id") or getattr(message, "id", None)
    if type(response_id) is not str or response_id.startswith(("run-", "lc_")):
        response_id = ""  # an id that LangChain made up itself is none of the provider's
    return Answer(tokens, quality_of(tokens), raw or usage or None, model, response_id, asks_for_tools)


def broken_answer_of(result: object, error: BaseException) -> Answer:
    """Read what had come when a call failed: `partial` if tokens were counted until then.

    Without a count it depends on who gave up. A provider that refuses bills nothing. When our side left
    (cancelled, timed out, stream abandoned) or an answer had begun, something was consumed and nobody says
    how much: `missing`.
    """
    answer = answer_of(result)
    if answer.quality != c.MISSING:
        return answer._replace(quality=c.PARTIAL)
    began = len(getattr(result, "generations", None) or ()) > 1
    we_left = not isinstance(error, Exception) or "timeout" in type(error).__name__.lower()
    return answer._replace(quality=c.MISSING if began or we_left else "")


def _tokens(usage: dict[str, Any]) -> dict[str, int]:
    """Read LangChain's `UsageMetadata`."""
    into, out = usage.get("input_tokens"), usage.get("output_tokens")
    tokens: dict[str, int] = {}
    if type(into) is int and type(out) is int and 0 <= into <= COUNT_MAX and 0 <= out <= COUNT_MAX:
        tokens = {c.INPUT_TOKENS: into, c.OUTPUT_TOKENS: out}  # as good as always
    else:
        take_counts(tokens, usage, _TOTALS)
    if details := usage.get("input_token_details"):
        take_counts(tokens, details, _INPUT_DETAILS)
    if details := usage.get("output_token_details"):
        take_counts(tokens, details, _OUTPUT_DETAILS)
    raise_cache_writes(tokens)  # langchain-anthropic reports cache_creation 0 beside the two lifetimes
    return tokens


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def provider_of(metadata: Mapping[str, object]) -> str:
    """Return the provider under its OTel well-known name; one without such a name stays as LangChain calls
    it.
    """
    name = _text(metadata.get("ls_provider"))
    return _PROVIDERS.get(name, name)


def model_of(metadata: Mapping[str, object], invocation: object) -> str:
    """Return the model that is asked for; empty if nobody says."""
    model = metadata.get("ls_model_name")
    if not model:
        params = _dict(invocation)
        model = params.get("model") or params.get("model_name")
    return _text(model)


def name_of(name: object, serialized: object) -> str:
    """Return the name of a chain, tool or retriever: the run's, else that of what is run; may be empty."""
    if name and isinstance(name, str):
        return name
    description = _dict(serialized)
    path = description.get("id")
    return _text(description.get("name")) or (_text(path[-1]) if isinstance(path, list) and path else "")


def conversation_of(metadata: Mapping[str, object]) -> str | None:
    """Return LangGraph's thread id as text; None if the run has none."""
    thread = metadata.get("thread_id")
    return None if thread is None else str(thread)


def session_of(metadata: Mapping[str, object]) -> str | None:
    """Return the session that a run's metadata names: thread id, else session id, else conversation id."""
    for key in ("thread_id", "session_id", "conversation_id"):
        session = metadata.get(key)
        if session is not None and session != "":
            return str(session)
    return None


def agent_of(metadata: Mapping[str, object], name: str, around: str | None) -> str | None:
    """Return the agent that the chain called `name` is the entrance of, inside the agent `around`; None: no
    entrance.

    `create_agent` leaves `lc_agent_name` (if it has a name) and `ls_integration` in its graph's metadata, and
    all runs inside inherit them. The entrance is the chain where the agent differs from the one around it, or
    bears its name. The name of an agent without one is empty.
    """
    agent = metadata.get("lc_agent_name")
    if agent and isinstance(agent, str):
        return agent if agent != around or agent == name else None
    return "" if around is None and metadata.get("ls_integration") == "langchain_create_agent" else None


def is_agent_loop(metadata: Mapping[str, object]) -> bool:
    """Tell whether a run inside an agent may be its loop: in `create_agent` that is the node `model`, no
    other.
    """
    return metadata.get("langgraph_node", "model") == "model"


def is_tool_error(output: object, is_own: Callable[[object], bool]) -> bool:
    """Tell whether a tool's result is a `ToolMessage` that says it failed, or brings the one of this very call.

    A LangGraph `Command` may bring those of other calls too; `is_own` knows the call's id.
    """
    if _says_error(output):
        return True
    if type(output).__name__ not in ("Command", "list"):
        return False
    messages = (message for each in _last(output) for message in _brought_by(each))
    return any(
        _says_error(message) and is_own(getattr(message, "tool_call_id", None)) for message in messages
    )


def _says_error(output: object) -> bool:
    return getattr(output, "status", None) == "error" and getattr(output, "type", None) == "tool"


def _brought_by(output: object) -> Iterator[object]:
    """What may be a message in the state update of a `Command`; anything else as it is."""
    if type(output).__name__ != "Command":
        yield output
        return
    update = getattr(output, "update", None)
    fields = update if isinstance(update, dict) else getattr(update, "__dict__", None)
    for value in _last(update) if fields is None else fields.values():
        yield from _last(value[1] if type(value) is tuple and len(value) == 2 else value)


def _last(value: object) -> Sequence[object]:
    """The latest of several; the state of a graph may be long."""
    return value[-PARTS_MAX:] if isinstance(value, list | tuple) else (value,)


def is_steering(error: BaseException, kind: str = "GraphBubbleUp") -> bool:
    """Tell whether LangGraph raised this to steer (`GraphInterrupt`, `ParentCommand`, …): not a failure."""
    return any(cls.__name__ == kind for cls in type(error).__mro__)
