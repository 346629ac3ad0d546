"""The ingest routes in `/openapi.json`: their bodies as the one validator reads them, and their answers."""

from __future__ import annotations

from typing import Any, Final

from aforo_collector.doors import events
from aforo_collector.pipeline.wire_names import INTEGERS, REQUIRED, TEXT_LENGTHS

from .problems import PROBLEM

_Schema = dict[str, Any]


def _object(required: tuple[str, ...], properties: _Schema, description: str) -> _Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "properties": properties,
    }


def _list(items: _Schema, length_max: int) -> _Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": length_max}


def _batch(items: _Schema, length_max: int) -> _Schema:
    return _object(("events",), {"events": _list(items, length_max)}, f"Up to {length_max} events.")


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: Final = {"type": "string", "minLength": 1}
_MOMENT: Final = {
    "type": ["string", "number", "null"],
    "description": "RFC 3339 (UTC without an offset) or epoch seconds; up to 90 days ago and 5 minutes ahead."
    " Without one it is the moment of arrival.",
}
_QUANTITY: Final = {
    "type": "number", "minimum": 0, "exclusiveMaximum": 10**14,
    "description": "Exact: up to 14 digits before and 6 after the point.",
}  # fmt: skip
_FIELDS: Final[_Schema] = {
    **{name: {"type": ["string", "null"], "maxLength": most} for name, most in TEXT_LENGTHS.items()},
    **{name: {"type": ["integer", "null"]} for name in sorted(INTEGERS)},
    "customerId": _TEXT | {"maxLength": TEXT_LENGTHS["customerId"]},
    "metricName": _TEXT | {"maxLength": TEXT_LENGTHS["metricName"], "description": "A unit of the catalog."},
    "quantity": _QUANTITY,
    "occurredAt": _MOMENT,
    "metadata": {"type": ["object", "null"], "description": "Up to 32 KiB of JSON, 64 levels deep."},
    "trace": {"type": ["object", "null"], "description": "traceparent and xTraceId, as gateways copy them."},
}
_MEASUREMENT: Final = _object(
    ("metricName", "quantity"),
    {
        "metricName": _FIELDS["metricName"],
        "quantity": _QUANTITY,
        "dimensionKey": {"type": ["string", "null"]},
    },
    "One quantity of the call.",
)
_APIGEE: Final = {
    "eventType": _TEXT, "metricKey": _FIELDS["metricName"], "value": _QUANTITY, "timestamp": _MOMENT,
    "idempotencyKey": {"type": "string", "maxLength": TEXT_LENGTHS["idempotencyKey"]},
    "customerId": _FIELDS["customerId"], "properties": _FIELDS["metadata"],
}  # fmt: skip
_COUNT: Final = {"type": "integer", "minimum": 0}
_ERROR: Final = _object(
    ("index", "message", "code"),
    {
        "index": _COUNT, "message": {"type": "string"}, "code": {"type": "string"}, "field": {"type": "string"},
        "measurement": _COUNT, "idempotencyKey": {"type": "string"},
    },
    "Why the event at `index` was not recorded; `code` is stable.",
)  # fmt: skip
_MINTED: Final = _object(
    ("index", "idempotencyKey"),
    {"index": _COUNT, "idempotencyKey": {"type": "string"}},
    "A key that was made.",
)
_OUTCOME: Final = _object(
    ("accepted", "duplicates", "conflicts", "failed", "errors", "killedSessionIds"),
    {
        **dict.fromkeys(("accepted", "duplicates", "conflicts", "failed"), _COUNT),
        "errors": {"type": "array", "items": _ERROR},
        "killedSessionIds": {"type": "array", "items": {"type": "string"}},
        "mintedKeys": {"type": "array", "items": _MINTED},
        "quarantined": _COUNT,
        "dryRun": {"const": True},
    },
    "What became of the events; `failed` counts conflicts too, and `accepted` what is `quarantined`: events of unknown"
    " metrics, where the catalog lets them wait.",
)
SCHEMAS: Final[_Schema] = {
    "UsageEvent": _object(
        REQUIRED, _FIELDS,
        "Lengths are in UTF-16 code units. Every field may be spelled in snake_case, and further fields are kept."
        " One that carries an `idempotencyKey` may be sent again: it is recorded once.",
    ),
    "GatewayEvent": _object(
        ("eventType", "metricKey", "value", "idempotencyKey", "customerId"), _APIGEE,
        "The shape of gateways; further fields as in UsageEvent.",
    ),
    "CompoundEvent": _object(
        ("correlationId", "customerId", "measurements"),
        {
            "correlationId": {"type": "string", "format": "uuid"}, "customerId": _FIELDS["customerId"],
            "occurredAt": _MOMENT, "metadata": _FIELDS["metadata"],
            "measurements": _list(_MEASUREMENT, events.MEASUREMENTS_MAX),
        },
        "Several quantities of one call; further fields as in UsageEvent.",
    ),
    "CloudEvent": _object(
        ("specversion", "id", "source", "type"),
        {"specversion": {"const": "1.0"}, "id": _TEXT, "source": _TEXT, "type": _TEXT, "data": {"type": "object"}},
        "CloudEvents 1.0 whose data are fields of UsageEvent. What they do not say comes from the envelope: subject is"
        " the customer, type the metric, time the moment, source and id the key; the quantity is 1.",
    ),
    "IntakeOutcome": _object(
        ("success", "data", "meta"),
        {"success": {"const": True}, "data": _OUTCOME, "meta": {"type": "object"}}, "The answer after the commit.",
    ),
}  # fmt: skip
_JSON: Final = "application/json"
_BODIES: Final[dict[str, tuple[str, dict[str, _Schema]]]] = {
    "/v1/ingest": ("Record one event", {_JSON: _ref("UsageEvent"), events.CLOUD_EVENT: _ref("CloudEvent")}),
    "/v1/meter": (
        "The same as /v1/ingest",
        {_JSON: _ref("UsageEvent"), events.CLOUD_EVENT: _ref("CloudEvent")},
    ),
    "/v1/ingest/test": (
        "Say what would become of one event",
        {_JSON: _ref("UsageEvent"), events.CLOUD_EVENT: _ref("CloudEvent")},
    ),
    "/v1/ingest/events": ("Record one event of a gateway", {_JSON: _ref("GatewayEvent")}),
    "/v1/ingest/batch": (
        "Record a batch, each event for itself",
        {
            _JSON: _batch(_ref("UsageEvent"), events.BATCH_LENGTH_MAX),
            events.CLOUD_BATCH: _list(_ref("CloudEvent"), events.BATCH_LENGTH_MAX),
        },
    ),
    "/v1/ingest/async-batch": (
        "Record a bare array of events",
        {_JSON: _list(_ref("UsageEvent"), events.ASYNC_LENGTH_MAX)},
    ),
    "/api/v1/ingest/compound": ("Record one compound event", {_JSON: _ref("CompoundEvent")}),
    "/api/v1/ingest/compound/batch": (
        "Record a batch of compound events",
        {_JSON: _batch(_ref("CompoundEvent"), events.COMPOUND_BATCH_LENGTH_MAX)},
    ),
}
_PROBLEMS: Final = {
    "400": "The body, or the one event in it, is not what the route takes.",
    "401": "The API key is missing or not known.",
    "403": "The credential may not send usage, or `X-Tenant-Id` is not its tenant.",
    "409": "The idempotency key of the one event was used for other contents.",
    "413": "The body is larger than 10 MiB, packed or unpacked.",
    "415": "The body is of another content type.",
    "422": "The catalog has no unit of the one event's metric.",
    "429": "The key asks too often; send it again after `Retry-After`.",
    "503": "Too much waits to be written; send it again after `Retry-After`.",
    "default": "What else went wrong; nothing was recorded.",
}
_OF_SINGLE: Final = ("409", "422")


