"""What a decorator or a middleware was told: who pays, what a call costs us, whether `_meta` is believed."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from aforo_sdk import conventions as c
from aforo_sdk import plugin
from aforo_sdk.plugin import Identity, Inside
from opentelemetry import baggage
from opentelemetry.context import Context

from aforo_mcp import calls
from aforo_mcp.calls import amount_of, identity_of
from aforo_mcp.requests import NOBODY, Request

OPENINGS_MAX: Final = 1_024

_MCP_SERVER: Final = Identity(product_type=c.MCP_SERVER)


@dataclass(frozen=True, slots=True)
class Opening:
    """What the calls of a tool have in common that one payer makes in one version of the protocol; `name` is that
    of their spans.

    `attributes` are the encoded ones that their spans begin with; `carried` is the OpenTelemetry context that
    tells whoever is called from there who pays.
    """

    tool: str
    name: str
    payer: Identity
    attributes: bytes
    carried: Context


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of metering. `cost` is what each call costs us, in USD; None where that is not fixed.

    `of_server` is the identity as that of an MCP server, unless it says that it is something else.
    """

    identity: Identity
    cost: Decimal | None = None
    trust_meta: bool = True
    of_server: Identity = field(init=False, repr=False, compare=False)
    _openings: dict[tuple[str, str, bytes, bool], Opening] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        """Work out what does not change from call to call."""
        object.__setattr__(self, "of_server", self.identity.over(_MCP_SERVER))

    def opening(self, tool: str, request: Request | None, around: Context, place: Inside) -> Opening:
        """How the span of a call begins, in the context `around`, inside of `place`. Most requests say nothing of
        who calls: the same as last time, then.
        """
        version = "" if request is None else request.protocol_version
        if request is not None and request.told is not None:
            return opening_of(tool, version, self.payer(request, around))
        ambient = plugin.current_identity(around, place)
        key = tool, version, ambient.attributes, plugin.is_product_type_assumed()
        try:
            return self._openings[key]
        except KeyError:
            if len(self._openings) >= OPENINGS_MAX:
                self._openings.clear()
            opening = self._openings[key] = opening_of(tool, version, self.payer(request, around))
            return opening

    def payer(self, request: Request | None, around: Context | None = None) -> Identity:
        """Who a call is billed to: whom these terms name, then the request's `_meta`, then its access token,
        then the context (`around`, None = the current one) and the process; where nobody names a session, that
        of the legacy protocol, or the child of our proxy that this process is.
        """
        found, ambient = self.identity, plugin.current_identity(around)
        if ambient.product_type == c.AGENTIC_API and plugin.is_product_type_assumed():
            # Nobody has said that this server is anything but an MCP server.
            found = self.of_server
        told = None if request is None else request.told
        if told is None:
            return found.over(ambient)
        if self.trust_meta and told.meta:
            found = found.over(identity_of(told.meta))
        if self.trust_meta and told.headers:
            found = found.over(identity_of(told.headers))
        if told.caller is not NOBODY:
            found = found.over(told.caller)
        found = found.over(ambient)
        session_id = calls.session_of(told.session_id) or (
            told.link.session_id if told.link is not None else ""
        )
        if session_id and found.session_id is None:
            found = found.over(Identity(session_id=session_id))
        return found


def opening_of(tool: str, protocol_version: str, payer: Identity) -> Opening:
    """How the span of a call begins."""
    name, attributes = calls.opening_of(tool)
    attributes += payer.attributes
    if protocol_version:
        attributes += plugin.text(calls.PROTOCOL_VERSION, protocol_version)
    return Opening(tool, name, payer, attributes, carrying(payer, Context()))


def carrying(payer: Identity, context: Context) -> Context:
    """A context that also tells who pays, in W3C baggage."""
    for key, value in payer.items():
        context = baggage.set_baggage(key, value, context)
    return context


def cost_of_each(cost: object) -> Decimal | None:
    """The fixed cost of a call, in USD; what is no amount of zero or more is left out, with a warning."""
    if cost is None:
        return None
    amount = amount_of(cost)
    if not amount:
        given = plugin.shown(cost)
        plugin.warn_once(
            f"mcp.cost {given}",
            f'aforo: @metered_tool(cost={given}): not an amount of USD such as "0.01". The tool is metered '
            "without a cost.",
        )
        return None
    return Decimal(amount)
