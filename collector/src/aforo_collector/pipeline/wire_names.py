"""The fields of a usage event on the wire: their names, the other names that senders use, and their limits.

Limits are in UTF-16 code units, as every existing client and server of the contract counts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

TEXT_LENGTHS: Final[Mapping[str, int]] = {
    "customerId": 64, "metricName": 255, "idempotencyKey": 255, "productType": 20, "executionStatus": 20,
    "traceId": 128, "spanId": 32, "sessionId": 64, "agentId": 36, "toolName": 64, "capabilityName": 64,
    "subscriptionId": 64, "sessionBoundary": 20, "endpointPath": 512, "httpMethod": 16, "grpcService": 255,
    "grpcMethod": 128, "grpcStatusCode": 64, "grpcCallType": 64, "gqlOperationType": 20,
    "gqlOperationName": 255, "wsConnectionId": 64, "wsDirection": 64, "wsFrameType": 64, "wsCloseReason": 32,
    "mqttTopic": 500, "mqttClientId": 128, "teamId": 64, "appId": 64,
}  # fmt: skip
"""Fields that are text, each with the most UTF-16 code units it may have."""

INTEGERS: Final = frozenset(
    "executionDurationMs statusCode responseTimeMs messageCount dataBytes gqlComplexity".split()
)
OBJECTS: Final = frozenset(("metadata", "trace"))

REQUIRED: Final = ("customerId", "metricName", "quantity")

STATUSES: Final = frozenset(
    "SUCCESS PARTIAL TIMEOUT ERROR VALIDATION_FAILED FAILED FAILURE CANCELLED PENDING BLOCKED"
    " HITL_REQUIRED".split()
)
API_TYPES: Final = frozenset(("GRPC_API", "GRAPHQL_API", "WEBSOCKET_API", "MQTT_BROKER"))
"""Product types that are billed as a standard API."""

HEARTBEAT_METRIC: Final = "system.session.heartbeat"
SESSION_END: Final = "SESSION_END"
BOUNDARIES: Final = frozenset(("SESSION_START", "HEARTBEAT", SESSION_END))

_SPOKEN: Final = {
    "event_id": "idempotencyKey", "eventId": "idempotencyKey",
    "event_timestamp": "occurredAt", "eventTimestamp": "occurredAt", "timestamp": "occurredAt",
    "metric_id": "metricName", "metricId": "metricName", "metric": "metricName", "metricKey": "metricName",
    "metric_key": "metricName",
    "value": "quantity", "properties": "metadata", "dimension_key": "dimensionKey",
}  # fmt: skip
_BOUNDARY: Final = re.compile("([A-Z])")


def snake(name: str) -> str:
    """`toolName` as `tool_name`."""
    return _BOUNDARY.sub(r"_\1", name).lower()


CANONICAL: Final = {*TEXT_LENGTHS, *INTEGERS, *OBJECTS, "quantity", "occurredAt", "gqlHasErrors"}
NAMES: Final[Mapping[str, str]] = (
    {snake(name): name for name in CANONICAL} | _SPOKEN | {name: name for name in CANONICAL}
)
"""Every known spelling of a field, and the one that the contract uses."""


_SNAKE: Final = {name: snake(name) for name in CANONICAL}
LABELS: Final = frozenset(
    spelling
    for name in (
        "sessionId",
        "agentId",
        "toolName",
        "executionStatus",
        "executionDurationMs",
        "sessionBoundary",
    )
    for spelling in (name, _SNAKE[name])
)
"""What an event may say in its metadata instead of at its top level, by every spelling."""


def spelled(fields: Mapping[str, object], name: str) -> object:
    """What `fields` has under the name of a field, or under its snake_case spelling; None for neither."""
    found = fields.get(name)
    return fields.get(_SNAKE[name]) if found is None else found
