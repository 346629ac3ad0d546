"""What a call of an MCP tool says: how it ended, who it is for, under which span it stands, what it cost.

Shapes as on the wire (plain JSON values) or as the Python SDKs make of them (objects with the same fields in
snake_case): both are read, neither is imported. Nothing trusts a shape, nothing raises. Pure.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

from aforo_sdk import conventions as c
from aforo_sdk.plugin import (
    USAGE_KEYS,
    Identity,
    counts,
    error_type_of,
    text,
    text_once,
    tokens_of_usage,
)

TOOLS_CALL: Final = "tools/call"
METHOD_NAME: Final = "mcp.method.name"
MCP_SESSION_ID: Final = "mcp.session.id"
PROTOCOL_VERSION: Final = "mcp.protocol.version"
REQUEST_ID: Final = "jsonrpc.request.id"

SUCCESS: Final = "SUCCESS"
ERROR: Final = "ERROR"
TIMEOUT: Final = "TIMEOUT"
CANCELLED: Final = "CANCELLED"

# Values of `error.type` that are more than an error to whoever reads the span.
TIMED_OUT: Final = "TimeoutError"
WAS_CANCELLED: Final = "CancelledError"

_NO_FIELDS: Final[dict[str, Any]] = {}

AMOUNT_LENGTH_MAX: Final = 40
BAGGAGE_LENGTH_MAX: Final = 8_192
CAUSES_MAX: Final = 4
ID_LENGTH_MAX: Final = 255
"""What the collector takes. Longer ids are taken for nonsense and ignored: a cut id would be somebody else's."""

_TIMEOUT_CODE: Final = -32001
_CANCELLED_CODE: Final = -32800
_CODES: Final = range(-32768, -31999)
"""What JSON-RPC keeps for itself and its servers; other exceptions have a `code` too."""

# The names under which clients state identity in `_meta`, the most explicit first.
_IDENTITY: Final[Mapping[str, tuple[str, ...]]] = {
    "customer_id": (c.CUSTOMER_ID, "customerId", "customer_id"),
    "team_id": (c.TEAM_ID, "teamId", "team_id"),
    "agent_id": (c.AFORO_AGENT_ID, c.AGENT_ID, "agentId", "agent_id"),
    "app_id": (c.APP_ID, "appId", "app_id"),
    "session_id": (
        c.SESSION_ID,
        c.CONVERSATION_ID,
        "sessionId",
        "session_id",
        "conversationId",
        "conversation_id",
    ),
}
_NOBODY: Final = Identity()
_COSTS: Final = (c.PROVIDER_COST, "total_provider_cost", "totalProviderCost")
_COST_KEYS: Final = frozenset({*_COSTS, "usage", *USAGE_KEYS})
"""Where none of these stands, nothing is reported."""
_ON_WIRE: Final = ("isError", "resultType", "structuredContent", "_meta")
_IN_PYTHON: Final = ("is_error", "result_type", "structured_content", "meta")
_COMPLETE: Final = (None, "complete")
PLAIN: Final[dict[str, Any]] = {"isError": False}
"""A success that says nothing."""


class Reported(NamedTuple):
    """What a tool says that it used up: USD as decimal text ("" = not said), tokens by attribute name."""

    cost: str = ""
    tokens: Mapping[str, int] = {}

    @property
    def attributes(self) -> bytes:
        """The same as encoded span attributes."""
        cost = text_once(c.PROVIDER_COST, self.cost) if self.cost else b""
        return cost + counts(self.tokens)


NOTHING: Final = Reported()
"""What most tools say."""


@lru_cache(maxsize=1024)
def opening_of(name: str) -> tuple[str, bytes]:
    """(name, encoded attributes) that every span of a call of tool `name` begins with; its kind is SERVER."""
    attributes = (
        text(c.OPERATION_NAME, c.EXECUTE_TOOL)
        + text(METHOD_NAME, TOOLS_CALL)
        + text(c.TOOL_NAME, name)
        + text(c.STEP_TYPE, c.STEP_TOOL_CALL)
    )
    return f"{TOOLS_CALL} {name}" if name else TOOLS_CALL, attributes


