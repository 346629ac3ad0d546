"""How frameworks themselves write a call: attribute names and habits of the real packages.

autogen-core 0.7.5, ag2 1.2.1, crewai 1.15.30, pydantic-ai 2.68.0, mcp 2.3.0, fastmcp 4.1.2.
"""

from __future__ import annotations

from .calls import Call
from .spelling import OPERATIONS, attributes_of, positive, standard
from .wire import Written


def autogen(call: Call) -> Written:
    """autogen-core: agents and tools."""
    said = {key: value for key, value in standard(call).items() if "conversation" not in key}
    said["gen_ai.system"] = "autogen"
    if call.kind == "agent":
        said["gen_ai.agent.id"] = "guide_0b1d/0b1d"
    return Written("autogen-core", f"{OPERATIONS[call.kind]} {call.name}", said, call.failed)


def ag2(call: Call) -> Written:
    """Counts of zero are not written, and the totals are the provider's own, exclusive or not."""
    types = {"chat": "llm", "tool": "tool", "agent": "agent"}
    said = standard(call)
    del said["gen_ai.conversation.id"]
    said.pop("gen_ai.response.id", None)
    said.pop("error.type", None)
    said["ag2.span.type"] = types[call.kind]
    if call.tokens is not None:
        tokens = call.tokens
        if call.provider in ("anthropic", "aws.bedrock"):
            tokens = tokens._replace(input=tokens.input - tokens.cache_read - tokens.cache_write)
        if call.provider == "gcp.gemini":
            tokens = tokens._replace(output=tokens.output - tokens.reasoning)
        said |= positive(
            "gen_ai.usage.", tokens, input="input_tokens", output="output_tokens",
            cache_read="cache_read_input_tokens", cache_write="cache_creation_input_tokens",
            reasoning="thinking_tokens",
        )  # fmt: skip
    return Written("opentelemetry.instrumentation.ag2", "chat gpt-4o-mini", said, call.failed)


def crewai(call: Call) -> Written:
    """The conversation of a model call is its task; counts of zero are not written."""
    names = {
        "chat": "call llm", "tool": "call tool", "agent": "execute agent", "workflow": "execute crew",
        "retriever": "search knowledge",
    }  # fmt: skip
    said = standard(call) | {"crewai.event_name": "an_event", "crewai.execution_uuid": "39f5ff34"}
    said.pop("gen_ai.tool.call.id", None)
    if call.kind == "chat":
        said |= {"gen_ai.conversation.id": "bd5cdfc7", "crewai.task.id": "bd5cdfc7"}
    if call.kind == "agent":
        said |= {
            "gen_ai.agent.name": "f49453d03280531de56f7809ef9905c4",
            "gen_ai.agent.id": "3d4afe85",
            "crewai.agent.role": call.name,
        }
    if call.kind == "workflow":
        said["crewai.crew.usage_metrics"] = '{"total_tokens": 460, "prompt_tokens": 380}'
    if call.kind == "retriever":
        del said["gen_ai.operation.name"]
    if call.tokens is not None and (call.tokens.input or call.tokens.output):
        said |= {
            "gen_ai.usage.input_tokens": call.tokens.input,
            "gen_ai.usage.output_tokens": call.tokens.output,
        }
        said |= positive(
            "gen_ai.usage.", call.tokens, cache_read="cache_read.input_tokens",
            cache_write="cache_creation.input_tokens", reasoning="reasoning_tokens",
        )  # fmt: skip
    return Written("crewai", names[call.kind], said, call.failed)


def pydantic_ai(call: Call) -> Written:
    """Counts of zero are not written; details repeat the cache, and a run repeats its calls."""
    said = standard(call)
    said.pop("error.type", None)
    if "gen_ai.provider.name" in said:
        said["gen_ai.system"] = said["gen_ai.provider.name"]
    if call.tokens is not None:
        totals = positive(
            "gen_ai.usage.", call.tokens, input="input_tokens", output="output_tokens",
            cache_read="cache_read.input_tokens", cache_write="cache_creation.input_tokens",
        )  # fmt: skip
        details = positive(
            "gen_ai.usage.details.", call.tokens, cache_read="cache_read_tokens", cache_write="cache_write_tokens",
            reasoning="reasoning_tokens", audio_in="input_audio_tokens", audio_out="output_audio_tokens",
        )  # fmt: skip
        said |= totals | details
    if call.kind == "agent":
        said |= {"gen_ai.aggregated_usage.input_tokens": 380, "gen_ai.aggregated_usage.output_tokens": 80}
    return Written("pydantic-ai", "chat gpt-4o-mini", said, call.failed)


def mcp_client(call: Call) -> Written:
    """SDK 2: the tool is in the name only, and a tool's failure is not seen."""
    said = attributes_of(mcp__method__name="tools/call", jsonrpc__request__id="3")
    if call.failed:
        said["error.type"] = "MCPError"
    return Written("mcp-python-sdk", f"MCP send tools/call {call.name}", said, call.failed)


def mcp_server(call: Call) -> Written:
    """SDK 2, the other side."""
    said = attributes_of(
        mcp__method__name="tools/call", mcp__protocol__version="2026-07-28", jsonrpc__request__id="3",
        gen_ai__operation__name="execute_tool", gen_ai__tool__name=call.name,
        error__type="tool_error" if call.failed else None,
    )  # fmt: skip
    return Written("mcp-python-sdk", f"tools/call {call.name}", said, call.failed)


def fastmcp(call: Call) -> Written:
    """FastMCP: no operation; a transport session that is no agent's."""
    said = attributes_of(
        mcp__method__name="tools/call", mcp__session__id="a62190eb", gen_ai__tool__name=call.name,
        fastmcp__component__key=f"tool:{call.name}@", error__type="tool_error" if call.failed else None,
    )  # fmt: skip
    return Written("fastmcp", f"tools/call {call.name}", said, call.failed)
