"""How instrumentations that somebody else adds write a call: attribute names and habits of the real packages.

OTel GenAI 0.66b2 and util-genai 1.3b0, OpenInference langchain 0.1.80, openai 0.1.66 and autogen-agentchat
0.1.22, OpenLLMetry 0.62.4, logfire 5.2.0.
"""

from __future__ import annotations

import json

from .calls import Call
from .spelling import Attributes, attributes_of, positive, standard
from .wire import Written


def otel(call: Call) -> Written:
    """The conventions of 0.66 with the names that are newer than its constants."""
    said = standard(call)
    if call.tokens is not None:
        said |= {
            "gen_ai.usage.input_tokens": call.tokens.input,
            "gen_ai.usage.output_tokens": call.tokens.output,
        }
        said |= positive(
            "gen_ai.usage.", call.tokens, cache_read="cache_read.input_tokens",
            cache_write="cache_write.input_tokens", reasoning="reasoning.output_tokens",
            audio_in="audio.input_tokens", audio_out="audio.output_tokens",
        )  # fmt: skip
    return Written("opentelemetry.instrumentation.genai.langchain", call.kind, said, call.failed)


def otel_before(call: Call) -> Written:
    """The same under the names of 2024 and 2025."""
    written = otel(call)
    renamed = {
        "gen_ai.provider.name": "gen_ai.system",
        "gen_ai.usage.input_tokens": "gen_ai.usage.prompt_tokens",
        "gen_ai.usage.output_tokens": "gen_ai.usage.completion_tokens",
        "gen_ai.usage.cache_read.input_tokens": "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.cache_write.input_tokens": "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.reasoning.output_tokens": "gen_ai.usage.reasoning_tokens",
    }
    said = {renamed.get(key, key): value for key, value in written.attributes.items()}
    if call.provider == "azure.ai.openai":
        said["gen_ai.system"] = "az.ai.openai"
    return Written("some-program", written.name, said, call.failed)


_OI_KINDS = {
    "chat": "LLM", "embeddings": "EMBEDDING", "tool": "TOOL", "agent": "AGENT", "workflow": "CHAIN",
    "retriever": "RETRIEVER",
}  # fmt: skip
_OI_PROVIDERS = {"aws.bedrock": "aws", "azure.ai.openai": "azure", "gcp.gemini": "gemini"}


def _openinference(call: Call) -> Attributes:
    said = attributes_of(openinference__span__kind=_OI_KINDS[call.kind], session__id=call.session)
    if call.kind == "embeddings":
        said |= attributes_of(embedding__model_name=call.model, llm__system=call.provider)
    elif call.kind == "chat" or call.tokens is not None:
        said |= attributes_of(
            llm__model_name=call.model, llm__provider=_OI_PROVIDERS.get(call.provider, call.provider)
        )
    if call.kind == "tool":
        said |= attributes_of(tool__name=call.name)
    if call.kind == "agent":
        said |= attributes_of(graph__node__id=call.name)
    if call.tokens is not None:
        total = call.tokens.input + call.tokens.output
        said |= {"llm.token_count.prompt": call.tokens.input, "llm.token_count.total": total}
        if call.kind != "embeddings":
            said["llm.token_count.completion"] = call.tokens.output
        said |= positive(
            "llm.token_count.", call.tokens, cache_read="prompt_details.cache_read",
            cache_write="prompt_details.cache_write", reasoning="completion_details.reasoning",
            audio_in="prompt_details.audio", audio_out="completion_details.audio",
        )  # fmt: skip
    return said


def openinference_langchain(call: Call) -> Written:
    """Ids are in the JSON of the run's output; a failed tool has none."""
    said = _openinference(call)
    if call.kind == "chat" and not call.failed:
        metadata = {"model_name": call.model, "id": call.call_id}
        message = {
            "id": ["langchain"],
            "kwargs": {"content": '"id": "chatcmpl-0"', "response_metadata": metadata},
        }
        said["output.value"] = json.dumps({"generations": [[{"message": message}]]})
    if call.kind == "tool":
        state = "error" if call.failed else "success"
        data = {"content": '"tool_call_id": "call_0"', "tool_call_id": call.call_id, "status": state}
        said["output.value"] = json.dumps({"type": "tool", "data": data})
    return Written("openinference.instrumentation.langchain", "ChatOpenAI", said, call.failed)


def openinference_openai(call: Call) -> Written:
    """The client's answer is in the output as the provider wrote it; a stream's is put together again."""
    said = _openinference(call)
    if not call.failed:
        answer = {"choices": [], "id": call.call_id, "usage": {}}
        if not call.streamed:
            answer = {"id": call.call_id, "choices": []}
        said["output.value"] = json.dumps(answer)
    return Written("openinference.instrumentation.openai", "ChatCompletion", said, call.failed)


def openinference_beside_otel(call: Call) -> Written:
    """With `enable_genai_semconv`: OpenTelemetry's names beside, but fewer of them."""
    both = otel(call).attributes | openinference_openai(call).attributes
    both = {
        key: value for key, value in both.items() if "reasoning.output" not in key and "audio." not in key
    }
    return Written("a program's own tracer", "llm", both, call.failed)


def openinference_autogen(call: Call) -> Written:
    """AutoGen's usage has no details."""
    said = {key: value for key, value in _openinference(call).items() if "details" not in key}
    return Written("openinference.instrumentation.autogen_agentchat", "create", said, call.failed)


def openinference_crewai(call: Call) -> Written:
    """Agents and tools."""
    said = {key: value for key, value in _openinference(call).items() if "token_count" not in key}
    return Written("openinference.instrumentation.crewai", f"{call.name}.run", said, call.failed)


