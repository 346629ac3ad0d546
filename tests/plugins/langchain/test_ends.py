"""Every way in which a run can end, or fail to."""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aforo_langchain import AforoCallbackHandler
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import ToolException, tool

from tests.plugins.langchain.models import ScriptedChat, says
from tests.plugins.spool import ReadSpans


def handler() -> dict[str, Any]:
    """Return a config with one explicit handler."""
    return {"callbacks": [AforoCallbackHandler()]}


def test_stream_with_usage(spans: ReadSpans) -> None:
    """A stream that is read to its end is one call with the usage of its last chunk."""
    model = ScriptedChat(replies=[says("one two three")])
    assert len(list(model.stream("a", handler()))) > 3
    span = spans().one("chat stub-1")
    assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (10, 5)
    assert (span["aforo.usage.quality"], span["gen_ai.response.id"]) == ("reported", "resp-one two three")


def test_stream_without_usage(spans: ReadSpans) -> None:
    """A stream whose gateway sends no usage is a success whose tokens are missing, not zero."""
    list(ScriptedChat(streams_usage=False).stream("a", handler()))
    span = spans().one("chat stub-1")
    assert (span.failed, span["aforo.usage.quality"]) == (False, "missing")
    assert span["gen_ai.usage.input_tokens"] is None


def test_abandoned_stream(spans: ReadSpans) -> None:
    """A stream left before its usage came is a broken call whose tokens are missing."""
    stream = ScriptedChat(replies=[says("one two three")]).stream("a", handler())
    next(stream)
    del stream
    gc.collect()
    span = spans().one("chat stub-1")
    assert (span["error.type"], span.failed, span["aforo.usage.quality"]) == (
        "GeneratorExit",
        True,
        "missing",
    )


def test_stream_abandoned_after_its_usage(spans: ReadSpans) -> None:
    """A stream left after its usage came keeps it, marked as partial."""
    stream = ScriptedChat(replies=[says("one two")]).stream("a", handler())
    for chunk in stream:
        if chunk.usage_metadata:  # type: ignore[attr-defined]
            break
    del stream, chunk
    gc.collect()
    span = spans().one("chat stub-1")
    assert (span["aforo.usage.quality"], span["gen_ai.usage.output_tokens"]) == ("partial", 5)


def test_stream_abandoned_inside_a_chain(spans: ReadSpans) -> None:
    """If the chain around an abandoned stream ends first, the tokens still count once, on a leaf below."""
    stream = (RunnableLambda(lambda x: x) | ScriptedChat(replies=[says("one two")])).stream("a", handler())
    for chunk in stream:
        if getattr(chunk, "usage_metadata", None):
            break
    stream.close()  # type: ignore[attr-defined]
    del stream, chunk
    gc.collect()
    seen = spans()
    counted = [span for span in seen if span["gen_ai.usage.output_tokens"] is not None]
    assert [span["gen_ai.usage.output_tokens"] for span in counted] == [5]
    assert seen.under(counted[0]) == []
    assert seen.path(counted[0])[0] == "invoke_workflow RunnableSequence"


def test_broken_stream(spans: ReadSpans) -> None:
    """A stream that breaks after its first words is a failed call whose tokens are missing."""

    class Breaking(ScriptedChat):
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            yield from list(super()._stream(*args, **kwargs))[:1]
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        list(Breaking(replies=[says("one two")]).stream("a", handler()))
    span = spans().one("chat stub-1")
    assert (span["error.type"], span["aforo.usage.quality"]) == ("ConnectionError", "missing")


def test_refused_call(spans: ReadSpans) -> None:
    """A call that the provider refuses has its error type and no usage quality: nothing was consumed."""
    with pytest.raises(ValueError, match="nope"):
        ScriptedChat(replies=[ValueError("nope")]).invoke("a", handler())
    span = spans().one("chat stub-1")
    assert (span["error.type"], span.message, span["aforo.usage.quality"]) == (
        "ValueError",
        "ValueError",
        None,
    )


