"""One finished operation of an agent, after translation from whatever dialect it came in."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from .identity import NOBODY, Identity


class Role(IntEnum):
    """What a span is to billing."""

    OTHER = 0
    """Transparent: an HTTP call, a chain, a retriever; keeps the tree together, bills nothing."""
    MODEL = 1
    """A model call: chat, text_completion, generate_content, embeddings."""
    TOOL = 2
    """A tool execution: execute_tool, or tools/call of MCP."""
    AGENT = 3
    """An agent, a workflow, a plan: its totals are claims to check against."""
    USAGE = 4
    """Usage that the program recorded by hand."""
    CLOSE = 5
    """The program says that its session is over."""


class Tokens(NamedTuple):
    """Token counts as the provider totals them: input includes cache, output includes reasoning."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0


tokens_of: Final[Callable[[tuple[int, int, int, int, int, int, int, int, int]], Tokens]] = partial(
    tuple.__new__, Tokens
)
"""`Tokens` of all its fields, in a third of the time that the named constructor takes."""


class Recorded(NamedTuple):
    """A usage event that travelled as a span; quantity is decimal text, metadata is JSON text."""

    metric: str
    quantity: str
    key: str
    metadata: str


class Span(NamedTuple):
    """A translated span. Equal spans are the same delivery twice; ids are the wire's, times nanoseconds.

    `span_id` and `parent_id` are the eight bytes as a signed integer, 0 meaning none, because the store
    keys on them. `label` is the model or the tool, `source` the instrumentation (its scope's name), `caller`
    what the credential that sent it says of who pays, `model` that of the tokens that a tool tells of. A
    NamedTuple because it is made for every span.
    """

    trace_id: bytes
    span_id: int
    parent_id: int
    role: int
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    identity: Identity = NOBODY
    label: str = ""
    provider: str = ""
    call_id: str = ""
    status: str = ""
    step_type: str = ""
    quality: str = ""
    tokens: Tokens | None = None
    reported_cost: str = ""
    recorded: Recorded | None = None
    source: str = ""
    caller: Identity = NOBODY
    model: str = ""


SpanFields: TypeAlias = tuple[
    bytes, int, int, int, str, int, int, bool, Identity, str, str, str, str, str, str, Tokens | None, str,
    Recorded | None, str, Identity, str,
]  # fmt: skip
span_of: Final[Callable[[SpanFields], Span]] = partial(tuple.__new__, Span)
"""`Span` of all its fields, in a third of the time that the named constructor takes."""


def bears_tokens(span: Span) -> bool:
    """Whether the span reports tokens that a provider may have charged for.

    Zero in and zero out is unknown rather than free, and a framework's cache answers for nothing.
    """
    tokens = span.tokens
    return tokens is not None and tokens.input + tokens.output > 0 and span.quality != "cached_response"


def span_id_text(span_id: int) -> str:
    """The wire's sixteen hex digits of a signed span id."""
    return f"{span_id & 0xFFFFFFFFFFFFFFFF:016x}"
