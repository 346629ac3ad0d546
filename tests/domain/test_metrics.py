"""Billable units and the metrics that exist without set-up."""

from __future__ import annotations

import pytest
from aforo_collector.domain.metrics import (
    PRODUCT_TYPES,
    TEMPLATES,
    metric_name,
    prefix_of,
    tool_metric_of,
)

WEBHOOK_PREFIXES = ("stripe.", "twilio.", "sendgrid.", "github.", "slack.")
SHARED_UNITS = (
    "steps input_tokens output_tokens reasoning_tokens cache_read_tokens cache_write_tokens provider_cost "
    "sessions session_seconds"
).split()


def test_every_product_type_has_its_templates() -> None:
    """Each metric that a span can become must exist without set-up, and nothing else but api_calls."""
    expected = {"api_calls", "ai_agent.capability_invocations", "mcp_server.tool_invocations"}
    expected |= {f"{prefix}.tool_calls" for prefix in ("api", "agentic_api", "ai_agent")}
    expected |= {metric_name(kind, unit) for kind in PRODUCT_TYPES for unit in SHARED_UNITS}
    pushed = {name for name in TEMPLATES if name.startswith(WEBHOOK_PREFIXES)}
    assert set(TEMPLATES) - pushed == expected
    assert len(pushed) == 22
    assert {unit.aggregation for unit in TEMPLATES.values()} == {"SUM"}


@pytest.mark.parametrize(
    ("product_type", "prefix", "tools"),
    [
        ("API", "api", "api.tool_calls"),
        ("AGENTIC_API", "agentic_api", "agentic_api.tool_calls"),
        ("AI_AGENT", "ai_agent", "ai_agent.tool_calls"),
        ("MCP_SERVER", "mcp_server", "mcp_server.tool_invocations"),
        ("SOMETHING", "agentic_api", "agentic_api.tool_calls"),
        (None, "agentic_api", "agentic_api.tool_calls"),
    ],
)
def test_the_prefix_follows_the_product_type(product_type: str | None, prefix: str, tools: str) -> None:
    """The four types must have their prefixes, and anything else that of AGENTIC_API."""
    assert prefix_of(product_type) == prefix
    assert tool_metric_of(product_type) == tools
