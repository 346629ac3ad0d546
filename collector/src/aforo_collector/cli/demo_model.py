"""A chat model that answers from a script: a LangChain model in every respect but the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

MODEL = "gpt-4o"
FOUND = "GAATTC: EcoRI"
ANSWER = "EcoRI cuts at GAATTC. It is in your notes; the archive refused it."


def _asks(*calls: tuple[str, dict[str, str]]) -> list[ToolCall]:
    return [ToolCall(name=name, args=args, id=f"call_{at}") for at, (name, args) in enumerate(calls)]


FIRST_CALLS = _asks(("lookup", {"query": "GAATTC"}), ("db_write", {"table": "notes", "text": FOUND}))
LATER_CALLS = _asks(("db_write", {"table": "archive", "text": FOUND}))


class ScriptedModel(BaseChatModel):
    """Asks for two tools, then for one that fails; streams its answer. How far it is, the messages say."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="openai", ls_model_name=MODEL, ls_model_type="chat")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        first = len(messages) == 1
        reply = AIMessage(
            content="",
            tool_calls=FIRST_CALLS if first else LATER_CALLS,
            usage_metadata=_usage(14_806, 162) if first else _usage(16_551, 81, cached=14_720),
            response_metadata=_response(messages),
        )
        return ChatResult(generations=[ChatGeneration(message=reply)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for word in ANSWER.split(" "):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word + " "))
            if run_manager is not None:
                run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk
        last = AIMessageChunk(
            content="",
            usage_metadata=_usage(17_316, 244, cached=16_512),
            response_metadata=_response(messages),
        )
        yield ChatGenerationChunk(message=last)


def _usage(input_tokens: int, output_tokens: int, cached: int = 0) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
        input_token_details=InputTokenDetails(cache_read=cached),
    )


def _response(messages: list[BaseMessage]) -> dict[str, str]:
    return {"model_name": f"{MODEL}-2024-08-06", "id": f"chatcmpl-demo-{len(messages)}"}
