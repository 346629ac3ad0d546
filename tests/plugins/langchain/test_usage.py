"""How the tokens of an answer are read, and what is said about their quality."""

from collections.abc import Iterator
from typing import Any

import pytest
from aforo_langchain import AforoCallbackHandler
from aforo_langchain.mapping import answer_of, provider_of
from aforo_sdk.plugin import COUNT_MAX, Answer
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManager
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from tests.plugins.langchain.models import ScriptedChat, says, usage
from tests.plugins.spool import ReadSpans

counts = st.integers(0, COUNT_MAX)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
USAGE_KEYS = st.sampled_from(
    ["input_tokens", "output_tokens", "input_token_details", "output_token_details", "total_cost"]
)


@pytest.fixture
def answer_cache() -> Iterator[None]:
    """Switch LangChain's own cache of answers on."""
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


def result(usage_metadata: Any, **said: Any) -> LLMResult:
    """Return a result whose message says anything at all in `usage_metadata`, as some gateways do."""
    message = AIMessage.model_construct(content="", usage_metadata=usage_metadata, response_metadata=said)
    return LLMResult.model_construct(generations=[[ChatGeneration.model_construct(message=message)]])


class Counted:
    """A usage object of a provider's library."""

    def model_dump(self) -> dict[str, int]:
        """Return it as a dict."""
        return {"prompt_tokens": 7, "completion_tokens": 2}


NOWHERE = usage(0, 0)
COUNTS = {"prompt_tokens": 7, "completion_tokens": 2}


@pytest.mark.parametrize(
    "told",
    [
        {"llm_output": {"token_usage": Counted()}},
        {"response_metadata": {"usage_metadata": {"prompt_token_count": 7, "candidates_token_count": 2}}},
        {"additional_kwargs": {"usage": COUNTS}},
        {"usage_metadata": NOWHERE, "response_metadata": {"token_usage": COUNTS}},
    ],
    ids=["object", "gemini", "additional", "zeros"],
)
def test_counts_stand_in_many_places(spans: ReadSpans, told: dict[str, Any]) -> None:
    """Wherever a provider's own counts stand, they are read if LangChain's say nothing."""
    output = told.pop("llm_output", None)
    model = ScriptedChat(replies=[AIMessage(content="done", **told)], llm_output=output)
    model.invoke("a", {"callbacks": [AforoCallbackHandler()]})
    (call,) = spans()
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (7, 2)
    assert call["aforo.usage.quality"] == "reported"


@given(counts, counts, counts, counts, counts)
def test_counts_are_exact(into: int, out: int, read: int, written: int, reasoning: int) -> None:
    """Totals stay inclusive and every count arrives as the provider gave it."""
    answer = answer_of(
        result(
            usage(
                into,
                out,
                input_token_details={"cache_read": read, "cache_creation": written},
                output_token_details={"reasoning": reasoning},
            )
        )
    )
    assert answer.tokens == {
        "gen_ai.usage.input_tokens": into,
        "gen_ai.usage.output_tokens": out,
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_write.input_tokens": written,
        "gen_ai.usage.reasoning.output_tokens": reasoning,
    }
    assert answer.quality == ("reported" if into or out else "zero_on_success")


@given(counts, counts)
def test_both_cache_lifetimes(short: int, long: int) -> None:
    """Cache writes for five minutes and for an hour are kept apart, and their sum is the total written."""
    answer = answer_of(
        result(
            usage(
                9,
                9,
                input_token_details={
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": short,
                    "ephemeral_1h_input_tokens": long,
                },
            )
        )
    )
    assert answer.tokens["gen_ai.usage.cache_write.input_tokens"] == short + long
    assert answer.tokens["aforo.usage.cache_write_5m"] == short
    assert answer.tokens["aforo.usage.cache_write_1h"] == long


@given(anything | st.dictionaries(USAGE_KEYS, anything), anything, anything)
def test_no_shape_of_usage_breaks_the_reading(usage_metadata: Any, token_usage: Any, model: Any) -> None:
    """Whatever stands where usage belongs, an answer comes out, and only counts pass for counts."""
    answer = answer_of(result(usage_metadata, token_usage=token_usage, model_name=model))
    assert all(0 <= tokens <= COUNT_MAX * 2 for tokens in answer.tokens.values())
    assert answer.quality in {"reported", "zero_on_success", "missing", "cached_response"}


@pytest.mark.parametrize("nothing", [None, LLMResult(generations=[]), LLMResult(generations=[[]]), "text"])
def test_no_answer(nothing: object) -> None:
    """A result without a generation is an answer of which nothing is known."""
    assert answer_of(nothing) == Answer()


@given(st.dictionaries(USAGE_KEYS, anything))
def test_a_malformed_usage_leaves_a_span(usage_metadata: Any) -> None:
    """The handler writes the call's span even if its usage cannot be read."""
    written: list[bytes] = []
    handler = AforoCallbackHandler()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aforo_sdk.plugin.emit", lambda *span: written.append(span[7]))
        (manager,) = CallbackManager([handler]).on_chat_model_start({}, [[]])
        manager.on_llm_end(result(usage_metadata, token_usage={1: object()}))
    assert len(written) == 1


def test_zero_on_success_is_not_free(spans: ReadSpans) -> None:
    """A success with 0 of 0 tokens is flagged, so that nobody takes it for free."""
    ScriptedChat(replies=[says(tokens=(0, 0))]).invoke("a", {"callbacks": [AforoCallbackHandler()]})
    assert spans().one("chat stub-1")["aforo.usage.quality"] == "zero_on_success"


def test_answers_out_of_the_cache_cost_nothing(spans: ReadSpans, answer_cache: None) -> None:
    """A hit in LangChain's cache is a call without tokens, and without the id of the call that filled it."""
    model = ScriptedChat()
    for _ in range(2):
        model.invoke("same", {"callbacks": [AforoCallbackHandler()]})
    asked, cached = spans().named("chat stub-1")
    assert (asked["aforo.usage.quality"], asked["gen_ai.usage.input_tokens"]) == ("reported", 10)
    assert cached["aforo.usage.quality"] == "cached_response"
    assert not [key for key in cached.attributes if key.startswith(("gen_ai.usage", "gen_ai.response.id"))]


def test_lifetimes_on_the_wire(spans: ReadSpans) -> None:
    """Both cache lifetimes reach the span under our own names, beside the standard total."""
    details = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 50, "cache_creation": 0}
    answer = says(usage_metadata=usage(100, 1, input_token_details=details))
    ScriptedChat(replies=[answer]).invoke("a", {"callbacks": [AforoCallbackHandler()]})
    span = spans().one("chat stub-1")
    assert span["gen_ai.usage.cache_write.input_tokens"] == 80
    assert (span["aforo.usage.cache_write_5m"], span["aforo.usage.cache_write_1h"]) == (30, 50)


def test_provider_names() -> None:
    """LangChain's provider names become OTel's well-known ones, and unknown names pass."""
    assert provider_of({"ls_provider": "amazon_bedrock"}) == "aws.bedrock"
    assert provider_of({"ls_provider": "google_genai"}) == "gcp.gemini"
    assert provider_of({"ls_provider": "house-model"}) == "house-model"
    assert provider_of({}) == ""
