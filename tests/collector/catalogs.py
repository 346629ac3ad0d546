"""A catalog as tenants write it."""

from typing import Any


def catalog_for(*customers: str, **more: Any) -> dict[str, Any]:
    """Plan pro for these customers: tools by name, models at cost and a fifth more."""
    return {
        "currency": "USD",
        **more,
        "rate_plans": [{
            "code": "pro",
            "prices": [
                {
                    "metric": "agentic_api.tool_calls", "model": "PER_UNIT", "unit_price": "0.002",
                    "dimension": "toolName", "prices": {"lookup": "0.001", "db_write": "0.05"},
                },
                {"metric": "agentic_api.provider_cost", "model": "COST_PLUS", "markup": "0.20"},
            ],
        }],
        "products": [{"code": "research", "type": "AGENTIC_API", "rate_plan": "pro"}],
        "customers": [{"id": name, "products": ["research"]} for name in customers],
    }  # fmt: skip
