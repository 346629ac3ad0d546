"""What a decorator or a middleware was told: who pays, what a call costs us, whether `_meta` is believed."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity
from opentelemetry.context import Context

from aforo_mcp.calls import amount_of, identity_of
from aforo_mcp.requests import NOBODY, Request

_MCP_SERVER: Final = Identity(product_type=c.MCP_SERVER)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of metering. `cost` is what each call costs us, in USD; None where that is not fixed.

    `of_server` is the identity as that of an MCP server, unless it says that it is something else.
    """

    identity: Identity
    cost: Decimal | None = None
    trust_meta: bool = True
    of_server: Identity = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what does not change from call to call."""
        object.__setattr__(self, "of_server", self.identity.over(_MCP_SERVER))

    def payer(self, request: Request | None, around: Context | None = None) -> Identity:
        """Who a call is billed to: whom these terms name, then the request's `_meta`, then its access token,
        then the context (`around`, None = the current one) and the process; where nobody names a session, that
        of the legacy protocol, or the child of our proxy that this process is.
        """
        found, ambient = self.identity, plugin.current_identity(around)
        if ambient.product_type == c.AGENTIC_API and plugin.is_product_type_assumed():
            # Nobody has said that this server is anything but an MCP server.
            found = self.of_server
        if request is None or request.is_bare:
            return found.over(ambient)
        if self.trust_meta and request.meta:
            found = found.over(identity_of(request.meta))
        if self.trust_meta and request.headers:
            found = found.over(identity_of(request.headers))
        if request.caller is not NOBODY:
            found = found.over(request.caller)
        found = found.over(ambient)
        session_id = request.session_id or (request.link.session_id if request.link is not None else "")
        if session_id and found.session_id is None:
            found = found.over(Identity(session_id=session_id))
        return found


def cost_of_each(cost: object) -> Decimal | None:
    """The fixed cost of a call, in USD; what is no amount of zero or more is left out, with a warning."""
    if cost is None:
        return None
    amount = amount_of(cost)
    if not amount:
        plugin.warn_once(
            f"mcp.cost {cost!r}",
            f'aforo: @metered_tool(cost={cost!r}): not an amount of USD such as "0.01". The tool is metered '
            "without a cost.",
        )
        return None
    return Decimal(amount)
