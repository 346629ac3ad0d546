"""One call of each sort that a bill knows, and what every dialect has to make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from aforo_collector.domain.span import Role, Span, Tokens
from hypothesis import strategies as st

Kind = Literal["chat", "embeddings", "tool", "agent", "workflow", "retriever"]


@dataclass(frozen=True, slots=True)
class Call:
    """What happened; `tokens` is None where the provider reported nothing."""

    kind: Kind
    tokens: Tokens | None = None
    failed: bool = False
    streamed: bool = False
    provider: str = "openai"
    model: str = "gpt-4o-mini"
    name: str = "research"
    """The tool's or the agent's."""
    call_id: str = ""
    session: str = "thread-7"


class Read(NamedTuple):
    """The part of a `Span` that decides what is billed, to whom, and what it is joined with."""

    role: int
    label: str = ""
    provider: str = ""
    call_id: str = ""
    status: str = ""
    step_type: str = ""
    quality: str = ""
    tokens: Tokens | None = None
    session: str = ""


def read_of(span: Span) -> Read:
    """That part of a span."""
    return Read(
        span.role, span.label, span.provider, span.call_id, span.status, span.step_type, span.quality, span.tokens,
        span.identity.session_id,
    )  # fmt: skip


def expected(call: Call) -> Read:
    """What a dialect that can say everything makes of a call."""
    match call.kind:
        case "chat" | "embeddings":
            return Read(
                Role.MODEL, call.model, call.provider, call.call_id, step_type="MODEL_CALL", quality=_quality(call),
                tokens=call.tokens, session=call.session,
            )  # fmt: skip
        case "tool":
            status = "ERROR" if call.failed else "SUCCESS"
            return Read(
                Role.TOOL, call.name, call_id=call.call_id, status=status, step_type="TOOL_CALL",
                session=call.session,
            )  # fmt: skip
        case "agent" | "workflow":
            if call.tokens is not None:
                return Read(
                    Role.AGENT, call.model, call.provider, quality="rolled_up", tokens=call.tokens,
                    session=call.session,
                )  # fmt: skip
            return Read(Role.AGENT, call.name, session=call.session)
        case "retriever":
            return Read(Role.OTHER, session=call.session)


def _quality(call: Call) -> str:
    if call.tokens is None:
        return "missing"
    return "reported" if call.failed or call.tokens.input or call.tokens.output else "zero_on_success"


CANON = {
    "plain chat": Call("chat", Tokens(120, 30), call_id="chatcmpl-1"),
    "streamed chat": Call(
        "chat", Tokens(260, 50, cache_read=80, reasoning=16), streamed=True, call_id="chatcmpl-2"
    ),
    "cache write": Call(
        "chat",
        Tokens(5000, 40, cache_read=1000, cache_write=3000),
        provider="anthropic",
        model="claude-sonnet-4-5",
        call_id="msg_3",
    ),
    "thinking": Call(
        "chat",
        Tokens(100, 900, reasoning=700),
        provider="gcp.gemini",
        model="gemini-2.5-pro",
        call_id="resp_4",
    ),
    "audio": Call("chat", Tokens(300, 200, audio_in=250, audio_out=180), call_id="chatcmpl-5"),
    "embeddings": Call("embeddings", Tokens(42, 0), model="text-embedding-3-small"),
    "failed call": Call("chat", failed=True),
    "missing tokens": Call("chat", call_id="chatcmpl-6"),
    "zero on success": Call("chat", Tokens(), call_id="chatcmpl-7"),
    "tool": Call("tool", call_id="call_1"),
    "failed tool": Call("tool", failed=True, call_id="call_2"),
    "agent": Call("agent", name="guide"),
    "agent with totals": Call("agent", Tokens(380, 80, cache_read=80, reasoning=16), name="guide"),
    "workflow": Call("workflow", name=""),
    "retriever": Call("retriever", name="wiki"),
}


@st.composite
def model_calls(draw: st.DrawFn) -> Call:
    """Successful calls of a model with counts of which the parts fit into the totals."""
    counts = st.integers(1, 2_000_000)
    given_in, given_out = draw(counts), draw(counts)
    cached = draw(st.integers(0, given_in))
    audio_in = draw(st.integers(0, given_in))
    written = draw(st.integers(0, given_in - cached))
    tokens = Tokens(
        given_in,
        given_out,
        cache_read=cached,
        cache_write=written,
        reasoning=draw(st.integers(0, given_out)),
        audio_in=audio_in,
        audio_out=draw(st.integers(0, given_out)),
    )
    provider = draw(st.sampled_from(["openai", "anthropic", "aws.bedrock", "gcp.gemini", "azure.ai.openai"]))
    return Call("chat", tokens, streamed=draw(st.booleans()), provider=provider, call_id="chatcmpl-8")
