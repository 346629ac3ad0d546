"""AG2's TelemetryMiddleware (ag2 1.2): `ag2.span.type`.

Every call of a model appears twice, as `chat` and as `record_usage model_call` beside it; what is accounted
for without a `chat` (compaction, aggregation, a sub-task's worker) appears as `record_usage` only.
Counts are as the provider gave them: Anthropic's and Bedrock's input leaves the cache out, Google's output
leaves the thinking out.
"""

from __future__ import annotations

from typing import Final

from aforo_sdk import conventions as c

from .values import Attributes, Plain
from .vocabulary import Dialect, Restated, counted, stated

TYPE: Final = "ag2.span.type"
_TYPES: Final = {"agent": c.INVOKE_AGENT, "llm": c.CHAT, "tool": c.EXECUTE_TOOL}
_USAGE: Final = {"compaction": c.CHAT, "aggregation": c.CHAT, "subtask": c.INVOKE_AGENT}
"""Kinds of usage that no other span tells of; a sub-task's is the claim of the agent that did it."""
_CACHE_APART: Final = frozenset({"anthropic", "aws.bedrock"})
_THINKING_APART: Final = frozenset({"gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai"})


def _operation(attributes: Attributes, span_name: str) -> str:
    kind = stated(attributes, TYPE)
    if kind == "usage":
        return _USAGE.get(stated(attributes, "ag2.usage.kind") or span_name.rpartition(" ")[2], "")
    return _TYPES.get(kind, "")


def _inclusive(said: Restated, attributes: Attributes, span_name: str) -> None:
    """Make the totals contain their parts."""
    del attributes, span_name
    provider = said[c.PROVIDER_NAME].s if c.PROVIDER_NAME in said else ""
    if provider in _CACHE_APART:
        _add(said, c.INPUT_TOKENS, c.CACHE_READ_TOKENS, c.CACHE_WRITE_TOKENS)
    elif provider in _THINKING_APART:
        _add(said, c.OUTPUT_TOKENS, c.REASONING_TOKENS)


def _add(said: Restated, total: str, *parts: str) -> None:
    if more := sum(counted(said, part) for part in parts):
        said[total] = Plain(i=counted(said, total) + more)


AG2: Final = Dialect(
    name="ag2",
    scopes=("opentelemetry.instrumentation.ag2",),
    operation=_operation,
    amend=_inclusive,
)
