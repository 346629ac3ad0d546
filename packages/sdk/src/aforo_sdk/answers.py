"""What a model answered: its tokens under the attributes they become, and how far they can be trusted.

Providers name their counts differently, and some leave the cache out of the input. Everything here ends in
OpenTelemetry's terms: input contains cache reads and writes, output contains reasoning. Nothing trusts a
shape: gateways and test models put strange things where usage belongs, so every value is checked, and what
is no count is left out. Pure.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aforo_sdk import conventions as c

COUNT_MAX: Final = 2**63 - 1

_NO_TOKENS: Final[Mapping[str, int]] = {}

_TOTALS: Final = {
    "prompt_tokens": c.INPUT_TOKENS,
    "input_tokens": c.INPUT_TOKENS,
    "prompt_token_count": c.INPUT_TOKENS,
    "promptTokenCount": c.INPUT_TOKENS,
    "completion_tokens": c.OUTPUT_TOKENS,
    "output_tokens": c.OUTPUT_TOKENS,
    "candidates_token_count": c.OUTPUT_TOKENS,
    "candidatesTokenCount": c.OUTPUT_TOKENS,
    "inputTokens": c.INPUT_TOKENS,
    "outputTokens": c.OUTPUT_TOKENS,
}
# Parts of the totals that stand beside them …
_FLAT_PARTS: Final = {
    "cached_prompt_tokens": c.CACHE_READ_TOKENS,
    "cached_tokens": c.CACHE_READ_TOKENS,
    "cached_content_token_count": c.CACHE_READ_TOKENS,
    "cachedContentTokenCount": c.CACHE_READ_TOKENS,
    "cache_read_input_tokens": c.CACHE_READ_TOKENS,
    "cache_creation_tokens": c.CACHE_WRITE_TOKENS,
    "cache_creation_input_tokens": c.CACHE_WRITE_TOKENS,
    "cacheReadInputTokens": c.CACHE_READ_TOKENS,
    "cacheWriteInputTokens": c.CACHE_WRITE_TOKENS,
    "reasoning_tokens": c.REASONING_TOKENS,
    "thoughts_token_count": c.REASONING_TOKENS,
    "thoughtsTokenCount": c.REASONING_TOKENS,
}
# … and those that stand in an object of their own.
_INPUT_PARTS: Final = {
    "cached_tokens": c.CACHE_READ_TOKENS,
    "cache_write_tokens": c.CACHE_WRITE_TOKENS,
    "audio_tokens": c.AUDIO_INPUT_TOKENS,
}
_OUTPUT_PARTS: Final = {"reasoning_tokens": c.REASONING_TOKENS, "audio_tokens": c.AUDIO_OUTPUT_TOKENS}
_WRITE_PARTS: Final = {
    "ephemeral_5m_input_tokens": c.USAGE_CACHE_WRITE_5M,
    "ephemeral_1h_input_tokens": c.USAGE_CACHE_WRITE_1H,
}
_NESTED: Final = {
    "prompt_tokens_details": _INPUT_PARTS,
    "input_tokens_details": _INPUT_PARTS,
    "completion_tokens_details": _OUTPUT_PARTS,
    "output_tokens_details": _OUTPUT_PARTS,
    "cache_creation": _WRITE_PARTS,
}


_FLAT: Final = _FLAT_PARTS | _TOTALS
_BESIDE_INPUT: Final = frozenset(
    {
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
    }
)
"""What Anthropic and Bedrock leave out of the input."""
USAGE_KEYS: Final = frozenset({*_FLAT, *_NESTED})
"""An object that has none of these keys counts no tokens."""


class Answer(NamedTuple):
    """What a model answered, without a word of it.

    `tokens` are the counts the provider gave, by attribute name: totals include their details, what it did
    not say is not there. `quality` says how far the tokens can be trusted (values in `aforo_sdk.conventions`;
    empty: nothing was consumed), `raw_usage` is the provider's own usage object, or the framework's where
    there is none. Names and ids may be empty.
    """

    tokens: Mapping[str, int] = _NO_TOKENS
    quality: str = c.MISSING
    raw_usage: object = None
    model: str = ""
    response_id: str = ""
    asks_for_tools: bool = False


def answer_of_usage(
    usage: object, model: object = "", response_id: object = "", asks_for_tools: bool = False
) -> Answer:
    """Read a provider's own usage object: a dict, or an object that has the counts as attributes.

    Knows the names of OpenAI (chat and responses), Anthropic, Bedrock, Gemini and LiteLLM. None, and anything without
    counts, gives an answer whose tokens are `missing`.
    """
    raw = plain_usage(usage)
    tokens = tokens_of_usage(raw)
    return Answer(tokens, quality_of(tokens), raw or None, _text(model), _text(response_id), asks_for_tools)


def quality_of(tokens: Mapping[str, int]) -> str:
    """How far the tokens of a call that succeeded can be trusted: 0 of 0 is unknown, not free."""
    into, out = tokens.get(c.INPUT_TOKENS), tokens.get(c.OUTPUT_TOKENS)
    if into or out:
        return c.REPORTED
    return c.MISSING if into is None and out is None else c.ZERO_ON_SUCCESS


def tokens_of_usage(raw: Mapping[str, Any]) -> dict[str, int]:
    """The counts of a provider's usage object under their attributes, totals made inclusive."""
    tokens: dict[str, int] = {}
    take_counts(tokens, raw, _FLAT)
    for key in raw:
        if key in _NESTED:
            take_counts(tokens, raw[key], _NESTED[key])
    raise_cache_writes(tokens)
    if not _BESIDE_INPUT.isdisjoint(raw):
        if "prompt_tokens" not in raw and c.INPUT_TOKENS in tokens:
            beside = tokens.get(c.CACHE_READ_TOKENS, 0) + tokens.get(c.CACHE_WRITE_TOKENS, 0)
            tokens[c.INPUT_TOKENS] = min(tokens[c.INPUT_TOKENS] + beside, COUNT_MAX)
    elif c.REASONING_TOKENS in tokens and c.OUTPUT_TOKENS in tokens and _counts_thoughts_apart(raw):
        tokens[c.OUTPUT_TOKENS] = min(tokens[c.OUTPUT_TOKENS] + tokens[c.REASONING_TOKENS], COUNT_MAX)
    return tokens


