"""Billable units: what is counted and how, and the templates that need no set-up (surfaces section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from aforo_collector.domain.money import MoneyError, decimal_of

__all__ = [
    "AGGREGATIONS",
    "DEFAULT_PRODUCT_TYPE",
    "OPERATORS",
    "PRODUCT_TYPES",
    "TEMPLATES",
    "BillableUnit",
    "Condition",
    "metric_name",
    "prefix_of",
    "product_type_of",
    "tool_metric_of",
]

PRODUCT_TYPES: Final = ("API", "AGENTIC_API", "AI_AGENT", "MCP_SERVER")
DEFAULT_PRODUCT_TYPE: Final = "AGENTIC_API"
AGGREGATIONS: Final = ("COUNT", "SUM", "MAX", "MIN", "AVG", "COUNT_DISTINCT", "PERCENTILE_95")
OPERATORS: Final = (
    "EQUALS",
    "NOT_EQUALS",
    "GREATER_THAN",
    "LESS_THAN",
    "CONTAINS",
    "NOT_CONTAINS",
    "IN",
    "NOT_IN",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter of a billable unit: the event's `field` compared with `value` by one of `OPERATORS`."""

    field: str
    operator: str
    value: str

    def holds(self, fields: Mapping[str, str]) -> bool:
        """Whether an event with these fields passes; an absent field passes only the negated operators.

        Both sides compare as numbers when both are decimal numbers, else as text. IN lists values by comma.
        """
        found = fields.get(self.field)
        if self.operator.startswith("NOT_"):
            return found is None or not _compare(self.operator.removeprefix("NOT_"), found, self.value)
        return found is not None and _compare(self.operator, found, self.value)


def _compare(operator: str, found: str, wanted: str) -> bool:
    if operator == "CONTAINS":
        return wanted in found
    if operator in {"IN", "EQUALS"}:
        options = wanted.split(",") if operator == "IN" else [wanted]
        return any(_same(found, option.strip()) for option in options)
    try:
        left, right = decimal_of(found), decimal_of(wanted)
    except MoneyError:
        return False
    return left > right if operator == "GREATER_THAN" else left < right


def _same(left: str, right: str) -> bool:
    try:
        return left == right or decimal_of(left) == decimal_of(right)
    except MoneyError:
        return False


@dataclass(frozen=True, slots=True)
class BillableUnit:
    """What is counted (`name` is metricName on the wire), how it adds up, and which events count at all.

    `dimensions` are the event fields a price may vary by; None means any field of the event.
    """

    name: str
    aggregation: str = "SUM"
    conditions: tuple[Condition, ...] = ()
    dimensions: tuple[str, ...] | None = None

    def admits(self, fields: Mapping[str, str]) -> bool:
        """Whether an event with these fields counts toward the unit: all conditions hold."""
        return all(condition.holds(fields) for condition in self.conditions)


_PREFIXES: Final = {product_type: product_type.lower() for product_type in PRODUCT_TYPES}
_UNITS: Final = {
    "steps": ("stepType", "agentId"),
    "input_tokens": ("model",),
    "output_tokens": ("model",),
    "reasoning_tokens": ("model",),
    "cache_read_tokens": ("model",),
    "cache_write_tokens": ("model",),
    "provider_cost": ("model", "toolName"),
    "sessions": ("closeReason",),
    "session_seconds": (),
}
_WEBHOOK_UNITS: Final = {
    "stripe": "charges payments invoices invoice_payments checkouts events",
    "twilio": "messages messages_received call_seconds recording_seconds events",
    "sendgrid": "emails events",
    "github": "pushes workflow_runs workflow_jobs pull_requests events",
    "slack": "mentions messages commands events",
}


def product_type_of(stated: str | None) -> str:
    """The product type that `stated` names; AGENTIC_API for an unknown one and for none."""
    return stated if stated in _PREFIXES else DEFAULT_PRODUCT_TYPE


def prefix_of(product_type: str | None) -> str:
    """Metric prefix of a product type: api, agentic_api, ai_agent or mcp_server; agentic_api for unknown
    ones.
    """
    return _PREFIXES[product_type_of(product_type)]


def metric_name(product_type: str | None, unit: str) -> str:
    """Full name of a unit under a product type, like `ai_agent.steps`."""
    return f"{prefix_of(product_type)}.{unit}"


def tool_metric_of(product_type: str | None) -> str:
    """The metric a tool execution becomes: tool_invocations for MCP servers, tool_calls for all others."""
    return metric_name(product_type, "tool_invocations" if product_type == "MCP_SERVER" else "tool_calls")


def _templates() -> dict[str, BillableUnit]:
    # All units sum their quantity: a COUNT would lose what a sender reports as one event of quantity 5.
    units = [BillableUnit("api_calls")]
    for product_type in PRODUCT_TYPES:
        units.append(BillableUnit(tool_metric_of(product_type), dimensions=("toolName", "executionStatus")))
        units += [
            BillableUnit(metric_name(product_type, unit), dimensions=dimensions)
            for unit, dimensions in _UNITS.items()
        ]
    capability = metric_name("AI_AGENT", "capability_invocations")
    units.append(BillableUnit(capability, dimensions=("capabilityName", "executionStatus")))
    for provider, names in _WEBHOOK_UNITS.items():
        units += [BillableUnit(f"{provider}.{name}", dimensions=("eventType",)) for name in names.split()]
    return {unit.name: unit for unit in units}


TEMPLATES: Final[Mapping[str, BillableUnit]] = MappingProxyType(_templates())
"""The built-in billable units by metric name: nothing needs to be set up for them."""
