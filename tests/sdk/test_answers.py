"""Every provider's own usage object ends in the same inclusive totals."""

from types import SimpleNamespace

import pytest
from aforo_sdk import conventions as c
from aforo_sdk.plugin import COUNT_MAX, answer_of_usage, tokens_of_usage
from hypothesis import given
from hypothesis import strategies as st

FULL = {
    c.INPUT_TOKENS: 1_000,
    c.OUTPUT_TOKENS: 200,
    c.CACHE_READ_TOKENS: 600,
    c.REASONING_TOKENS: 150,
}

SAME_CALL = {
    "openai chat": {
        "prompt_tokens": 1_000,
        "completion_tokens": 200,
        "total_tokens": 1_200,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 150},
    },
    "openai responses": {
        "input_tokens": 1_000,
        "output_tokens": 200,
        "total_tokens": 1_200,
        "input_tokens_details": {"cached_tokens": 600},
        "output_tokens_details": {"reasoning_tokens": 150},
    },
    "gemini": {
        "prompt_token_count": 1_000,
        "candidates_token_count": 50,
        "cached_content_token_count": 600,
        "thoughts_token_count": 150,
        "total_token_count": 1_200,
    },
    "gemini over REST": {
        "promptTokenCount": 1_000,
        "candidatesTokenCount": 50,
        "cachedContentTokenCount": 600,
        "thoughtsTokenCount": 150,
    },
    "flat": {
        "prompt_tokens": 1_000,
        "completion_tokens": 200,
        "cached_prompt_tokens": 600,
        "reasoning_tokens": 150,
    },
}


@pytest.mark.parametrize("raw", SAME_CALL.values(), ids=SAME_CALL)
def test_the_same_call_reads_the_same_from_every_provider(raw):
    """Whatever the names, and whether details are in or beside the totals, the counts are inclusive."""
    assert answer_of_usage(raw).tokens == FULL
    assert answer_of_usage(raw).quality == c.REPORTED


@pytest.mark.parametrize("raw", SAME_CALL.values(), ids=SAME_CALL)
def test_an_object_reads_like_a_dict(raw):
    """A usage object of a client library reads like the dict it stands for, and is kept as one."""

    class Dumps(SimpleNamespace):
        def model_dump(self):
            return raw

    assert answer_of_usage(Dumps()) == answer_of_usage(raw)
    assert answer_of_usage(SimpleNamespace(**raw)) == answer_of_usage(raw)


def test_anthropic_leaves_the_cache_out_of_its_input():
    """Anthropic's input is what neither came from nor went to the cache: all three make the total."""
    raw = {
        "input_tokens": 100,
        "output_tokens": 20,
        "cache_read_input_tokens": 700,
        "cache_creation_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
    }

    assert tokens_of_usage(raw) == {
        c.INPUT_TOKENS: 850,
        c.OUTPUT_TOKENS: 20,
        c.CACHE_READ_TOKENS: 700,
        c.CACHE_WRITE_TOKENS: 50,
        c.USAGE_CACHE_WRITE_5M: 30,
        c.USAGE_CACHE_WRITE_1H: 20,
    }


def test_bedrock_leaves_the_cache_out_of_its_input():
    """Bedrock's `Converse` counts as Anthropic does, under names of its own."""
    raw = {
        "inputTokens": 100,
        "outputTokens": 20,
        "totalTokens": 870,
        "cacheReadInputTokens": 700,
        "cacheWriteInputTokens": 50,
    }

    assert tokens_of_usage(raw) == {
        c.INPUT_TOKENS: 850,
        c.OUTPUT_TOKENS: 20,
        c.CACHE_READ_TOKENS: 700,
        c.CACHE_WRITE_TOKENS: 50,
    }


@pytest.mark.parametrize(
    ("raw", "quality"),
    [
        (None, c.MISSING),
        ({}, c.MISSING),
        ({"total_tokens": 0}, c.MISSING),
        ({"prompt_tokens": 0, "completion_tokens": 0}, c.ZERO_ON_SUCCESS),
        ({"prompt_tokens": 5, "completion_tokens": 0}, c.REPORTED),
    ],
)
def test_nothing_and_zero_are_unknown(raw, quality):
    """Without counts usage is missing; 0 of 0 is unknown, not free."""
    assert answer_of_usage(raw).quality == quality


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([*SAME_CALL["openai chat"], *SAME_CALL["gemini"], "cache_read_input_tokens", "x"]), inner
    )
), max_leaves=12))  # fmt: skip
def test_no_shape_breaks_it(raw):
    """Whatever stands where usage belongs, what comes out are counts from 0 to 2**63 - 1."""
    tokens = answer_of_usage(raw).tokens

    assert all(type(count) is int and 0 <= count <= COUNT_MAX for count in tokens.values())


def test_an_object_that_cannot_be_read_has_no_counts():
    """Usage that raises when it is asked for its counts is missing, as any other that has none."""

    class Broken:
        def model_dump(self, everything):
            return {}

    assert answer_of_usage(Broken()).quality == c.MISSING
