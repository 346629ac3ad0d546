"""OpenInference (Arize Phoenix): `openinference.span.kind` and `llm.*`.

https://github.com/Arize-ai/openinference/tree/main/spec. It names no response id and no tool call id; its
instrumentations put the answer into `output.value`, where both can be found unless outputs are hidden.
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from aforo_sdk import conventions as c

from .values import Attributes, Plain
from .vocabulary import TEXTS, Dialect, Names, Restated, stated, without_models, without_reasoning

KIND: Final = "openinference.span.kind"
ANSWER_LENGTH_MAX: Final = 256 * 1024
"""Answers beyond this many characters are not searched for ids."""

_OPERATIONS: Final = {
    "LLM": c.CHAT,
    "DECISION": c.CHAT,
    "EMBEDDING": c.EMBEDDINGS,
    "TOOL": c.EXECUTE_TOOL,
    "AGENT": c.INVOKE_AGENT,
}
_PROMPT: Final = "llm.token_count.prompt"
_TOOL: Final = "tool.name"
_OUTPUT: Final = "output.value"

_TEXTS: Final[Names] = MappingProxyType(
    {
        c.PROVIDER_NAME: ("llm.provider", "llm.system", "decision.provider", "decision.system"),
        c.RESPONSE_MODEL: (
            "llm.response.model_name", "llm.model_name", "embedding.model_name", "decision.response.model_name",
            "decision.model_name",
        ),
        c.REQUEST_MODEL: ("llm.request.model_name", "decision.request.model_name"),
        c.RESPONSE_ID: TEXTS[c.RESPONSE_ID],
        c.TOOL_NAME: (_TOOL,),
        c.TOOL_CALL_ID: ("tool_call.id", "tool.id", c.TOOL_CALL_ID),
        c.AGENT_NAME: ("agent.name", "graph.node.id"),
        c.CONVERSATION_ID: ("session.id", *TEXTS[c.CONVERSATION_ID]),
        c.ERROR_TYPE: TEXTS[c.ERROR_TYPE],
    }
)  # fmt: skip
_TOKENS: Final[Names] = MappingProxyType(
    {
        c.INPUT_TOKENS: (_PROMPT, "decision.token_count.input"),
        c.OUTPUT_TOKENS: ("llm.token_count.completion", "decision.token_count.output"),
        c.CACHE_READ_TOKENS: (
            "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input",
        ),
        c.CACHE_WRITE_TOKENS: ("llm.token_count.prompt_details.cache_write",),
        c.REASONING_TOKENS: ("llm.token_count.completion_details.reasoning",),
        c.AUDIO_INPUT_TOKENS: ("llm.token_count.prompt_details.audio",),
        c.AUDIO_OUTPUT_TOKENS: ("llm.token_count.completion_details.audio",),
    }
)  # fmt: skip

# A quote inside a JSON text is escaped, so nothing that a model or a tool says in words can match. The ids
# of Anthropic's messages are also those of parts of OpenAI's responses, so they are looked for last.
_RESPONSE_IDS: Final = (
    re.compile(r'"id": ?"((?:chatcmpl-|resp_|gen-)[\w-]{1,200})"'),
    re.compile(r'"id": ?"(msg_[\w-]{1,200})"'),
)
_TOOL_CALL_ID: Final = re.compile(r'"tool_call_id": ?"([^"\\]{1,200})"')
_TOOL_MESSAGE: Final = '{"type": "tool", "data": '
_TOOL_MESSAGE_FAILED: Final = '"status": "error"}}'


def _operation(attributes: Attributes, span_name: str) -> str:
    del span_name
    kind = stated(attributes, KIND).upper()
    if kind == "AGENT" and _TOOL in attributes:
        return c.EXECUTE_TOOL  # the instrumentor of LangChain calls everything with "agent" in its name so
    if kind == "CHAIN" and _PROMPT in attributes:
        return c.INVOKE_WORKFLOW  # a chain that claims totals
    return _OPERATIONS.get(kind, "")


def _ids_from_answer(said: Restated, attributes: Attributes, span_name: str) -> None:
    """Find the response id, the tool call id and the tool's failure in the answer itself."""
    del span_name
    answer = stated(attributes, _OUTPUT)
    if not answer.startswith("{") or len(answer) > ANSWER_LENGTH_MAX or c.OPERATION_NAME not in said:
        return
    operation = said[c.OPERATION_NAME].s
    if operation == c.CHAT and c.RESPONSE_ID not in said:
        for pattern in _RESPONSE_IDS:
            if found := pattern.search(answer):
                said[c.RESPONSE_ID] = Plain(found[1])
                return
    elif operation == c.EXECUTE_TOOL and answer.startswith(_TOOL_MESSAGE):  # LangChain's ToolMessage
        found = _TOOL_CALL_ID.search(answer)
        if found and c.TOOL_CALL_ID not in said:
            said[c.TOOL_CALL_ID] = Plain(found[1])
        if answer.endswith(_TOOL_MESSAGE_FAILED):
            said.setdefault(c.ERROR_TYPE, Plain(c.TOOL_ERROR))


OPENINFERENCE: Final = Dialect(
    name="openinference",
    scopes=("openinference.instrumentation.*", "@arizeai/openinference*"),
    marker=KIND,
    operation=_operation,
    texts=_TEXTS,
    tokens=_TOKENS,
    amend=_ids_from_answer,
)
OPENINFERENCE_CREWAI: Final = replace(
    OPENINFERENCE,
    name="openinference-crewai",
    scopes=("openinference.instrumentation.crewai",),
    marker="",
    amend=without_models,
)
"""The instrumentor of CrewAI leaves calls of models to those of the providers' clients."""
OPENINFERENCE_AUTOGEN: Final = replace(
    OPENINFERENCE,
    name="openinference-autogen",
    scopes=("openinference.instrumentation.autogen_agentchat",),
    marker="",
    amend=without_reasoning,
)
"""The instrumentor of AutoGen knows neither cached nor reasoning tokens: AutoGen's own usage has none."""
