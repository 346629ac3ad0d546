"""Chat models that answer from a script, at once and offline, with all that LangChain's own fakes drop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult
from pydantic import Field, PrivateAttr


def usage(input_tokens: int, output_tokens: int, **details: dict[str, int]) -> dict[str, Any]:
    """Return `usage_metadata` with consistent totals; `details` are its two detail objects."""
    total = input_tokens + output_tokens
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total, **details}


def says(text: str = "done", tokens: tuple[int, int] | None = (10, 5), **fields: Any) -> AIMessage:
    """Return an answer; `tokens` are (input, output), None for an answer without usage."""
    if tokens is not None:
        fields.setdefault("usage_metadata", usage(*tokens))
    fields.setdefault("response_metadata", {"model_name": "stub-1-2026", "id": f"resp-{text}"})
    return AIMessage(content=text, **fields)


def asks(*calls: tuple[str, dict[str, Any]], tokens: tuple[int, int] = (20, 7)) -> AIMessage:
    """Return an answer that asks for tools, each (name, arguments), under the ids `call-0`, `call-1`."""
    wanted = [
        {"name": name, "args": arguments, "id": f"call-{index}", "type": "tool_call"}
        for index, (name, arguments) in enumerate(calls)
    ]
    return says("", tokens, tool_calls=wanted)


class ScriptedChat(BaseChatModel):
    """A chat model that gives `replies` in turn, the last one for ever; an exception in the list is raised.

    Streams word by word, its usage on a chunk of its own unless `streams_usage` is False. A call waits for
    `delay_s`.
    """

    replies: Sequence[Any] = Field(default_factory=lambda: [says()])
    model_name: str = "stub-1"
    streams_usage: bool = True
    delay_s: float = 0.0
    llm_output: dict[str, Any] | None = None
    _turn: int = PrivateAttr(default=0)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": self.model_name, "ls_model_type": "chat"}

    def _next(self) -> AIMessage:
        with self._lock:
            reply = self.replies[min(self._turn, len(self.replies) - 1)]
            self._turn += 1
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def _result(self) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next())], llm_output=self.llm_output)

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return self._result()

    async def _agenerate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        await asyncio.sleep(self.delay_s)
        return self._result()

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._next()
        for word in str(reply.content).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        usage_metadata = reply.usage_metadata if self.streams_usage else None
        calls = [
            {"name": call["name"], "args": "{}", "id": call["id"], "index": index}
            for index, call in enumerate(reply.tool_calls)
        ]
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=usage_metadata,
                response_metadata=reply.response_metadata,
                tool_call_chunks=calls,  # type: ignore[arg-type]
            )
        )
        yield ChatGenerationChunk(message=AIMessageChunk(content="", chunk_position="last"))

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        await asyncio.sleep(self.delay_s)
        for chunk in self._stream(messages):
            yield chunk

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """Return the model itself: its script knows which tools it asks for."""
        return self


class ScriptedText(BaseLLM):
    """A text completion model that answers every prompt with the same words."""

    tokens: tuple[int, int] = (4, 2)

    @property
    def _llm_type(self) -> str:
        return "scripted-text"

    def _generate(
        self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> LLMResult:
        prompt, completion = self.tokens
        return LLMResult(
            generations=[[Generation(text="done")] for _ in prompts],
            llm_output={"token_usage": {"prompt_tokens": prompt, "completion_tokens": completion}},
        )
