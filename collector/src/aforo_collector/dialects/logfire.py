"""Logfire's own instrumentation of model clients: the standard totals, and the provider's usage as JSON.

A streamed call is a span that says nothing of the answer, and a log beside it, when the stream ends, that
carries the usage: the log is the call.
"""

from __future__ import annotations

import json
from typing import Any, Final

from aforo_sdk import conventions as c

from .values import Attributes, Plain, count_of, plain
from .vocabulary import Dialect, Restated, stated

TYPE: Final = "logfire.span_type"
_RAW: Final = "gen_ai.usage.raw"
_DETAILS: Final = {
    ("prompt_tokens_details", "cached_tokens"): c.CACHE_READ_TOKENS,
    ("prompt_tokens_details", "cache_write_tokens"): c.CACHE_WRITE_TOKENS,
    ("prompt_tokens_details", "audio_tokens"): c.AUDIO_INPUT_TOKENS,
    ("completion_tokens_details", "reasoning_tokens"): c.REASONING_TOKENS,
    ("completion_tokens_details", "audio_tokens"): c.AUDIO_OUTPUT_TOKENS,
    ("input_tokens_details", "cached_tokens"): c.CACHE_READ_TOKENS,
    ("output_tokens_details", "reasoning_tokens"): c.REASONING_TOKENS,
    ("", "cache_read_input_tokens"): c.CACHE_READ_TOKENS,
    ("", "cache_creation_input_tokens"): c.CACHE_WRITE_TOKENS,
    ("cache_creation", "ephemeral_5m_input_tokens"): c.USAGE_CACHE_WRITE_5M,
    ("cache_creation", "ephemeral_1h_input_tokens"): c.USAGE_CACHE_WRITE_1H,
}
"""Parts of the totals, by group and key: of OpenAI's chat completions and responses, of Anthropic's messages."""


def _operation(attributes: Attributes, span_name: str) -> str:
    del span_name
    kind = stated(attributes, TYPE)
    if kind == "pending_span":
        return ""  # announces a span that will come
    if (
        kind == "span"
        and c.RESPONSE_MODEL in attributes
        and c.RESPONSE_ID not in attributes
        and c.INPUT_TOKENS not in attributes
    ):
        return ""  # a stream was opened; the log at its end is the call
    return stated(attributes, c.OPERATION_NAME)


def _details_from_raw(said: Restated, attributes: Attributes, span_name: str) -> None:
    del span_name
    try:
        usage: Any = json.loads(stated(attributes, _RAW) or "{}")
    except ValueError:
        return
    if not isinstance(usage, dict):
        return
    for (group, key), name in _DETAILS.items():
        part = usage.get(group) if group else usage
        count = part.get(key) if isinstance(part, dict) else None
        if isinstance(count, int) and name not in said:
            said[name] = Plain(i=count_of(key, plain(count)))


LOGFIRE: Final = Dialect(
    name="logfire",
    scopes=("logfire", "logfire.*"),
    operation=_operation,
    amend=_details_from_raw,
)
