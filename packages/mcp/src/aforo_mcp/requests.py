"""A `tools/call` as the server's framework shows it, whichever framework that is.

Read by shape, so that none of them is imported here: the request contexts of the MCP SDK 1.x and 2.x and of
FastMCP 3 and 4 have the same fields, give or take. What one of them does not have is left empty.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aforo_sdk import plugin
from aforo_sdk.plugin import Identity

from aforo_mcp import links
from aforo_mcp.calls import ID_LENGTH_MAX, identity_of, parent_of
from aforo_mcp.links import Link, Place

MODERN_PROTOCOL: Final = "2026-07-28"
"""From this version on there is no protocol session: an id that looks like one means nothing."""

_NOTHING: Final[Mapping[str, Any]] = {}
NOBODY: Final = Identity()
_VALUES: Final = frozenset({str, int, float, bool, list, dict, type(None)})
"""What most arguments are: JSON."""
_FIELDS: Final = ("session", "request_id", "protocol_version", "meta", "request")


class Told(NamedTuple):
    """What a request says of who calls, and from where; each part may be empty.

    `meta` is its `_meta`; `link` ties it to a proxy of ours. Over HTTP there are `headers`, `caller` is whom the
    access token is for, and `session_id` the `Mcp-Session-Id` of the legacy protocol.
    """

    meta: Mapping[str, Any]
    link: Link | None
    headers: Mapping[str, str] = _NOTHING
    caller: Identity = NOBODY
    session_id: str = ""

    @property
    def parent(self) -> tuple[int, int] | None:
        """(trace id, span id) of the caller's span, if it says one."""
        return parent_of(self.meta) or parent_of(self.headers)


@dataclass(slots=True, eq=False, init=False)
class Request:
    """One JSON-RPC request. What is not known is empty.

    `session` is the framework's own object for the connection: with the request's id it tells one request
    from another. `tool` is the name that the client asked for. `state` is that of the earlier round of the call
    whose questions it answers, None if it begins one. `told` is None where it says neither who calls nor from
    where, as most do over stdio. It is made for every call, and filled in without an `__init__`, which would
    take longer than the rest.
    """

    session: object
    request_id: object
    tool: str
    protocol_version: str
    state: str | None
    told: Told | None

    def is_same(self, other: "Request") -> bool:
        """Whether both are views of one request."""
        return self.session is other.session and self.request_id == other.request_id

    def place(self, tool: str) -> Place:
        """Where the call of `tool` that it asks for stands."""
        if self.told is None:
            return links.NOWHERE
        return links.place_of(self.told.parent, self.told.link, self.request_id, tool)


def request_of(context: Any) -> Request | None:
    """The request behind a request context of the SDK (any version) or of FastMCP; None if there is none."""
    if context is None:
        return None
    request = Request()
    try:
        request.session, request.request_id = context.session, context.request_id
        spoken, meta, http = context.protocol_version, context.meta, context.request
    except AttributeError:
        found = (getattr(context, name, None) for name in _FIELDS)
        request.session, request.request_id, spoken, meta, http = found
    params = getattr(context, "params", None)
    if params is None:  # FastMCP 4 keeps the SDK's own context, which has them, inside of its own
        params = getattr(getattr(context, "_srctx", None), "params", None) or _NOTHING
    tool = params.get("name")
    request.tool = tool if type(tool) is str else str(tool or "")
    request.state = None
    if "requestState" in params or "inputResponses" in params:
        request.state = str(params.get("requestState") or "")
    request.told = None
    if meta or http is not None or links.inherited is not None:
        spoken, request.told = _told(meta, http, spoken or "")
    request.protocol_version = spoken or ""
    return request


def request_among(*arguments: object) -> Request | None:
    """The request that a running tool function serves: from a context among its arguments, else from the
    context variable of the framework that calls it. None outside of a request.
    """
    for argument in arguments:
        if type(argument) in _VALUES:
            continue
        try:
            # The context of the SDK 2.x is a model, and its property asks pydantic, which takes long.
            context = argument.__pydantic_private__["_request_context"]  # type: ignore[attr-defined]
        except (AttributeError, KeyError, TypeError):
            context = _stated_by(argument)
        if context is not None:
            return request_of(context)
    return _of_fastmcp() or _of_sdk_1()


def _stated_by(argument: object) -> Any:
    try:
        return getattr(argument, "request_context", None)
    except (LookupError, ValueError):  # a context of the SDK's that belongs to no request
        return None


def warn_of(distribution: str, feature: str, consequence: str) -> None:
    """Say once that a framework has changed its shape, and what that means for metering."""
    plugin.warn_once(f"mcp.{feature}", f"aforo: {release_of(distribution)} has no {feature}: {consequence}.")


@lru_cache
def release_of(distribution: str) -> str:
    """A framework and its version; only its name if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution


def _of_fastmcp() -> Request | None:
    module = sys.modules.get("fastmcp.server.dependencies")
    if module is None:
        return None
    try:
        context = module.get_context()
    except RuntimeError:  # the tool is not called by a server of FastMCP's
        return None
    except AttributeError:
        _cannot_see("fastmcp", "fastmcp.server.dependencies.get_context")
        return None
    return request_of(context.request_context)


def _of_sdk_1() -> Request | None:
    module = sys.modules.get("mcp.server.lowlevel.server")
    if module is None or "mcp.server.mcpserver" in sys.modules:
        return None  # from 2.0 on the SDK hands its context in as an argument
    try:
        return request_of(module.request_ctx.get(None))
    except AttributeError:
        _cannot_see("mcp", "mcp.server.lowlevel.server.request_ctx")
        return None


def _cannot_see(distribution: str, feature: str) -> None:
    warn_of(
        distribution,
        feature,
        "@metered_tool meters its calls without the request's `_meta`, session and access token",
    )


def _told(meta: object, http: Any, spoken: str) -> tuple[str, Told]:
    """(version of the protocol, what is told) by a request's `_meta`, by HTTP, and by who started this process."""
    if not isinstance(meta, Mapping):
        meta = getattr(meta, "model_extra", None)  # the SDK 1.x has a model, which keeps unknown keys apart
    if http is None:
        return spoken, Told(meta or _NOTHING, links.inherited)
    headers = getattr(http, "headers", None) or _NOTHING
    spoken = spoken or headers.get("mcp-protocol-version") or ""
    session_id = "" if spoken >= MODERN_PROTOCOL else headers.get("mcp-session-id") or ""
    link = links.of_header(headers.get(links.HEADER))
    return spoken, Told(meta or _NOTHING, link, headers, _caller(http), session_id)


def _caller(http: Any) -> Identity:
    """Whom the request's access token is for: its claims may name the payer, its client is the agent."""
    scope = getattr(http, "scope", None)
    user = scope.get("user") if isinstance(scope, Mapping) else None
    token = getattr(user, "access_token", None)
    if token is None:
        return NOBODY
    stated = identity_of(getattr(token, "claims", None))
    names = (stated.agent_id, getattr(token, "client_id", None), getattr(token, "subject", None))
    agent = next((name for name in names if name and len(str(name)) <= ID_LENGTH_MAX), None)
    # A session among the claims is the identity provider's, none of an agent's.
    return Identity(stated.customer_id, stated.team_id, agent, stated.app_id)
