"""What AutoGen says about a model call, in the trade's terms. Pure functions: no state, no clock.

AutoGen keeps two counts of a provider's usage. The rest (cached and reasoning tokens, the id) is read from
the provider's own response, where a client lets it be seen. Nothing here reads what a message says.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aforo_sdk import conventions as c
from aforo_sdk.plugin import Answer, answer_of_usage

_PROVIDERS: Final = {
    "AzureOpenAIChatCompletionClient": "azure.ai.openai",
    "BaseOpenAIChatCompletionClient": "openai",
    "AnthropicBedrockChatCompletionClient": "aws.bedrock",
    "BaseAnthropicChatCompletionClient": "anthropic",
    "AzureAIChatCompletionClient": "azure.ai.inference",
    "BaseOllamaChatCompletionClient": "ollama",
}
# OpenAI's client speaks to others too: the end of the host tells whom.
_HOSTS: Final = {
    "anthropic.com": "anthropic",
    "deepseek.com": "deepseek",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
}


class Seen(NamedTuple):
    """What was seen of a provider's own response: its usage (None: it gave none), model and id."""

    usage: object
    model: object
    response_id: object


def seen_in(response: object) -> Seen:
    """Read a response, given as a dict or as an object."""
    if isinstance(response, Mapping):
        return Seen(response.get("usage"), response.get("model"), response.get("id"))
    return Seen(
        getattr(response, "usage", None), getattr(response, "model", None), getattr(response, "id", None)
    )


def answer_of(result: Any, seen: Seen | None) -> Answer:
    """Read the `CreateResult` of a call that succeeded, beside what was `seen` (None: nothing).

    An answer out of a cache repeats the counts of the call that filled it: they are not taken again. 0 of 0
    tokens beside a response without usage are AutoGen's way to say that there was none.
    """
    content = getattr(result, "content", None)
    asks_for_tools = isinstance(content, list) and bool(content)
    if getattr(result, "cached", False) is True:
        return Answer(quality=c.CACHED_RESPONSE, asks_for_tools=asks_for_tools)
    usage = getattr(result, "usage", None)
    if seen is None:
        return answer_of_usage(_two_counts(usage), asks_for_tools=asks_for_tools)
    answer = answer_of_usage(seen.usage, seen.model, seen.response_id, asks_for_tools)
    if answer.quality == c.REPORTED:
        return answer
    stated = answer_of_usage(_two_counts(usage), seen.model, seen.response_id, asks_for_tools)
    return stated if stated.quality == c.REPORTED else answer


def broken_answer_of(seen: Seen | None, began: bool, error: BaseException) -> Answer:
    """Read what had come when a call failed: `partial` if tokens were counted until then.

    Without a count it depends on who gave up. A provider that refuses bills nothing. When our side left
    (cancelled, timed out, stream abandoned) or an answer had begun, something was consumed and nobody says
    how much: `missing`.
    """
    if seen is not None:
        answer = answer_of_usage(*seen)
        if answer.quality != c.MISSING:
            return answer._replace(quality=c.PARTIAL)
        began = True
    we_left = not isinstance(error, Exception) or "timeout" in type(error).__name__.lower()
    return Answer(quality=c.MISSING if began or we_left else "")


def _two_counts(usage: Any) -> dict[str, Any]:
    """AutoGen's `RequestUsage` as a dict; empty for anything else."""
    counts = {name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")}
    return {name: value for name, value in counts.items() if value is not None}


def provider_of(client: object) -> str:
    """The provider behind a client under its OTel well-known name; empty if the client does not tell."""
    for cls in type(client).__mro__:
        provider = _PROVIDERS.get(cls.__name__, "")
        if provider:
            return _provider_at(client) or provider if provider == "openai" else provider
    return ""


def _provider_at(client: object) -> str:
    host = getattr(getattr(getattr(client, "_client", None), "base_url", None), "host", "")
    return _provider_under(host) if isinstance(host, str) else ""


@lru_cache(maxsize=256)
def _provider_under(host: str) -> str:
    for end, provider in _HOSTS.items():
        if host == end or host.endswith("." + end):
            return provider
    return ""


def model_of(client: object, options: Mapping[str, Any]) -> str:
    """The model that is asked for: by the call's own `extra_create_args`, else by the client; may be empty."""
    for args in (options.get("extra_create_args"), getattr(client, "_create_args", None)):
        model = args.get("model") if isinstance(args, Mapping) else None
        if isinstance(model, str) and model:
            return model
    return ""


def asks_for_usage(client: object, options: Mapping[str, Any]) -> bool:
    """Whether a streamed call says anything about usage itself: yes or no, here or in the client's options."""
    if options.get("include_usage") is not None:
        return True
    both = (options.get("extra_create_args"), getattr(client, "_create_args", None))
    return any(isinstance(args, Mapping) and "stream_options" in args for args in both)


def is_refusal(error: Exception) -> bool:
    """Whether a gateway refuses the request because it asks for usage."""
    if getattr(error, "status_code", None) not in {400, 422}:
        return False
    text = str(error)
    return "stream_options" in text or "include_usage" in text
