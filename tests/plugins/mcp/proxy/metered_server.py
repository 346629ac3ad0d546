"""A real MCP server whose tool is metered already, behind whatever else meters it."""

from typing import Any

from aforo_mcp import metered_tool

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:
    from mcp.server.fastmcp import FastMCP as MCPServer

server: Any = MCPServer("sums")


@server.tool()
@metered_tool
def add(a: int, b: int) -> int:
    """Return the sum of two numbers."""
    return a + b


if __name__ == "__main__":
    server.run("stdio")
