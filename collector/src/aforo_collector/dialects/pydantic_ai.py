"""pydantic-ai: OpenTelemetry's names, with reasoning and audio under `gen_ai.usage.details.*`.

`details.cache_read_tokens` and `details.cache_write_tokens` repeat what the standard names say, and
`gen_ai.aggregated_usage.*` repeats the calls of a whole run; neither is read.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from aforo_sdk import conventions as c

from .values import Attributes
from .vocabulary import TEXTS, TOKENS, Dialect, Names, stated

_DETAILS: Final = "gen_ai.usage.details."
_TEXTS: Final[Names] = MappingProxyType({**TEXTS, c.AGENT_NAME: (c.AGENT_NAME, "agent_name")})
_TOKENS: Final[Names] = MappingProxyType(
    {
        **TOKENS,
        c.REASONING_TOKENS: (
            *TOKENS[c.REASONING_TOKENS],
            f"{_DETAILS}reasoning_tokens",
            f"{_DETAILS}thoughts_tokens",
        ),
        c.AUDIO_INPUT_TOKENS: (*TOKENS[c.AUDIO_INPUT_TOKENS], f"{_DETAILS}input_audio_tokens"),
        c.AUDIO_OUTPUT_TOKENS: (
            *TOKENS[c.AUDIO_OUTPUT_TOKENS],
            f"{_DETAILS}output_audio_tokens",
            f"{_DETAILS}audio_tokens",
        ),
    }
)
_OLD_NAMES: Final = {"running tool": c.EXECUTE_TOOL, "agent run": c.INVOKE_AGENT}
"""Span names before the spans named an operation."""


def _operation(attributes: Attributes, span_name: str) -> str:
    if stated(attributes, "logfire.span_type") == "pending_span":
        return ""  # announces a span that will come
    if "pydantic_ai.tool.deferral.name" in attributes:
        return ""  # handed to somebody else, not executed
    return stated(attributes, c.OPERATION_NAME) or _OLD_NAMES.get(span_name, "")


PYDANTIC_AI: Final = Dialect(
    name="pydantic-ai",
    scopes=("pydantic-ai",),
    operation=_operation,
    texts=_TEXTS,
    tokens=_TOKENS,
)
