"""The scenario as a LangChain program: `create_agent`, a sub-agent inside a tool, a streamed second call."""

from collections.abc import Callable
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call, wrap_tool_call
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from opentelemetry.sdk.trace import TracerProvider

from tests.matrix import story
from tests.matrix.program import main


def play(url: str, native: TracerProvider | None = None) -> str:
    """Ask the guide and return its answer."""
    model, streaming = (
        ChatOpenAI(
            model=story.MODEL,
            base_url=url,
            api_key="none",
            max_retries=0,
            streaming=streams,
            stream_usage=True,
        )
        for streams in (False, True)
    )
    archivist = create_agent(model, name=story.ARCHIVIST, system_prompt=story.ARCHIVIST_DUTY)

    @tool(story.RESEARCH, description=story.RESEARCH_USE)
    def research(topic: str) -> str:
        return str(archivist.invoke({"messages": [("user", topic)]})["messages"][-1].content)

    @tool(story.CONVERT, description=story.CONVERT_USE)
    def convert(amount: str) -> str:
        raise ValueError(story.CONVERT_FAILURE)

    @wrap_model_call
    def stream_the_answer(
        request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        last = request.messages[-1]
        return handler(request.override(model=streaming) if isinstance(last, ToolMessage) else request)

    @wrap_tool_call
    def tell_the_model(request: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(request)
        except ValueError as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")

    guide = create_agent(
        model,
        [research, convert],
        name=story.GUIDE,
        system_prompt=story.GUIDE_DUTY,
        middleware=[stream_the_answer, tell_the_model],
    )
    return str(guide.invoke({"messages": [("user", story.QUESTION)]})["messages"][-1].content)


if __name__ == "__main__":
    main("langchain", play)
