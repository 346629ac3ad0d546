"""Spans of the MCP SDK 2 and of FastMCP: a `tools/call` is a tool call, whatever else they trace bills nothing.

The SDK's client says only which method it sends and a request number; the tool is in the span's name,
`MCP send tools/call NAME`. `mcp.session.id` is a transport's session, in some versions one per request, and
no agent's.
"""

from __future__ import annotations

from typing import Final

from aforo_sdk import conventions as c

from .otel_genai import MCP_METHOD, TOOLS_CALL
from .values import Attributes
from .vocabulary import Dialect, stated


def _operation(attributes: Attributes, span_name: str) -> str:
    del span_name
    return c.EXECUTE_TOOL if stated(attributes, MCP_METHOD) == TOOLS_CALL else ""


MCP: Final = Dialect(
    name="mcp",
    scopes=("mcp-python-sdk", "fastmcp"),
    operation=_operation,
)
