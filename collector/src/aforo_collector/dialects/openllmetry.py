"""OpenLLMetry (Traceloop): OpenTelemetry's names by now, `traceloop.*` and `llm.*` before and beside them.

https://github.com/traceloop/openllmetry. Crew, task and agent of its CrewAI instrumentor carry totals of an
object's whole life rather than of the run, so tokens are read from calls of a model only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from aforo_sdk import conventions as c

from .values import Attributes, Plain
from .vocabulary import (
    TEXTS,
    TOKENS,
    Dialect,
    Names,
    Restated,
    is_model_call,
    stated,
    without_models,
    without_reasoning,
)

KIND: Final = "traceloop.span.kind"
_REQUEST: Final = "llm.request.type"
_ENTITY: Final = "traceloop.entity.name"
_INPUT: Final = "traceloop.entity.input"
_OUTPUT: Final = "traceloop.entity.output"
_PROPERTIES: Final = "traceloop.association.properties."

_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {"tool": c.EXECUTE_TOOL, "agent": c.INVOKE_AGENT, "workflow": c.INVOKE_WORKFLOW}
)
_REQUESTS: Final[Mapping[str, str]] = MappingProxyType(
    {"chat": c.CHAT, "completion": c.TEXT_COMPLETION, "embedding": c.EMBEDDINGS}
)
_TEXTS: Final[Names] = MappingProxyType(
    {
        **TEXTS,
        c.TOOL_NAME: (c.TOOL_NAME, _ENTITY),
        c.AGENT_NAME: (c.AGENT_NAME, _ENTITY),
        c.CONVERSATION_ID: (
            *TEXTS[c.CONVERSATION_ID],
            f"{_PROPERTIES}session_id",
            f"{_PROPERTIES}conversation_id",
            f"{_PROPERTIES}thread_id",
        ),
    }
)
_TOKENS: Final[Names] = MappingProxyType(
    {**TOKENS, c.REASONING_TOKENS: (*TOKENS[c.REASONING_TOKENS], "llm.usage.reasoning_tokens")}
)

# The instrumentor of LangChain writes a tool run's arguments and its message as JSON, unless content is off.
# Quotes in what people and models say are escaped there.
_TOOL_CALL_ID: Final = re.compile(r'"tool_call_id": "([^"\\]{1,200})"\}\}$')
_TOOL_MESSAGE_FAILED: Final = '"status": "error"}}, "kwargs": '


def _operation(attributes: Attributes, span_name: str) -> str:
    del span_name
    if operation := stated(attributes, c.OPERATION_NAME):
        return operation
    if request := stated(attributes, _REQUEST):
        return _REQUESTS.get(request, "")
    return _KINDS.get(stated(attributes, KIND), "")


def _calls_only(said: Restated, attributes: Attributes, span_name: str) -> None:
    if not is_model_call(said):
        for name in _TOKENS:
            said.pop(name, None)
    without_models(said, attributes, span_name)


def _coarse(said: Restated, attributes: Attributes, span_name: str) -> None:
    without_reasoning(said, attributes, span_name)
    if c.TOOL_NAME in said and c.TOOL_CALL_ID not in said:
        if found := _TOOL_CALL_ID.search(stated(attributes, _INPUT)):
            said[c.TOOL_CALL_ID] = Plain(found[1])
        if _TOOL_MESSAGE_FAILED in stated(attributes, _OUTPUT):
            said.setdefault(c.ERROR_TYPE, Plain(c.TOOL_ERROR))


OPENLLMETRY: Final = Dialect(
    name="openllmetry",
    scopes=(
        "traceloop*",
        *(
            f"opentelemetry.instrumentation.{library}"
            for library in (
                "agno", "alephalpha", "anthropic", "bedrock", "cohere", "google_generativeai", "groq", "haystack",
                "llamaindex", "mistralai", "ollama", "replicate", "sagemaker", "together", "transformers",
                "vertexai", "voyageai", "watsonx", "writer",
            )
        ),
    ),
    marker=KIND,
    operation=_operation,
    texts=_TEXTS,
    tokens=_TOKENS,
)  # fmt: skip
OPENLLMETRY_OLD: Final = replace(OPENLLMETRY, name="openllmetry-old", scopes=(), marker=_REQUEST)
"""Calls of a model before the instrumentations named an operation."""
OPENLLMETRY_CREWAI: Final = replace(
    OPENLLMETRY,
    name="openllmetry-crewai",
    scopes=("opentelemetry.instrumentation.crewai*",),
    marker="",
    amend=_calls_only,
)
OPENLLMETRY_COARSE: Final = replace(
    OPENLLMETRY,
    name="openllmetry-coarse",
    scopes=("opentelemetry.instrumentation.langchain", "opentelemetry.instrumentation.openai.*"),
    marker="",
    amend=_coarse,
)
"""Instrumentors that leave reasoning out: that of LangChain always, that of OpenAI when it streams."""