def is_plain(result: object) -> bool:
    """Whether a result is a success that says nothing but its content, as most are: in one look."""
    if result is PLAIN:
        return True
    if type(result) is dict:
        said, (failed, kind, structured, meta) = result, _ON_WIRE
    else:
        said, (failed, kind, structured, meta) = getattr(result, "__dict__", _NO_FIELDS), _IN_PYTHON
    if failed not in said or said[failed] is not False or "content" not in said:
        return False
    known = 2
    if structured in said:
        if not _is_silent(said[structured]):
            return False
        known = 3
    if known == len(said):
        return True
    if meta in said:
        if not _is_silent(said[meta]):
            return False
        known += 1
    if kind in said:
        if said[kind] not in _COMPLETE:
            return False
        known += 1
    return known == len(said)


def asked_by(result: object) -> object:
    """The result in which input is asked for: FastMCP wraps that into one of its own."""
    return _fields(result).get("input_required") or result


def error_type_of_answer(answer: object) -> str:
    """The `error.type` of what came of a call, "" for a success.

    `answer` is a result (dict or object), a JSON-RPC error object, or an exception. Only `isError` that is
    literally true is an error. The values that stand for more than an error: "TimeoutError" and "-32001"
    (TIMEOUT), "CancelledError" (CANCELLED).
    """
    if isinstance(answer, BaseException):
        return _type_of_exception(answer)
    fields = _fields(answer)
    code = fields.get("code") if fields.get("content") is None else None
    if type(code) is int:
        if code == _CANCELLED_CODE or (code == 0 and fields.get("message") == "Request cancelled"):
            return WAS_CANCELLED
        return str(code)
    return c.TOOL_ERROR if _either(fields, "isError", "is_error") is True else ""


def status_of(answer: object) -> str:
    """The execution status of what came of a call: SUCCESS, ERROR, TIMEOUT or CANCELLED."""
    error_type = error_type_of_answer(answer)
    if not error_type:
        return SUCCESS
    if error_type == WAS_CANCELLED:
        return CANCELLED
    return TIMEOUT if error_type in (TIMED_OUT, str(_TIMEOUT_CODE)) else ERROR


def is_interim(result: object) -> bool:
    """Whether a result only asks for input (2026-07-28): the request will be sent again, as the same call."""
    return bool(_either(_fields(result), "resultType", "result_type") == "input_required")


def identity_of(meta: object) -> Identity:
    """Who a request's `_meta` says it is for: its own keys first, then its W3C baggage.

    No product type: what the caller is billed as says nothing about this server.
    """
    if not meta or not isinstance(meta, Mapping):
        return _NOBODY
    carried = _baggage(meta.get("baggage"))
    stated = {
        field: _stated(meta, names) or _stated(carried, names[:2]) for field, names in _IDENTITY.items()
    }
    return Identity(**stated) if any(stated.values()) else _NOBODY


def session_of(transport_session_id: str) -> str:
    """The session that one of the legacy protocol is billed as: its id, or a digest of one that is too long, as a JWT
    is (the protocol allows it).
    """
    if len(transport_session_id) <= ID_LENGTH_MAX:
        return transport_session_id
    digest = blake2b(transport_session_id.encode(errors="replace"), digest_size=16)
    return f"mcp-session-{digest.hexdigest()}"