def ingest_paths() -> dict[str, Any]:
    """The operations of the ingest routes by path."""
    return {path: {"post": _operation(path)} for body in _BODIES for path in _aliases(body)}


def _aliases(path: str) -> tuple[str, ...]:
    return (path,) if path.startswith("/api") else (path, f"/api{path}")


def _operation(path: str) -> dict[str, Any]:
    summary, bodies = _BODIES.get(path) or _BODIES[path.removeprefix("/api")]
    many = path.endswith("batch")
    content = {_JSON: {"schema": _ref("IntakeOutcome")}}
    answers = {"202": {"description": "Committed.", "content": content}}
    if not many:
        waits = {
            "description": "Committed to the quarantine, where it waits for its metric.",
            "content": content,
        }
        answers = {"200": answers["202"], "202": waits}
    problem = {PROBLEM: {"schema": _ref("Problem")}}
    return {
        "tags": ["ingest"],
        "operationId": "ingest" + path.replace("/", "_").replace("-", "_") + "_post",
        "summary": summary,
        "description": "Bodies may be packed (Content-Encoding gzip or deflate).",
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": body} for kind, body in bodies.items()},
        },
        "responses": {
            **answers,
            **{
                status: {"description": told, "content": problem}
                for status, told in _PROBLEMS.items()
                if not (many and status in _OF_SINGLE)
            },
        },
    }