def raise_cache_writes(tokens: dict[str, int]) -> None:
    """Make the cache writes at least the sum of their lifetimes: some report 0 beside the two lifetimes."""
    if c.USAGE_CACHE_WRITE_5M in tokens or c.USAGE_CACHE_WRITE_1H in tokens:
        lifetimes = tokens.get(c.USAGE_CACHE_WRITE_5M, 0) + tokens.get(c.USAGE_CACHE_WRITE_1H, 0)
        tokens[c.CACHE_WRITE_TOKENS] = max(tokens.get(c.CACHE_WRITE_TOKENS, 0), lifetimes)


def take_counts(tokens: dict[str, int], counts: object, names: Mapping[str, str]) -> None:
    """Take what is a count, from 0 to 2**63 - 1, under the attribute that its key stands for."""
    if type(counts) is dict or isinstance(counts, Mapping):
        for key, value in counts.items():
            name = names.get(key)
            if name is not None:
                number = int(value) if type(value) is float and value.is_integer() else value
                if type(number) is int and 0 <= number <= COUNT_MAX:
                    tokens[name] = number


def plain_usage(usage: object) -> dict[str, Any]:
    """A usage object as a dict, whichever library made it; empty if it is none."""
    if type(usage) is dict or isinstance(usage, Mapping):
        return dict(usage)
    for name in ("model_dump", "to_dict", "dict"):
        dump = getattr(usage, name, None)
        if callable(dump):
            try:
                found = dump()
            except Exception:
                return {}  # a call is billed, flagged, also where its usage cannot be read
            return found if isinstance(found, dict) else {}
    fields = getattr(usage, "__dict__", None)
    return dict(fields) if isinstance(fields, dict) else {}


def _counts_thoughts_apart(raw: Mapping[str, Any]) -> bool:
    """Whether the output leaves reasoning out: Gemini does, under names that nobody else has."""
    return "thoughts_token_count" in raw or "thoughtsTokenCount" in raw


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
