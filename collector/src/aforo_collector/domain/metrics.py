"""Billable units: what is counted and how, and the templates that need no set-up (surfaces section 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple

from aforo_collector.domain.aggregation import ADDITIVE
from aforo_collector.domain.conditions import Condition
from aforo_collector.domain.event_fields import find, number_of, token_of
from aforo_collector.domain.money import plain

__all__ = [
    "DEFAULT_PRODUCT_TYPE",
    "PRODUCT_TYPES",
    "TEMPLATES",
    "BillableUnit",
    "Counted",
    "metric_name",
    "prefix_of",
    "product_type_of",
    "tool_metric_of",
]

PRODUCT_TYPES: Final = ("API", "AGENTIC_API", "AI_AGENT", "MCP_SERVER")
DEFAULT_PRODUCT_TYPE: Final = "AGENTIC_API"


class Counted(NamedTuple):
    """What one event adds to its unit.

    `value` is the number that an estimate of its revenue goes by. `sample` is what is kept of the event beside
    the sums, as text; None for a unit to which sums are enough.
    """

    value: Decimal
    sample: str | None = None


@dataclass(frozen=True, slots=True)
class BillableUnit:
    """What is counted (`name` is metricName on the wire), how it adds up, and which events count at all.

    `event_field` names the field whose number counts instead of the quantity, or whose different values
    COUNT_DISTINCT counts. `dimensions` are the event fields a price may vary by; None means any field.
    """

    name: str
    aggregation: str = "SUM"
    conditions: tuple[Condition, ...] = ()
    dimensions: tuple[str, ...] | None = None
    event_field: str | None = None

    @property
    def sampled(self) -> bool:
        """Whether the unit goes by the values of its events, because the sums of their quantities say too little."""
        return self.aggregation not in ADDITIVE or (
            self.aggregation == "SUM" and self.event_field is not None
        )

    def admits(self, *sources: Mapping[str, object]) -> bool:
        """Whether an event with these fields counts toward the unit: all conditions hold."""
        return all(condition.holds(*sources) for condition in self.conditions)

    def counted(self, quantity: Decimal, *sources: Mapping[str, object]) -> Counted:
        """What an admitted event with these fields adds to the unit.

        A field that is absent or no number of at least 0 leaves the quantity to count; a 0 is a 0.
        """
        if not self.sampled:
            return Counted(quantity)
        found = find(self.event_field, sources) if self.event_field is not None else None
        if self.aggregation == "COUNT_DISTINCT":
            return Counted(quantity, token_of(found))
        number = number_of(found)
        value = quantity if number is None else number
        return Counted(value, plain(value))


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
