"""What each kind of run becomes: name, kind, attributes, place in the tree."""

import asyncio

from aforo_langchain import AforoCallbackHandler
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool

from tests.plugins.langchain.models import ScriptedChat, ScriptedText, says, usage
from tests.plugins.spool import ReadSpans

INTERNAL, CLIENT = 1, 3


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return word.upper()


class Shelf(BaseRetriever):
    """A retriever that always finds one document."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(page_content=query)]


def test_chat_call(spans: ReadSpans) -> None:
    """A chat model call is a CLIENT span with the OTel GenAI names, exact tokens, raw usage and quality."""
    details = {
        "input_token_details": {"cache_read": 512, "cache_creation": 100, "audio": 3},
        "output_token_details": {"reasoning": 32, "audio": 4},
    }
    answer = says(usage_metadata=usage(812, 96, **details))
    model = ScriptedChat(replies=[answer], llm_output={"token_usage": {"prompt_tokens": 812, "odd": None}})
    model.invoke("hello", {"callbacks": [AforoCallbackHandler()]})
    span = spans().one("chat stub-1")
    assert (span.kind, span.parent, span.failed) == (CLIENT, "", False)
    assert 0 < span.start_ns <= span.end_ns
    assert span.attributes == {
        "aforo.customer.id": "acme",
        "aforo.product.type": "AGENTIC_API",
        "aforo.step.index": 0,
        "aforo.step.type": "MODEL_CALL",
        "aforo.usage.quality": "reported",
        "aforo.usage.raw": '{"prompt_tokens":812,"odd":null}',
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "stub-1",
        "gen_ai.response.id": "resp-done",
        "gen_ai.response.model": "stub-1-2026",
        "gen_ai.usage.input_tokens": 812,
        "gen_ai.usage.output_tokens": 96,
        "gen_ai.usage.cache_read.input_tokens": 512,
        "gen_ai.usage.cache_write.input_tokens": 100,
        "gen_ai.usage.reasoning.output_tokens": 32,
        "gen_ai.usage.audio.input_tokens": 3,
        "gen_ai.usage.audio.output_tokens": 4,
    }


def test_no_word_of_a_message_is_kept(spans: ReadSpans) -> None:
    """Neither prompts nor answers nor the text of an exception appear in the spool."""
    model = ScriptedChat(replies=[says("secret-answer"), ValueError("secret-error")])
    chain = ChatPromptTemplate.from_template("secret-prompt {x}") | model
    handler = AforoCallbackHandler()
    chain.invoke({"x": "secret-input"}, {"callbacks": [handler]})
    try:
        chain.invoke({"x": "secret-input"}, {"callbacks": [handler]})
    except ValueError:
        pass
    written = [span for span in spans() if "secret" in repr(span).replace("resp-secret-answer", "")]
    assert written == []


def test_text_completion(spans: ReadSpans) -> None:
    """A text completion is metered from the provider's own usage, once for all its prompts."""
    ScriptedText().generate(["one", "two"], callbacks=[AforoCallbackHandler()])
    first, second = spans().named("text_completion")
    assert first["gen_ai.operation.name"] == "text_completion"
    assert (first["gen_ai.usage.input_tokens"], first["gen_ai.usage.output_tokens"]) == (4, 2)
    assert (second["gen_ai.usage.input_tokens"], second["aforo.usage.quality"]) == (None, "missing")


def test_tool_call(spans: ReadSpans) -> None:
    """A tool call is an INTERNAL execute_tool span with the tool's name and the id the model asked under."""
    call = {"name": "lookup", "args": {"word": "a"}, "id": "call-7", "type": "tool_call"}
    lookup.invoke(call, {"callbacks": [AforoCallbackHandler()]})
    span = spans().one("execute_tool lookup")
    assert (span.kind, span.failed) == (INTERNAL, False)
    assert span.attributes == {
        "aforo.customer.id": "acme",
        "aforo.product.type": "AGENTIC_API",
        "aforo.step.index": 0,
        "aforo.step.type": "TOOL_CALL",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call-7",
    }


def test_retrieval(spans: ReadSpans) -> None:
    """A retriever's search is a retrieval span, and no step."""
    Shelf().invoke("cats", {"callbacks": [AforoCallbackHandler()]})
    span = spans().one("retrieval Shelf")
    assert (span["gen_ai.operation.name"], span["aforo.step.index"]) == ("retrieval", None)


def test_tree(spans: ReadSpans) -> None:
    """A root chain is a workflow, chains inside are structure, and each span hangs under its run's parent."""
    model = ScriptedChat()

    def work(word: str, config: RunnableConfig) -> str:
        model.invoke([HumanMessage(word)], config)
        return str(lookup.invoke({"word": word}, config))

    flow = RunnableLambda(work, name="inner") | RunnableLambda(len, name="size")
    assert flow.with_config(run_name="outer").invoke("abc", {"callbacks": [AforoCallbackHandler()]}) == 3
    seen = spans()
    root = seen.one("invoke_workflow outer")
    assert (root["gen_ai.operation.name"], root["gen_ai.workflow.name"]) == ("invoke_workflow", "outer")
    assert seen.path(seen.one("chat stub-1")) == ["invoke_workflow outer", "chain inner", "chat stub-1"]
    assert seen.path(seen.one("execute_tool lookup")) == [root.name, "chain inner", "execute_tool lookup"]
    assert seen.path(seen.one("chain size")) == [root.name, "chain size"]
    assert "gen_ai.operation.name" not in seen.one("chain inner").attributes
    assert len({span.trace for span in seen}) == 1
    assert [span["aforo.step.index"] for span in sorted(seen, key=lambda span: span.start_ns)] == [
        None,
        None,
        0,
        1,
        None,
    ]


def test_running_event_loop(spans: ReadSpans) -> None:
    """Inside a running loop, as in a notebook cell, awaited and blocking calls give the same tree."""
    model = ScriptedChat()
    chain = RunnableLambda(lambda word: word, name="echo") | model

    async def cell() -> None:
        await chain.ainvoke("a", {"callbacks": [AforoCallbackHandler()]})
        chain.invoke("b", {"callbacks": [AforoCallbackHandler()]})
        async for _ in chain.astream("c", {"callbacks": [AforoCallbackHandler()]}):
            pass

    asyncio.run(cell())
    seen = spans()
    assert len({span.trace for span in seen}) == 3
    assert [seen.path(span) for span in seen.named("chat stub-1")] == [
        ["invoke_workflow RunnableSequence", "chat stub-1"]
    ] * 3


def test_two_handlers_meter_a_run_once(spans: ReadSpans) -> None:
    """A run that two handlers see is one span, under the identity of the first."""
    handlers = [AforoCallbackHandler("first"), AforoCallbackHandler("second")]
    (RunnableLambda(str) | ScriptedChat()).invoke("a", {"callbacks": [*handlers, handlers[0]]})
    seen = spans()
    assert len(seen) == len({span.id for span in seen}) == 3
    assert {span["aforo.customer.id"] for span in seen} == {"first"}
