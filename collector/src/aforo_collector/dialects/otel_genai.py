"""OpenTelemetry GenAI and MCP conventions, old and new names, and our own attributes.

Names moved during 2025 and 2026 (`prompt_tokens` to `input_tokens`, `cache_creation` to `cache_write`,
`gen_ai.system` to `gen_ai.provider.name`), so each meaning has a tuple of names, newest first.
"""

from __future__ import annotations

from aforo_collector.domain.identity import NOBODY, Identity, identity_from
from aforo_collector.domain.money import MoneyError, decimal_of, plain
from aforo_collector.domain.span import Recorded, Role, Span, Tokens, span_of, tokens_of

from .providers import provider_of
from .values import TEXT_LENGTH_MAX, TOKENS_MAX, Attributes, SpanError, Value, count_of, identifier

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
MCP_METHOD = "mcp.method.name"
TOOLS_CALL = "tools/call"

AMOUNT_LENGTH_MAX = 40
_IN = "gen_ai.usage.input_tokens"
_OUT = "gen_ai.usage.output_tokens"
_CACHED = "gen_ai.usage.cache_read.input_tokens"
COUNTS = (
    (_IN, "gen_ai.usage.prompt_tokens"),
    (_OUT, "gen_ai.usage.completion_tokens"),
    (_CACHED, "gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.input_tokens.cached"),
    (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
    ),
    ("aforo.usage.cache_write_5m",),
    ("aforo.usage.cache_write_1h",),
    (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.thinking_tokens",
        "gen_ai.usage.output_tokens.reasoning",
    ),
    ("gen_ai.usage.audio.input_tokens",),
    ("gen_ai.usage.audio.output_tokens",),
)
"""The names of each count of `Tokens`, in its order."""
_MODEL = ("gen_ai.response.model", "gen_ai.request.model")


Frame = tuple[bytes, int, int, str, int, int, bool, str]
"""What a span says outside of its attributes: trace id, span id, parent id, name, start, end, failed, source."""


def translate(attributes: Attributes, resource: Identity, frame: Frame) -> Span:
    """Make a `Span` of one set of attributes; raises `SpanError` with the reason when it cannot."""
    trace_id, span_id, parent_id, name, start_ns, end_ns, failed, source = frame
    if len(name) > TEXT_LENGTH_MAX:
        name = name[:TEXT_LENGTH_MAX]
    role = OTHER
    if "gen_ai.operation.name" in attributes:
        role = ROLES.get(attributes["gen_ai.operation.name"].s, OTHER)
    elif "aforo.operation.name" in attributes:
        role = OWN_ROLES.get(attributes["aforo.operation.name"].s, OTHER)
    elif MCP_METHOD in attributes and attributes[MCP_METHOD].s == TOOLS_CALL:
        role = TOOL
    label = provider = call_id = status = step = quality = cost = model = ""
    tokens = recorded = None
    if role == MODEL:
        tokens = _tokens(attributes)
        label, provider = _text(attributes, _MODEL), _provider(attributes)
        if "gen_ai.response.id" in attributes:
            call_id = _short(attributes, "gen_ai.response.id")
        step = _step(attributes, "MODEL_CALL")
        quality = _quality(attributes, tokens, failed)
    elif role == TOOL:
        label = _short(attributes, "gen_ai.tool.name") or _tool_in(name)
        if "gen_ai.tool.call.id" in attributes:
            call_id = _short(attributes, "gen_ai.tool.call.id")
        status = _execution_status(attributes, failed)
        step = _step(attributes, "TOOL_CALL")
        if "aforo.provider_cost" in attributes:
            cost = _amount(attributes, "aforo.provider_cost")
        tokens = _tokens(attributes)
        if tokens is not None and tokens[0] + tokens[1]:
            model, provider = _text(attributes, _MODEL), _provider(attributes)
        else:
            tokens = None
    elif role == AGENT:
        tokens = _tokens(attributes)
        label = _text(attributes, _MODEL) if tokens else _short(attributes, "gen_ai.agent.name")
        provider = _provider(attributes)
        quality = "rolled_up" if tokens else _short(attributes, "aforo.usage.quality")
    elif role == USAGE:
        recorded = _recorded(attributes)
    return span_of((
        trace_id, span_id, parent_id, role, name, start_ns, end_ns, failed, identity_of(attributes, resource),
        label, provider, call_id, status, step, quality, tokens, cost, recorded, source, NOBODY,
        model,
    ))  # fmt: skip


