"""Every model call once, with all that its provider said about it."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from autogen_core import EVENT_LOGGER_NAME, CancellationToken
from autogen_core.models import CreateResult, RequestUsage, UserMessage
from autogen_ext.models.cache import ChatCompletionCache
from autogen_ext.models.replay import ReplayChatCompletionClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.fake_openai import Reply, Usage, fake_openai
from tests.plugins.autogen.clients import INFO, Bare, Scripted, drained, openai_client, says, tokens_of
from tests.plugins.spool import ReadSpans

ASK = [UserMessage(content="hello", source="user")]
FULL = Usage(100, 20, cached_tokens=30, reasoning_tokens=5)
COUNTED = {
    "input_tokens": 100,
    "output_tokens": 20,
    "cache_read.input_tokens": 30,
    "reasoning.output_tokens": 5,
}


class Verdict(BaseModel):
    """A structured answer."""

    good: bool


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # AutoGen dumps parsed answers
@pytest.mark.parametrize("way", ["create", "structured", "stream", "structured stream"])
def test_all_the_provider_said(spans: ReadSpans, way: str) -> None:
    """Cached and reasoning tokens and the response id are there, however the client calls."""

    async def main(server: Any) -> None:
        options = {"json_output": Verdict} if way.startswith("structured") else {}
        async with openai_client(server) as client:
            if way.endswith("stream"):
                await drained(client.create_stream(ASK, **options))
            else:
                await client.create(ASK, **options)

    with fake_openai([Reply('{"good":true}', usage=FULL)]) as server:
        asyncio.run(main(server))
        (served,) = server.served
    span = spans().one("chat stub-1")
    assert tokens_of(span) == COUNTED
    assert (span["gen_ai.response.id"], span["gen_ai.provider.name"]) == (served.response_id, "openai")
    assert (span["aforo.usage.quality"], span["aforo.step.type"]) == ("reported", "MODEL_CALL")
    assert span["aforo.usage.raw"]
    assert served.usage_sent


@pytest.mark.parametrize(
    "options", [{"include_usage": True}, {"extra_create_args": {"stream_options": {"include_usage": False}}}]
)
def test_the_caller_decides_about_usage(spans: ReadSpans, options: dict[str, Any]) -> None:
    """A caller who says whether a stream carries usage gets what he said; without usage it is missing."""

    async def main(server: Any) -> None:
        async with openai_client(server) as client:
            await drained(client.create_stream(ASK, **options))

    with fake_openai() as server:
        asyncio.run(main(server))
        (served,) = server.served
    wanted = "include_usage" in options
    span = spans().one("chat stub-1")
    assert served.usage_sent == wanted
    assert span["aforo.usage.quality"] == ("reported" if wanted else "missing")
    assert bool(tokens_of(span)) == wanted


def test_options_of_the_client_decide_too(spans: ReadSpans) -> None:
    """Stream options that a client was made with are left as they are."""

    async def main(server: Any) -> None:
        async with openai_client(server, stream_options={"include_usage": False}) as client:
            await drained(client.create_stream(ASK))

    with fake_openai() as server:
        asyncio.run(main(server))
        assert not server.served[0].usage_sent
    assert spans().one("chat stub-1")["aforo.usage.quality"] == "missing"


def test_a_gateway_that_refuses_to_be_asked(spans: ReadSpans) -> None:
    """Where asking for usage breaks the call, it is made again as the program meant it, and not asked again."""

    def script(request: dict[str, Any]) -> Reply:
        refused = "stream_options" in request
        return Reply("unknown field: stream_options", status=400) if refused else Reply("one two")

    async def main(server: Any) -> list[Any]:
        async with openai_client(server) as client:
            return [await drained(client.create_stream(ASK)) for _ in range(2)]

    with fake_openai(script) as server:
        both = asyncio.run(main(server))
        assert [call.status for call in server.served] == [400, 200, 200]
    assert [items[:2] for items in both] == [["one", "two"]] * 2
    assert [span["aforo.usage.quality"] for span in spans()] == ["missing", "missing"]


def test_a_cache_hit_costs_nothing(spans: ReadSpans) -> None:
    """A miss is the inner client's call, a hit is a cached response without tokens or id."""

    async def main() -> None:
        cache = ChatCompletionCache(Scripted())
        await cache.create(ASK)
        await cache.create(ASK)
        streams = ChatCompletionCache(Scripted())
        await drained(streams.create_stream(ASK))
        await drained(streams.create_stream(ASK))

    asyncio.run(main())
    assert [(span["aforo.usage.quality"], bool(tokens_of(span))) for span in spans()] == [
        ("reported", True),
        ("cached_response", False),
        ("reported", True),
        ("cached_response", False),
    ]