def test_error_text_only_where_content_may_be_kept(spans: ReadSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of an exception becomes the status message only if content capture is on."""
    monkeypatch.setattr("aforo_sdk.plugin.capture_content", lambda: True)
    with pytest.raises(ValueError, match="nope"):
        ScriptedChat(replies=[ValueError("nope")]).invoke("a", handler())
    assert spans().one("chat stub-1").message == "nope"


@pytest.mark.parametrize("end", ["cancel", "timeout"])
def test_call_that_is_cancelled_inside_a_chain(spans: ReadSpans, end: str) -> None:
    """A model call that never says it was cancelled is closed with its chain, its tokens missing."""
    chain = RunnableLambda(lambda x: x) | ScriptedChat(delay_s=60)

    async def main() -> None:
        task = asyncio.ensure_future(chain.ainvoke("a", handler()))
        if end == "timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(task, 0.1)
        else:
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.sleep(0)

    asyncio.run(main())
    seen = spans()
    call, chain_span = seen.one("chat stub-1"), seen.one("invoke_workflow RunnableSequence")
    assert call["error.type"] == chain_span["error.type"] == "CancelledError"
    assert (call["aforo.usage.quality"], call["aforo.step.type"]) == ("missing", "MODEL_CALL")
    assert call.parent == chain_span.id


def test_call_that_times_out_in_a_chain_that_goes_on(spans: ReadSpans) -> None:
    """A call given up by a chain that then succeeds is closed when the chain ends."""
    slow, quick = ScriptedChat(delay_s=60, model_name="slow"), ScriptedChat()

    async def hedged(word: str) -> Any:
        try:
            return await asyncio.wait_for(slow.ainvoke(word), 0.05)
        except TimeoutError:
            return await quick.ainvoke(word)

    asyncio.run(RunnableLambda(hedged).ainvoke("a", handler()))
    seen = spans()
    assert seen.one("chat slow")["error.type"] == "_OTHER"
    assert seen.one("chat slow")["aforo.usage.quality"] == "missing"
    assert not seen.one("chat stub-1").failed
    assert not seen.one("invoke_workflow hedged").failed


def test_call_that_outlives_its_chain(spans: ReadSpans) -> None:
    """The tokens of a call that ends after its chain are kept, on a leaf below the span already written."""
    model = ScriptedChat(delay_s=0.1)

    async def main() -> None:
        background: list[asyncio.Task[Any]] = []

        async def fire_and_forget(word: str) -> str:
            background.append(asyncio.create_task(model.ainvoke(word)))
            await asyncio.sleep(0.02)
            return word

        await RunnableLambda(fire_and_forget).ainvoke("a", handler())
        await background[0]

    asyncio.run(main())
    seen = spans()
    early, late = seen.named("chat stub-1")
    assert (early["error.type"], early["gen_ai.usage.input_tokens"]) == ("_OTHER", None)
    assert (late["aforo.usage.quality"], late["gen_ai.usage.input_tokens"]) == ("reported", 10)
    assert (late.parent, late.trace) == (early.id, early.trace)


def test_one_prompt_of_several_fails(spans: ReadSpans) -> None:
    """When `generate` fails at one prompt, those before it have missing tokens and those after it none."""
    model = ScriptedChat(replies=[says(), ValueError("second")])
    with pytest.raises(ValueError, match="second"):
        model.generate([[HumanMessage(word)] for word in "abc"], callbacks=[AforoCallbackHandler()])
    answered, failed, never_asked = sorted(spans().named("chat stub-1"), key=lambda span: span.start_ns)
    assert (answered["error.type"], answered["aforo.usage.quality"]) == ("_OTHER", "missing")
    assert (failed["error.type"], failed["aforo.usage.quality"]) == ("ValueError", None)
    assert (never_asked["error.type"], never_asked["aforo.usage.quality"]) == ("_OTHER", None)


def test_one_prompt_of_several_fails_async(spans: ReadSpans) -> None:
    """When `agenerate` fails at one prompt, the others keep their usage."""
    model = ScriptedChat(replies=[says(), ValueError("second"), says()])
    prompts = [[HumanMessage(word)] for word in "abc"]
    with pytest.raises(ValueError, match="second"):
        asyncio.run(model.agenerate(prompts, callbacks=[AforoCallbackHandler()]))
    qualities = [span["aforo.usage.quality"] for span in spans().named("chat stub-1")]
    assert sorted(map(str, qualities)) == ["None", "reported", "reported"]


def test_batch_in_threads(spans: ReadSpans) -> None:
    """A batch is one tree per input, with every call in its own."""
    chain = RunnableLambda(lambda x: x) | ScriptedChat()
    chain.batch(["a", "b", "c"], handler())
    seen = spans()
    assert len(seen.named("chat stub-1")) == 3
    assert {seen.path(call)[0] for call in seen.named("chat stub-1")} == {"invoke_workflow RunnableSequence"}
    assert len({call.trace for call in seen.named("chat stub-1")}) == 3


def test_parallel_branches_share_the_tree(spans: ReadSpans) -> None:
    """Branches that run in threads hang under their parent and have step numbers of their own."""
    fan = RunnableParallel({str(number): ScriptedChat(model_name=f"m{number}") for number in range(4)})
    fan.invoke("a", handler())
    seen = spans()
    calls = [span for span in seen if span["gen_ai.operation.name"] == "chat"]
    assert sorted(call["aforo.step.index"] for call in calls) == [0, 1, 2, 3]
    assert len({span.trace for span in seen}) == 1


def test_with_retry(spans: ReadSpans) -> None:
    """Each attempt of a retried call is a call of its own under the retry."""
    model = ScriptedChat(replies=[ConnectionError("again"), says()])
    model.with_retry(wait_exponential_jitter=False, stop_after_attempt=2).invoke("a", handler())
    seen = spans()
    failed, answered = seen.named("chat stub-1")
    assert (failed["error.type"], answered["aforo.usage.quality"]) == ("ConnectionError", "reported")
    assert failed.parent == answered.parent != ""


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "batch"])
def test_with_fallbacks(spans: ReadSpans, way: str) -> None:
    """Both the failed and the successful model hang under the fallback's chain, also where LangChain forgets
    it.
    """
    failing = ScriptedChat(replies=[ConnectionError("down")], model_name="first")
    model = failing.with_fallbacks([ScriptedChat(model_name="second")])
    if way == "ainvoke":
        asyncio.run(model.ainvoke("a", handler()))
    elif way == "stream":
        list(model.stream("a", handler()))
    elif way == "batch":
        model.batch(["a"], handler())
    else:
        model.invoke("a", handler())
    seen = spans()
    root = seen.one("invoke_workflow RunnableWithFallbacks")
    assert [seen.one("chat first").parent, seen.one("chat second").parent] == [root.id, root.id]
    assert len({span.trace for span in seen}) == 1


def test_tools_that_fail(spans: ReadSpans) -> None:
    """A tool that raises, or whose result is an error message, is a failed call."""

    @tool
    def raises(word: str) -> str:
        """Raise."""
        raise KeyError(word)

    @tool
    def apologises(word: str) -> str:
        """Answer with an error message."""
        raise ToolException(word)

    apologises.handle_tool_error = True
    with pytest.raises(KeyError):
        raises.invoke({"word": "x"}, handler())
    call = {"name": "apologises", "args": {"word": "x"}, "id": "call-1", "type": "tool_call"}
    assert isinstance(apologises.invoke(call, handler()), ToolMessage)
    raised, said = spans().one("execute_tool raises"), spans().one("execute_tool apologises")
    assert (raised["error.type"], raised.failed) == ("KeyError", True)
    assert (said["error.type"], said.failed, said["gen_ai.tool.call.id"]) == ("tool_error", True, "call-1")


def test_cancelled_tool(spans: ReadSpans) -> None:
    """A tool that is cancelled never says so, and is closed with the chain that called it."""

    @tool
    async def slow(word: str) -> str:
        """Take long."""
        await asyncio.sleep(60)
        return word

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(RunnableLambda(slow.ainvoke).ainvoke({"word": "x"}, handler()), 0.1)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert spans().one("execute_tool slow")["error.type"] == "CancelledError"


def test_runs_in_many_threads(spans: ReadSpans) -> None:
    """A single handler keeps the runs of many threads apart."""
    shared = AforoCallbackHandler()
    chain = RunnableLambda(lambda x: x) | ScriptedChat()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda word: chain.invoke(word, {"callbacks": [shared]}), [str(n) for n in range(40)]))
    seen = spans()
    assert len(seen) == 120
    assert len({span.trace for span in seen}) == 40
    assert all(span["aforo.step.index"] == 0 for span in seen.named("chat stub-1"))
