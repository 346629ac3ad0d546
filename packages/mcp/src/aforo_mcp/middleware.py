"""The middleware: one object that the MCP SDK from 2.0 on and FastMCP from 3 on both take."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aforo_sdk.plugin import Identity

from aforo_mcp.calls import TOOLS_CALL
from aforo_mcp.metering import begin, end
from aforo_mcp.requests import Request, request_of, warn_of
from aforo_mcp.terms import Terms

if TYPE_CHECKING:  # FastMCP calls every middleware the same way, but asks type checkers for its own class
    from fastmcp.server.middleware import Middleware as _Middleware
else:
    _Middleware = object


class AforoMiddleware(_Middleware):
    """Meters every call of a tool that passes a server: `MCPServer(…, middleware=[AforoMiddleware()])`,
    `FastMCP(…, middleware=[AforoMiddleware()])`.

    The arguments say who pays, before what the request says; `trust_meta=False` ignores the identity in the
    request's `_meta`, which is whatever the client likes to state. Other requests and notifications pass
    untouched, so do results and exceptions. Never raises.
    """

    def __init__(
        self,
        customer_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        *,
        team_id: str | None = None,
        app_id: str | None = None,
        product_type: str | None = None,
        trust_meta: bool = True,
    ) -> None:
        stated = Identity(customer_id, team_id, agent_id, app_id, session_id, product_type)
        self._terms = Terms(stated, trust_meta=trust_meta)

    async def __call__(self, ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        """Pass a message on; meter it if it is a request that calls a tool."""
        if getattr(ctx, "method", None) != TOOLS_CALL:
            return await call_next(ctx)
        layer = begin(self._terms, _called, ctx, is_body=False)
        try:
            result = await call_next(ctx)
        except BaseException as error:
            end(layer, error)
            raise
        end(layer, result)
        return result

    async def check_resource_access(self, context: Any) -> None:
        """FastMCP asks every middleware whether a resource may be read: metering forbids nothing."""


def _called(context: Any) -> tuple[str, Request | None] | None:
    """The tool that is called, and the request that calls it, from a context of the SDK or of FastMCP; None for
    a notification, which calls nothing.
    """
    message = getattr(context, "message", None)
    if message is None:
        request = request_of(context)
        if request is None or (request.request_id is None and hasattr(context, "request_id")):
            return None
        if not request.tool and not hasattr(context, "params"):
            warn_of(
                "mcp", "`params` in the context of middleware", "its calls are metered without a tool name"
            )
        return request.tool, request
    if getattr(context, "type", "") == "notification":
        return None
    if not hasattr(context, "fastmcp_context"):
        lost = "its calls are metered without the request's `_meta`, session and access token"
        warn_of("fastmcp", "`fastmcp_context` in the context of middleware", lost)
    request = request_of(getattr(getattr(context, "fastmcp_context", None), "request_context", None))
    return str(getattr(message, "name", "")), request