def openllmetry_openai(call: Call) -> Written:
    """Reasoning only where the answer was not streamed; a total beside."""
    said = standard(call, "traceloop__association__properties__session_id")
    said["gen_ai.is_streaming"] = call.streamed
    if call.tokens is not None:
        said |= {
            "gen_ai.usage.input_tokens": call.tokens.input,
            "gen_ai.usage.output_tokens": call.tokens.output,
            "gen_ai.usage.total_tokens": call.tokens.input + call.tokens.output,
            "gen_ai.usage.cache_read.input_tokens": call.tokens.cache_read,
        }
        if not call.streamed:
            said["gen_ai.usage.reasoning_tokens"] = call.tokens.reasoning
    return Written("opentelemetry.instrumentation.openai.v1", "openai.chat", said, call.failed)


def openllmetry_langchain(call: Call) -> Written:
    """Never reasoning; tools and tasks carry `traceloop.span.kind` beside the standard operation."""
    written = openllmetry_openai(call)
    said = {key: value for key, value in written.attributes.items() if "reasoning" not in key}
    if call.tokens is not None and call.tokens.cache_write:
        said["gen_ai.usage.cache_creation.input_tokens"] = call.tokens.cache_write
    if call.kind in ("agent", "workflow"):
        said |= {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": "01a200df-646e-7244-983a"}
    if call.kind == "retriever":
        said |= {"gen_ai.operation.name": "vector_db_retrieve", "traceloop.span.kind": "task"}
    if call.kind == "tool":
        del said["gen_ai.tool.call.id"]
        given = {"inputs": {"x": '"tool_call_id": "call_0"}}'}, "kwargs": {"tool_call_id": call.call_id}}
        said["traceloop.entity.input"] = json.dumps(given)
    return Written("opentelemetry.instrumentation.langchain", "ChatOpenAI.chat", said, call.failed)


def openllmetry_before(call: Call) -> Written:
    """Before there were operations: `llm.request.type` and `traceloop.span.kind`."""
    kinds = {"tool": "tool", "agent": "agent", "workflow": "workflow", "retriever": "task"}
    said = attributes_of(traceloop__association__properties__thread_id=call.session)
    if call.kind in kinds:
        said |= attributes_of(traceloop__span__kind=kinds[call.kind], traceloop__entity__name=call.name)
    else:
        said |= attributes_of(
            llm__request__type=call.kind.removesuffix("s"), gen_ai__system=call.provider,
            gen_ai__request__model=call.model, gen_ai__response__id=call.call_id,
        )  # fmt: skip
    if call.tokens is not None:
        said |= attributes_of(gen_ai__system=call.provider, gen_ai__request__model=call.model)
        said |= {
            "gen_ai.usage.prompt_tokens": call.tokens.input,
            "gen_ai.usage.completion_tokens": call.tokens.output,
            "llm.usage.total_tokens": call.tokens.input + call.tokens.output,
        }
        said |= positive(
            "", call.tokens, cache_read="gen_ai.usage.cache_read_input_tokens",
            cache_write="gen_ai.usage.cache_creation_input_tokens", reasoning="llm.usage.reasoning_tokens",
        )  # fmt: skip
    return Written("opentelemetry.instrumentation.somebody", "openai.chat", said, call.failed)


def openllmetry_crewai(call: Call) -> Written:
    """Agents and tasks carry what their object has spent in its whole life."""
    said = standard(call, "traceloop__association__properties__session_id")
    if call.kind == "agent":
        said |= {
            "traceloop.span.kind": "agent",
            "gen_ai.provider.name": "crewai",
            "gen_ai.request.model": call.model,
            "gen_ai.response.model": call.model,
            "gen_ai.agent.id": "e5b897aa",
            "gen_ai.usage.input_tokens": 123_456,
            "gen_ai.usage.output_tokens": 7_890,
        }
    if call.tokens is not None:
        said |= {
            "gen_ai.usage.input_tokens": call.tokens.input,
            "gen_ai.usage.output_tokens": call.tokens.output,
        }
    return Written("opentelemetry.instrumentation.crewai.instrumentation", "guide.agent", said, call.failed)


def otel_openai(call: Call) -> Written:
    """OpenTelemetry's instrumentor of the client: no reasoning, no audio."""
    written = otel(call)
    said = {
        key: value
        for key, value in written.attributes.items()
        if "reasoning" not in key and "audio" not in key
    }
    return Written("opentelemetry.instrumentation.openai_v2", written.name, said, call.failed)


def openllmetry_mcp(call: Call) -> Written:
    """A tool of an MCP server."""
    said = attributes_of(traceloop__span__kind="tool", traceloop__entity__name=call.name)
    if call.failed:
        said["error.type"] = "tool_error"
    return Written("opentelemetry.instrumentation.mcp", f"{call.name}.tool", said, call.failed)


def logfire(call: Call) -> Written:
    """A stream's usage is on a log at its end, which has no response id; details are the provider's JSON."""
    said = standard(call)
    said |= {"logfire.span_type": "log" if call.streamed else "span", "logfire.msg": "…"}
    if call.tokens is not None:
        tokens = call.tokens
        raw = {
            "prompt_tokens_details": {
                "cached_tokens": tokens.cache_read,
                "cache_write_tokens": tokens.cache_write,
                "audio_tokens": tokens.audio_in,
            },
            "completion_tokens_details": {
                "reasoning_tokens": tokens.reasoning,
                "audio_tokens": tokens.audio_out,
            },
        }
        said |= {
            "gen_ai.usage.input_tokens": tokens.input,
            "gen_ai.usage.output_tokens": tokens.output,
            "gen_ai.usage.raw": json.dumps(raw),
        }
    return Written("logfire.openai", "Chat Completion with {request_data[model]!r}", said, call.failed)
