"""Model clients and tools for the tests: real ones on a local server, and some that answer from a script."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, ModelInfo, RequestUsage
from autogen_ext.models.openai import OpenAIChatCompletionClient

from tests.fake_openai import FakeOpenAI

INFO = ModelInfo(
    vision=False,
    function_calling=True,
    json_output=True,
    family="unknown",
    structured_output=True,
    multiple_system_messages=True,
)


@asynccontextmanager
async def openai_client(server: FakeOpenAI, **options: Any) -> AsyncIterator[OpenAIChatCompletionClient]:
    """AutoGen's own client of a local server, closed at the end."""
    options = {"model": "stub-1", "max_retries": 0, **options}
    client = OpenAIChatCompletionClient(base_url=server.url, api_key="none", model_info=INFO, **options)
    try:
        yield client
    finally:
        await client.close()


def says(text: str = "done", tokens: tuple[int, int] = (10, 5), *, cached: bool = False) -> CreateResult:
    """An answer in words; `tokens` are (prompt, completion)."""
    return CreateResult(finish_reason="stop", content=text, usage=RequestUsage(*tokens), cached=cached)


def asks(*calls: tuple[str, str], tokens: tuple[int, int] = (20, 7)) -> CreateResult:
    """An answer that asks for tools, each (name, arguments as JSON), under the ids `call-0`, `call-1`."""
    content = [
        FunctionCall(id=f"call-{place}", name=name, arguments=arguments)
        for place, (name, arguments) in enumerate(calls)
    ]
    return CreateResult(
        finish_reason="function_calls", content=content, usage=RequestUsage(*tokens), cached=False
    )


class Bare(ChatCompletionClient):
    """Everything a client must have besides `create` and `create_stream`."""

    async def close(self) -> None:
        """Nothing to close."""

    def actual_usage(self) -> RequestUsage:
        """Not kept."""
        return RequestUsage(0, 0)

    total_usage = actual_usage

    def count_tokens(self, messages: Any, *, tools: Any = ()) -> int:
        """Not counted."""
        return 0

    def remaining_tokens(self, messages: Any, *, tools: Any = ()) -> int:
        """As many as there ever were."""
        return 1000

    @property
    def capabilities(self) -> Any:
        """What it can do."""
        return INFO

    @property
    def model_info(self) -> ModelInfo:
        """What it can do."""
        return INFO


class Scripted(Bare):
    """A client that gives `replies` in turn, the last one for ever; an exception among them is raised."""

    def __init__(self, *replies: CreateResult | BaseException) -> None:
        self.replies = replies or (says(),)
        self.turn = 0

    def _next(self) -> CreateResult:
        reply = self.replies[min(self.turn, len(self.replies) - 1)]
        self.turn += 1
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def create(self, messages: Sequence[Any], **options: Any) -> CreateResult:
        """Answer."""
        return self._next()

    async def create_stream(
        self, messages: Sequence[Any], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        """Answer word by word."""
        reply = self._next()
        for word in str(reply.content).split(" "):
            yield word
        yield reply


async def drained(stream: Any) -> list[Any]:
    """All that a stream gives."""
    return [item async for item in stream]


def tokens_of(span: Any) -> Mapping[str, int]:
    """The token counts of a span by the last words of their names, zeros left out."""
    return {
        key.removeprefix("gen_ai.usage."): value
        for key, value in span.attributes.items()
        if key.startswith("gen_ai.usage.") and value
    }
