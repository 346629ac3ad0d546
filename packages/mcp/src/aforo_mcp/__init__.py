"""Meters MCP servers: a decorator, a middleware, and a proxy for servers that one cannot change."""

from aforo_mcp.decorator import metered_tool
from aforo_mcp.middleware import AforoMiddleware
from aforo_mcp.reports import report_cost, report_usage

__all__ = ["AforoMiddleware", "metered_tool", "report_cost", "report_usage"]
