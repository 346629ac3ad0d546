"""OpenTelemetry GenAI and MCP conventions, old and new names, and our own attributes.

Names moved during 2025 and 2026 (`prompt_tokens` to `input_tokens`, `cache_creation` to `cache_write`,
`gen_ai.system` to `gen_ai.provider.name`), so each meaning has a tuple of names, newest first.
"""

from __future__ import annotations

from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.span import Recorded, Role, Span, Tokens

from .values import TEXT_LENGTH_MAX, Attributes, SpanError, Value, count_of, identifier

MODEL, TOOL, AGENT, OTHER = int(Role.MODEL), int(Role.TOOL), int(Role.AGENT), int(Role.OTHER)
USAGE, CLOSE = int(Role.USAGE), int(Role.CLOSE)
ROLES = {
    "chat": MODEL,
    "text_completion": MODEL,
    "generate_content": MODEL,
    "embeddings": MODEL,
    "execute_tool": TOOL,
    "invoke_agent": AGENT,
    "invoke_workflow": AGENT,
    "plan": AGENT,
}
"""Operations that bill or claim; all others are transparent (fetch_response polls, and is no second call)."""
OWN_ROLES = {"record_usage": USAGE, "session_end": CLOSE}

_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_CACHE_READ = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
_CACHE_WRITE = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.cache_write_input_tokens",
)
_CACHE_WRITE_5M = ("aforo.usage.cache_write_5m",)
_CACHE_WRITE_1H = ("aforo.usage.cache_write_1h",)
_REASONING = ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens")
_AUDIO_IN = ("gen_ai.usage.audio.input_tokens",)
_AUDIO_OUT = ("gen_ai.usage.audio.output_tokens",)
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system")
_MODEL = ("gen_ai.response.model", "gen_ai.request.model")
_AGENT_ID = ("aforo.agent.id", "gen_ai.agent.id")
_SESSION = ("aforo.session.id", "gen_ai.conversation.id")


Frame = tuple[bytes, int, int, str, int, int, bool]
"""What a span says outside of its attributes: trace id, span id, parent id, name, start, end, failed."""


def translate(attributes: Attributes, resource: Identity, frame: Frame) -> Span:
    """Make a `Span` of one set of attributes; raises `SpanError` with the reason when it cannot."""
    trace_id, span_id, parent_id, name, start_ns, end_ns, failed = frame
    if len(name) > TEXT_LENGTH_MAX:
        name = name[:TEXT_LENGTH_MAX]
    role = OTHER
    if "gen_ai.operation.name" in attributes:
        role = ROLES.get(attributes["gen_ai.operation.name"].s, OTHER)
    elif "aforo.operation.name" in attributes:
        role = OWN_ROLES.get(attributes["aforo.operation.name"].s, OTHER)
    elif "mcp.method.name" in attributes and attributes["mcp.method.name"].s == "tools/call":
        role = TOOL
    identity = identity_of(attributes, resource)
    if role == MODEL:
        tokens = _tokens(attributes)
        return Span(
            trace_id, span_id, parent_id, role, name, start_ns, end_ns, failed, identity,
            _text(attributes, _MODEL), _text(attributes, _PROVIDER), _short(attributes, "gen_ai.response.id"), "",
            _short(attributes, "aforo.step.type") or "MODEL_CALL", _quality(attributes, tokens, failed), tokens,
        )  # fmt: skip
    if role == TOOL:
        return Span(
            trace_id, span_id, parent_id, role, name, start_ns, end_ns, failed, identity,
            _short(attributes, "gen_ai.tool.name") or name.removeprefix("tools/call "), "",
            _short(attributes, "gen_ai.tool.call.id"), _execution_status(attributes, failed),
            _short(attributes, "aforo.step.type") or "TOOL_CALL", "", None, _amount(attributes, "aforo.provider_cost"),
        )  # fmt: skip
    if role == AGENT:
        tokens = _tokens(attributes)
        return Span(
            trace_id, span_id, parent_id, role, name, start_ns, end_ns, failed, identity,
            _text(attributes, _MODEL) if tokens else _short(attributes, "gen_ai.agent.name"),
            _text(attributes, _PROVIDER), quality="rolled_up" if tokens else "", tokens=tokens,
        )  # fmt: skip
    recorded = _recorded(attributes) if role == USAGE else None
    return Span(
        trace_id, span_id, parent_id, role, name, start_ns, end_ns, failed, identity, recorded=recorded
    )