def test_replayed_strings_are_cached(spans: ReadSpans) -> None:
    """AutoGen's replay client says that its plain strings come from a cache, and is believed."""
    client = ReplayChatCompletionClient(["a", says("b", (7, 3))], model_info=INFO)
    asyncio.run(client.create(ASK))
    asyncio.run(client.create(ASK))
    assert [span["aforo.usage.quality"] for span in spans()] == ["cached_response", "reported"]


class Twice(Bare):
    """A client that asks two others, and says that it spent both their tokens."""

    def __init__(self, first: Any, second: Any) -> None:
        self.both = (first, second)

    async def create(self, messages: Any, **options: Any) -> CreateResult:
        """Ask both."""
        results = [await client.create(messages) for client in self.both]
        spent = [result.usage for result in results]
        return says("", (sum(u.prompt_tokens for u in spent), sum(u.completion_tokens for u in spent)))

    async def create_stream(self, messages: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """Ask both."""
        for client in self.both:
            async for item in client.create_stream(messages):
                yield item


@pytest.mark.parametrize("way", ["create", "stream"])
def test_a_client_of_clients(spans: ReadSpans, way: str) -> None:
    """The innermost calls are billed, each once; who only passed them on is not. Numbering has no gaps."""
    client = Twice(Scripted(says("a", (1, 2))), ChatCompletionCache(Scripted(says("b", (3, 4)))))
    asyncio.run(client.create(ASK) if way == "create" else drained(client.create_stream(ASK)))
    seen = spans()
    assert [tokens_of(span)["input_tokens"] for span in seen] == [1, 3]
    assert [span["aforo.step.index"] for span in seen] == [0, 1]
    assert len({span.trace for span in seen}) == 1


class Louder(Scripted):
    """A client that calls its parent's methods."""

    async def create(self, messages: Any, **options: Any) -> CreateResult:
        """Ask the parent class."""
        return await super().create(messages, **options)

    async def create_stream(self, messages: Any, **options: Any) -> AsyncGenerator[Any, None]:
        """Ask the parent class."""
        async for item in super().create_stream(messages, **options):
            yield item


def test_super_is_one_call(spans: ReadSpans) -> None:
    """A method that calls its parent's is one call with it."""
    asyncio.run(Louder().create(ASK))
    asyncio.run(drained(Louder().create_stream(ASK)))
    assert [tokens_of(span) for span in spans()] == [{"input_tokens": 10, "output_tokens": 5}] * 2


LEAVES = st.builds(lambda into, out: Louder(says("x", (into, out))), st.integers(1, 99), st.integers(0, 99))
CLIENTS = st.recursive(
    LEAVES,
    lambda inner: st.builds(Twice, inner, inner) | inner.map(ChatCompletionCache),
    max_leaves=6,
)


def leaves(client: Any) -> list[Scripted]:
    """The clients at the bottom of a client of clients."""
    if isinstance(client, Scripted):
        return [client]
    inner = client.both if isinstance(client, Twice) else (client.client,)
    return [leaf for each in inner for leaf in leaves(each)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(client=CLIENTS, streamed=st.booleans())
def test_any_client_of_clients(spans: ReadSpans, client: Any, streamed: bool) -> None:
    """However clients wrap clients, the tokens billed are those that the innermost ones spent."""
    before = len(spans())
    asyncio.run(drained(client.create_stream(ASK)) if streamed else client.create(ASK))
    billed = spans()[before:]
    spent = [leaf.replies[0].usage for leaf in leaves(client)]  # type: ignore[union-attr]
    assert len(billed) == len(spent)
    assert sum(tokens_of(span)["input_tokens"] for span in billed) == sum(u.prompt_tokens for u in spent)
    assert sorted(span["aforo.step.index"] for span in billed) == list(range(len(spent)))


class Stubborn(Scripted):
    """A client that answers by itself when its parent fails."""

    async def create(self, messages: Any, **options: Any) -> CreateResult:
        """Ask the parent class, or answer from elsewhere."""
        try:
            return await super().create(messages)
        except ConnectionError:
            return says("elsewhere", (8, 2))


def test_a_fallback_beyond_our_sight(spans: ReadSpans) -> None:
    """A client whose inner call failed and that answers all the same is billed for its answer."""
    asyncio.run(Stubborn(ConnectionError("down")).create(ASK))
    failed, answered = spans()
    assert (failed["error.type"], tokens_of(failed)) == ("ConnectionError", {})
    assert (answered.failed, tokens_of(answered)["input_tokens"]) == (False, 8)
    assert (failed["aforo.step.index"], answered["aforo.step.index"]) == (0, 1)


def test_zero_is_not_free(spans: ReadSpans) -> None:
    """0 of 0 tokens on a success is unknown: `zero_on_success`, or `missing` if the provider sent no usage."""

    async def main(server: Any) -> None:
        await Scripted(says("", (0, 0))).create(ASK)
        async with openai_client(server) as client:
            await client.create(ASK)

    with fake_openai([Reply(usage=None)]) as server:
        asyncio.run(main(server))
    assert [span["aforo.usage.quality"] for span in spans()] == ["zero_on_success", "missing"]


@pytest.mark.parametrize("way", ["create", "stream"])
def test_a_refused_call(spans: ReadSpans, way: str) -> None:
    """A provider that refuses bills nothing, and the program sees its own exception."""

    async def main(server: Any) -> None:
        async with openai_client(server) as client:
            await (client.create(ASK) if way == "create" else drained(client.create_stream(ASK)))

    with fake_openai([Reply("no", status=400)]) as server, pytest.raises(Exception, match="no"):
        asyncio.run(main(server))
    span = spans().one("chat stub-1")
    assert (span.failed, span["error.type"]) == (True, "openai.BadRequestError")
    assert (span["aforo.usage.quality"], tokens_of(span)) == (None, {})


def test_a_cancelled_call(spans: ReadSpans) -> None:
    """A call cancelled on its way has consumed something unknown."""

    async def main(server: Any) -> None:
        async with openai_client(server) as client:
            token = CancellationToken()
            call = asyncio.create_task(client.create(ASK, cancellation_token=token))
            await asyncio.sleep(0.2)
            token.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    with fake_openai([Reply(delay_s=0.5)]) as server:
        asyncio.run(main(server))
    span = spans().one("chat stub-1")
    assert (span["error.type"], span["aforo.usage.quality"]) == ("CancelledError", "missing")


def test_an_abandoned_stream(spans: ReadSpans) -> None:
    """A stream left before its end is a broken call whose tokens are missing, once, also through a cache."""

    async def main(server: Any) -> None:
        async with openai_client(server) as client:
            for left in (client, ChatCompletionCache(client)):
                stream = left.create_stream(ASK)
                await anext(stream)
                await stream.aclose()
            stream = client.create_stream(ASK)
            await anext(stream)
            del stream
            gc.collect()
            await asyncio.sleep(0)

    with fake_openai(lambda request: Reply("one two three four")) as server:
        asyncio.run(main(server))
    assert [(span["error.type"], span["aforo.usage.quality"]) for span in spans()] == [
        ("GeneratorExit", "missing")
    ] * 3


def test_who_stops_at_the_result_has_not_left(spans: ReadSpans) -> None:
    """A reader who stops at the result, as agents do, has had the whole call."""

    async def main() -> None:
        async for item in Scripted(says("one two")).create_stream(ASK):
            if isinstance(item, CreateResult):
                break

    asyncio.run(main())
    span = spans().one("chat")
    assert (span.failed, span["aforo.usage.quality"]) == (False, "reported")


def test_a_broken_stream(spans: ReadSpans) -> None:
    """A stream that breaks off is missing its tokens, or keeps those that had come, as partial."""

    class Breaks(Scripted):
        async def create_stream(self, messages: Any, **options: Any) -> AsyncGenerator[Any, None]:
            async for _ in self._create_stream_chunks():
                yield "word"
            raise ConnectionError("cut")

        async def _create_stream_chunks(self) -> AsyncGenerator[Any, None]:
            yield {"id": "r-1", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}

    async def main(server: Any) -> None:
        async with openai_client(server) as client:
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the HTTP library makes of it
                await drained(client.create_stream(ASK))
        with pytest.raises(ConnectionError):
            await drained(Breaks().create_stream(ASK))

    with fake_openai([Reply("one two three", break_after=3)]) as server:
        asyncio.run(main(server))
    broken, partial = spans()
    assert (broken.failed, broken["aforo.usage.quality"]) == (True, "missing")
    assert (partial["aforo.usage.quality"], partial["gen_ai.response.id"]) == ("partial", "r-1")
    assert tokens_of(partial) == {"input_tokens": 9, "output_tokens": 4}


def test_usage_objects_of_all_kinds(spans: ReadSpans) -> None:
    """Whatever a client calls its usage, nothing raises and no count is invented."""

    class Odd(Scripted):
        async def create(self, messages: Any, **options: Any) -> Any:
            return odd.pop()

    odd: list[Any] = [
        None,
        "text",
        says("", (-3, 2**70)).model_copy(update={"usage": None}),
        CreateResult.model_construct(content="x", usage=RequestUsage(-3, 2**70)),
    ]
    while odd:
        asyncio.run(Odd().create(ASK))
    assert [tokens_of(span) for span in spans()] == [{}] * 4
    assert {span["aforo.usage.quality"] for span in spans()} == {"missing"}


def test_the_log_of_the_framework_is_left_alone(spans: ReadSpans) -> None:
    """Metering sets no level and adds no handler to AutoGen's event log."""
    logger = logging.getLogger(EVENT_LOGGER_NAME)
    assert (logger.level, logger.handlers, logger.filters) == (logging.NOTSET, [], [])