def parent_of(meta: object) -> tuple[int, int] | None:
    """(trace id, span id) of `_meta.traceparent` (W3C, SEP-414), sampled or not; None if there is none."""
    given = meta.get("traceparent") if isinstance(meta, Mapping) else None
    if not isinstance(given, str):
        return None
    parts = given.strip().split("-")
    if [len(part) for part in parts[:4]] != [2, 32, 16, 2] or not given.isascii():
        return None
    if parts[0] in ("ff", "FF") or (parts[0] == "00" and len(parts) != 4):
        return None
    try:
        trace_id, span_id = int(parts[1], 16), int(parts[2], 16)
    except ValueError:
        return None
    return (trace_id, span_id) if trace_id and span_id else None


def cost_of(result: object) -> Reported:
    """What a result reports in its `_meta`, else in its structured content: `total_provider_cost`, tokens.

    Tokens stand beside it or in `usage`, under any provider's names. An amount that is none is left out.
    """
    cost = ""
    tokens: dict[str, int] = {}
    fields = _fields(result)
    meta, content = (
        _either(fields, "_meta", "meta"),
        _either(fields, "structuredContent", "structured_content"),
    )
    for part in (meta, content):
        if part and isinstance(part, Mapping) and not _COST_KEYS.isdisjoint(part):
            cost = cost or next((found for key in _COSTS if (found := amount_of(part.get(key)))), "")
            tokens = tokens or _tokens(part)
    return Reported(cost, tokens) if cost or tokens else NOTHING


def amount_of(value: object) -> str:
    """USD as plain decimal text; "" for what is no amount of zero or more. A float is taken as it prints."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return ""
    try:
        amount = (
            Decimal(str(value)) if not isinstance(value, str) or len(value) <= AMOUNT_LENGTH_MAX else None
        )
    except (InvalidOperation, ValueError):
        return ""
    if amount is None or not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > AMOUNT_LENGTH_MAX:
        return ""
    plain = format(abs(amount), "f")
    return plain if len(plain) <= AMOUNT_LENGTH_MAX else ""


def _is_silent(part: object) -> bool:
    """Whether a part of a result reports nothing."""
    return not part or (type(part) is dict and _COST_KEYS.isdisjoint(part))


def _type_of_exception(error: BaseException) -> str:
    cause: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if cause is None:
            break
        if isinstance(cause, TimeoutError):
            return TIMED_OUT
        if not isinstance(cause, Exception):  # asyncio's CancelledError among them
            return WAS_CANCELLED
        code = getattr(cause, "code", None) or _fields(getattr(cause, "error", None)).get("code")
        if type(code) is int and code in _CODES:
            return WAS_CANCELLED if code == _CANCELLED_CODE else str(code)
        cause = cause.__cause__
    return error_type_of(error)


def _tokens(part: Mapping[str, Any]) -> dict[str, int]:
    usage = part.get("usage")
    tokens = tokens_of_usage(usage) if isinstance(usage, Mapping) else {}
    return tokens or tokens_of_usage(part)


def _stated(values: Mapping[str, object], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = values.get(name)
        if type(value) is int:
            value = str(value)
        if isinstance(value, str) and 0 < len(value.strip()) <= ID_LENGTH_MAX:
            return value.strip()
    return None


def _baggage(header: object) -> Mapping[str, str]:
    """W3C baggage: `key=value;property, key=value`, values percent-encoded."""
    if not isinstance(header, str) or len(header) > BAGGAGE_LENGTH_MAX:
        return {}
    members = [member.partition(";")[0].partition("=") for member in header.split(",")]
    return {unquote_plus(key.strip()): unquote_plus(value.strip()) for key, sign, value in members if sign}


def _fields(result: object) -> Mapping[str, Any]:
    """The fields of a result. Those of an object are looked up where they stand: models take long to say that
    they lack one, and FastMCP 4 warns whoever asks for a name on the wire.
    """
    if type(result) is dict or isinstance(result, Mapping):
        return result
    fields: Mapping[str, Any] = getattr(result, "__dict__", _NO_FIELDS)
    return fields


def _either(fields: Mapping[str, Any], on_wire: str, in_python: str) -> Any:
    found = fields.get(on_wire)
    return fields.get(in_python) if found is None else found