def identity_of(attributes: Attributes, resource: Identity = NOBODY) -> Identity:
    """The identity that a span, or a resource, states; what it leaves open is the resource's."""
    customer, team, agent, app, product, session = resource
    if "aforo.customer.id" in attributes:
        customer = identifier("aforo.customer.id", attributes["aforo.customer.id"].s)
    if "aforo.team.id" in attributes:
        team = identifier("aforo.team.id", attributes["aforo.team.id"].s)
    for key in _AGENT_ID:
        if key in attributes:
            agent = identifier(key, attributes[key].s)
            break
    if "aforo.app.id" in attributes:
        app = identifier("aforo.app.id", attributes["aforo.app.id"].s)
    if "aforo.product.type" in attributes:
        product = identifier("aforo.product.type", attributes["aforo.product.type"].s)
    for key in _SESSION:
        if key in attributes:
            session = identifier(key, attributes[key].s)
            break
    return Identity(customer, team, agent, app, product, session)


def _tokens(attributes: Attributes) -> Tokens | None:
    given_in = _count(attributes, _INPUT)
    given_out = _count(attributes, _OUTPUT)
    if given_in is None and given_out is None:
        return None
    return Tokens(
        given_in or 0,
        given_out or 0,
        _count(attributes, _CACHE_READ) or 0,
        _count(attributes, _CACHE_WRITE) or 0,
        _count(attributes, _CACHE_WRITE_5M) or 0,
        _count(attributes, _CACHE_WRITE_1H) or 0,
        _count(attributes, _REASONING) or 0,
        _count(attributes, _AUDIO_IN) or 0,
        _count(attributes, _AUDIO_OUT) or 0,
    )


def _count(attributes: Attributes, names: tuple[str, ...]) -> int | None:
    for name in names:
        if name in attributes:
            return count_of(name, attributes[name])
    return None


def _text(attributes: Attributes, names: tuple[str, ...]) -> str:
    for name in names:
        if name in attributes and (text := attributes[name].s):
            return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX]
    return ""


def _short(attributes: Attributes, name: str) -> str:
    if name not in attributes:
        return ""
    text = attributes[name].s
    return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX]


def _quality(attributes: Attributes, tokens: Tokens | None, failed: bool) -> str:
    stated = _short(attributes, "aforo.usage.quality")
    if stated:
        return stated
    if tokens is None:
        return "missing"
    return "reported" if tokens.input or tokens.output or failed else "zero_on_success"


def _execution_status(attributes: Attributes, failed: bool) -> str:
    if "error.type" not in attributes:
        return "ERROR" if failed else "SUCCESS"
    kind = attributes["error.type"].s.rpartition(".")[2]
    if kind == "CancelledError":
        return "CANCELLED"
    return "TIMEOUT" if kind in ("TimeoutError", "-32001") else "ERROR"


def _amount(attributes: Attributes, key: str) -> str:
    """Decimal text of an amount, "" for none; a double is taken as the shortest text that reads back as it."""
    if key not in attributes:
        return ""
    value: Value = attributes[key]
    text = value.s or (repr(value.d) if value.d else str(value.i))
    whole, _, fraction = text.partition(".")
    if not (text.isascii() and len(text) <= 40 and whole.isdigit() and (fraction or "0").isdigit()):
        raise SpanError(f"{key} is {text[:40]!r}, not an amount of zero or more")
    return text


def _recorded(attributes: Attributes) -> Recorded:
    metric = _short(attributes, "aforo.metric.name")
    quantity = _amount(attributes, "aforo.quantity")
    if not metric or not quantity:
        raise SpanError("aforo.metric.name and aforo.quantity are both needed to record usage")
    key, metadata = "aforo.idempotency.key", "aforo.metadata"
    return Recorded(
        metric,
        quantity,
        identifier(key, attributes[key].s) if key in attributes else "",
        attributes[metadata].s if metadata in attributes else "",
    )