def identity_of(attributes: Attributes, resource: Identity = NOBODY) -> Identity:
    """The identity that a span, or a resource, states; what it leaves open is the resource's."""
    customer, team, agent, app, product, session = resource
    if "aforo.customer.id" in attributes:
        customer = identifier(attributes, "aforo.customer.id")
    if "aforo.team.id" in attributes:
        team = identifier(attributes, "aforo.team.id")
    if "aforo.agent.id" in attributes:
        agent = identifier(attributes, "aforo.agent.id")
    elif "gen_ai.agent.id" in attributes:
        agent = identifier(attributes, "gen_ai.agent.id")
    if "aforo.app.id" in attributes:
        app = identifier(attributes, "aforo.app.id")
    if "aforo.product.type" in attributes:
        product = identifier(attributes, "aforo.product.type")
    if "aforo.session.id" in attributes:
        session = identifier(attributes, "aforo.session.id")
    elif "gen_ai.conversation.id" in attributes:
        session = identifier(attributes, "gen_ai.conversation.id") or session
    elif "gen_ai.session.id" in attributes:  # OpenLIT's
        session = identifier(attributes, "gen_ai.session.id") or session
    elif "langfuse.session.id" in attributes:
        session = identifier(attributes, "langfuse.session.id") or session
    return identity_from((customer, team, agent, app, product, session))


def _tokens(attributes: Attributes) -> Tokens | None:
    # Most calls report the first three counts under their new names and none of the others, and asking with
    # `in` costs less than calling anything: one chain of it keeps the common case short.
    if (
        _IN not in attributes or _OUT not in attributes
        or "gen_ai.usage.cache_read_input_tokens" in attributes
        or "gen_ai.usage.input_tokens.cached" in attributes
        or "gen_ai.usage.cache_write.input_tokens" in attributes
        or "gen_ai.usage.cache_creation.input_tokens" in attributes
        or "gen_ai.usage.cache_creation_input_tokens" in attributes
        or "gen_ai.usage.cache_write_input_tokens" in attributes
        or "aforo.usage.cache_write_5m" in attributes or "aforo.usage.cache_write_1h" in attributes
        or "gen_ai.usage.reasoning.output_tokens" in attributes
        or "gen_ai.usage.reasoning_tokens" in attributes or "gen_ai.usage.thinking_tokens" in attributes
        or "gen_ai.usage.output_tokens.reasoning" in attributes
        or "gen_ai.usage.audio.input_tokens" in attributes or "gen_ai.usage.audio.output_tokens" in attributes
    ):  # fmt: skip
        return _all_tokens(attributes)
    given_in, given_out, cached = attributes[_IN].i, attributes[_OUT].i, 0
    if not (0 < given_in <= TOKENS_MAX and 0 < given_out <= TOKENS_MAX):
        return _all_tokens(attributes)
    if _CACHED in attributes:
        cached = attributes[_CACHED].i
        if not 0 < cached <= TOKENS_MAX:
            return _all_tokens(attributes)
    return tokens_of((given_in, given_out, cached, 0, 0, 0, 0, 0, 0))


def _all_tokens(attributes: Attributes) -> Tokens | None:
    given = [_count(attributes, names) for names in COUNTS]
    if given[0] is None and given[1] is None:
        return None
    return Tokens(*[count or 0 for count in given])


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


def _provider(attributes: Attributes) -> str:
    if "gen_ai.provider.name" in attributes:
        return _short(attributes, "gen_ai.provider.name")
    return provider_of(_short(attributes, "gen_ai.system"))  # the name and the spellings before that


def _tool_in(name: str) -> str:
    """The tool that an MCP span's name names: `tools/call NAME`, `MCP send tools/call NAME`."""
    _, is_call, tool = name.partition(TOOLS_CALL)
    return tool.strip() if is_call else name


def _step(attributes: Attributes, usual: str) -> str:
    return (_short(attributes, "aforo.step.type") or usual) if "aforo.step.type" in attributes else usual


def _quality(attributes: Attributes, tokens: Tokens | None, failed: bool) -> str:
    if "aforo.usage.quality" in attributes and (stated := _short(attributes, "aforo.usage.quality")):
        return stated
    if tokens is None:
        return "missing"
    return "reported" if tokens[0] or tokens[1] or failed else "zero_on_success"


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
    said = value.s or (repr(value.d) if value.d else str(value.i))
    try:
        text = plain(decimal_of(said))
    except MoneyError:
        text = ""
    if not text or text.startswith("-") or len(text) > AMOUNT_LENGTH_MAX:
        raise SpanError(f"{key} is {said[:40]!r}, not an amount of zero or more")
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
        identifier(attributes, key) if key in attributes else "",
        attributes[metadata].s if metadata in attributes else "",
    )
