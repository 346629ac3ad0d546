"""Admit: the one validator of usage events, whatever door they came through."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NoReturn

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.identity import NOBODY, Identity
from aforo_collector.domain.metrics import PRODUCT_TYPES, metric_name
from aforo_collector.domain.money import MoneyError, decimal_of, plain
from aforo_collector.domain.session import NS_PER_MS, duration_of
from aforo_collector.domain.span import Span
from aforo_collector.domain.submission import RawEvent, Refusal, UsageEvent

from .wire_names import (
    API_TYPES,
    BOUNDARIES,
    HEARTBEAT_METRIC,
    INTEGERS,
    LABELS,
    NAMES,
    OBJECTS,
    REQUIRED,
    STATUSES,
    TEXT_LENGTHS,
    spelled,
)

UNKNOWN_CUSTOMER: Final = "UNKNOWN_CUSTOMER"
INTEGER_DIGITS_MAX: Final = 14
FRACTION_DIGITS_MAX: Final = 6
_NOTHING: Final[Mapping[str, object]] = {}
_WHOLE_LIMIT: Final = Decimal(10) ** INTEGER_DIGITS_MAX
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NS_PER_S: Final = 1_000_000_000
_SECONDS_MAX: Final = 10**11
_SHOWN_LENGTH_MAX: Final = 60


class Refused(ValueError):
    """A usage event that is not recorded; `code` is stable, the text says why, `field` is the wire's name."""

    def __init__(self, code: str, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.field = field

    @property
    def refusal(self) -> Refusal:
        """The same as a value."""
        return Refusal(self.code, str(self), self.field)


def admit(raw: RawEvent, catalog: Catalog, bounds_ns: tuple[int, int], caller: Identity) -> UsageEvent:
    """The event that `raw` states; raises `Refused`.

    `bounds_ns` are the first and last moment it may have happened, both included. What the credential says
    of the caller wins over what the event says of its customer, and fills in what the event leaves out.
    """
    fields = _named(raw)
    customer = caller.customer_id or fields.get("customerId")
    if not customer:
        raise Refused("MISSING_FIELD", "customerId is missing; say who the event bills against", "customerId")
    if not catalog.accepts(str(customer)) and fields.get("metricName") != HEARTBEAT_METRIC:
        raise Refused(UNKNOWN_CUSTOMER, unknown_customer(str(customer)), "customerId")
    return _event(fields, str(customer), catalog, bounds_ns, caller)


def unknown_customer(customer_id: str) -> str:
    """Why usage of a customer is not recorded that the catalog does not have."""
    return f"no customer {customer_id!r} in the catalog, which accepts no others; add it and send again"


def recorded_event(span: Span, catalog: Catalog) -> UsageEvent:
    """The event that a program recorded by hand, which travelled as a span; raises `Refused`.

    Its customer may still be inherited from a span above, and its time is the span's.
    """
    recorded = span.recorded
    assert recorded is not None
    try:
        quantity: object = decimal_of(recorded.quantity)
    except MoneyError as error:
        raise Refused("INVALID_QUANTITY", f"quantity: {error}", "quantity") from error
    fields: dict[str, object] = {"metricName": recorded.metric, "quantity": quantity}
    fields["metadata"] = recorded_metadata(span)
    if recorded.key:
        fields["idempotencyKey"] = recorded.key
    return _event(fields, span.identity.customer_id, catalog, (0, 0), NOBODY)


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        found = None
    if not isinstance(found, dict):
        raise Refused("INVALID_METADATA", "metadata is not a JSON object", "metadata")
    return found


def _event(
    fields: dict[str, object], customer: str, catalog: Catalog, bounds_ns: tuple[int, int], caller: Identity
) -> UsageEvent:
    take = fields.pop
    take("customerId", None)
    metadata: Mapping[str, object] = take("metadata", None) or {}  # type: ignore[assignment]  # was checked
    stated_type = _product_type(take("productType", None)) or caller.product_type
    product_type = billed_type(stated_type)
    said = _NOTHING if LABELS.isdisjoint(metadata) else metadata
    metric = take("metricName", None)
    boundary = _word(take("sessionBoundary", None))
    if metric == HEARTBEAT_METRIC and not boundary:
        boundary = _word(said.get("sessionBoundary"))
    if not metric:
        raise Refused("MISSING_FIELD", "metricName is missing; name a billable unit", "metricName")
    if boundary not in BOUNDARIES and metric != HEARTBEAT_METRIC:
        metric = _known(str(metric), product_type, catalog)
        boundary = ""
    else:
        boundary = boundary or "HEARTBEAT"
    if "quantity" not in fields:
        raise Refused("MISSING_FIELD", "quantity is missing; it is a number of at least 0", "quantity")
    quantity = quantity_of(take("quantity"))
    occurred = take("occurredAt", None)
    occurred_ns = 0 if occurred in (None, "") else moment_of(occurred, bounds_ns)
    key = str(take("idempotencyKey", None) or "")
    if not key.strip():  # a blank one would make one event of all that carry it
        key = ""
    duration = take("executionDurationMs", None)
    if duration is None and said:
        duration = spelled(said, "executionDurationMs")
    trace = take("traceId", None) or ("trace" in fields and _trace_id_of(fields["trace"]))
    session = label_of(fields, said, "sessionId") or caller.session_id
    agent = label_of(fields, said, "agentId") or caller.agent_id
    tool = label_of(fields, said, "toolName")
    status = _status(fields.get("executionStatus"), said)
    take("sessionId", None), take("agentId", None)
    if stated_type:
        fields["productType"] = stated_type
    if "executionStatus" in fields:
        fields["executionStatus"] = status
    return UsageEvent(
        customer, str(metric), quantity, occurred_ns, key, product_type, session, agent, str(trace or ""), tool,
        status, duration_of(duration), boundary, metadata, fields,
    )  # fmt: skip


def _named(raw: RawEvent) -> dict[str, object]:
    """The checked fields by the names of the contract, whose own spelling wins; null and absent are the same."""
    fields: dict[str, object] = {}
    for name, value in raw.items():
        if value is None:
            continue
        known = NAMES.get(name)
        if known is None:
            fields[name] = value
        elif known == name or raw.get(known) is None:
            check(known, value)
            fields[known] = value
    return fields


def check(name: str, value: object) -> None:
    """Raise `Refused` for a value that the field of that name cannot have; null is not for here."""
    limit = TEXT_LENGTHS.get(name)
    if limit is None:
        _check_other(name, value)
    elif type(value) is not str or len(value) * 2 > limit or "\0" in value or value.isspace():
        _check_text(name, value)


def _check_other(name: str, value: object) -> None:
    if name in INTEGERS:
        if type(value) is not int or not -(2**53) <= value <= 2**53:
            raise Refused("INVALID_FIELD", f"{name} is not a whole number", name)
    elif name in OBJECTS and not isinstance(value, Mapping):
        raise Refused(f"INVALID_{name.upper()}", f"{name} is not a JSON object", name)


def _check_text(name: str, value: object) -> None:
    if type(value) is not str:
        raise Refused("INVALID_FIELD", f"{name} is not text", name)
    limit = TEXT_LENGTHS[name]
    length = len(value)
    if length * 2 > limit and (length > limit or not value.isascii()):
        length = len(value.encode("utf-16-le", "surrogatepass")) // 2
        if length > limit:
            raise Refused("FIELD_TOO_LONG", f"{name} has {length} UTF-16 units; {limit} are allowed", name)
    if "\0" in value:
        raise Refused("INVALID_FIELD", f"{name} contains a NUL character", name)
    if name in REQUIRED and not value.strip():
        raise Refused("MISSING_FIELD", f"{name} is blank", name)


def _product_type(value: object) -> str:
    word = _word(value)
    if word and word not in PRODUCT_TYPES and word not in API_TYPES:
        known = ", ".join((*PRODUCT_TYPES, *sorted(API_TYPES)))
        raise Refused("INVALID_PRODUCT_TYPE", f"{word!r} is not one of {known}", "productType")
    return word


def billed_type(stated: str) -> str:
    """The product type that bills what was stated: one of the four, "" for none."""
    return "API" if stated in API_TYPES else stated


def _word(value: object) -> str:
    return value.strip().upper() if isinstance(value, str) else ""


def _known(metric: str, product_type: str, catalog: Catalog) -> str:
    """The billable unit of that name, also by the short name of a built-in unit of the product type."""
    if catalog.unit(metric) is not None:
        return metric
    full = metric_name(product_type, metric)
    if product_type and catalog.unit(full) is not None:
        return full
    raise Refused("UNKNOWN_METRIC", f"no billable unit {metric!r} in the catalog; add it and send again",
                  "metricName")  # fmt: skip


def quantity_of(value: object) -> Decimal:
    """The quantity that a JSON number states; raises `Refused`."""
    if type(value) is not int and type(value) is not Decimal:
        raise Refused("INVALID_QUANTITY", "quantity is not a number; send it as a JSON number", "quantity")
    try:
        quantity = decimal_of(value)
    except MoneyError as error:
        raise Refused("INVALID_QUANTITY", f"quantity: {error}", "quantity") from error
    exponent = quantity.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -FRACTION_DIGITS_MAX:
        quantity = quantity.normalize()
        exponent = int(quantity.as_tuple().exponent)
    if not 0 <= quantity < _WHOLE_LIMIT or exponent < -FRACTION_DIGITS_MAX:
        raise Refused(
            "INVALID_QUANTITY",
            f"quantity {value} is negative or has more than {INTEGER_DIGITS_MAX} digits before or"
            f" {FRACTION_DIGITS_MAX} after the point",
            "quantity",
        )
    return quantity


def moment_of(value: object, bounds_ns: tuple[int, int]) -> int:
    """A moment in ns since 1970 from RFC 3339 text (UTC without an offset) or epoch seconds; raises `Refused`."""
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value.upper() if "z" in value or "t" in value else value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            moment_ns = (moment - _EPOCH) // _MICROSECOND * 1000
        except (ValueError, OverflowError):
            _no_moment(value)
    elif type(value) is int or type(value) is Decimal:
        if not -_SECONDS_MAX < value < _SECONDS_MAX:
            code = "TOO_OLD" if value < 0 else "TOO_FAR_IN_FUTURE"
            raise Refused(code, f"occurredAt {_shown(value)} is no time in epoch seconds", "occurredAt")
        moment_ns = int(value * _NS_PER_S)
    else:
        _no_moment(value)
    if moment_ns < bounds_ns[0]:
        detail = "longer ago than events may be: 90 days, or an upload's backfillDays"
        raise Refused("TOO_OLD", f"occurredAt {_shown(value)} is {detail}", "occurredAt")
    if moment_ns > bounds_ns[1]:
        detail = "more than 5 minutes ahead; send when it happened, with the offset from UTC"
        raise Refused("TOO_FAR_IN_FUTURE", f"occurredAt {_shown(value)} is {detail}", "occurredAt")
    return moment_ns


def _shown(value: object) -> str:
    return str(value)[:_SHOWN_LENGTH_MAX]


def _no_moment(value: object) -> NoReturn:
    detail = f"occurredAt {_shown(repr(value))} is not a moment; write it like 2026-01-31T12:00:00Z"
    raise Refused("INVALID_TIME", detail, "occurredAt")


def _status(value: object, metadata: Mapping[str, object]) -> str:
    if value is None:
        word = _word(spelled(metadata, "executionStatus")) if metadata else ""
        return word if word in STATUSES else ""
    word = _word(value)
    if word and word not in STATUSES:
        detail = f"{word[:40]!r} is not one of {', '.join(sorted(STATUSES))}"
        raise Refused("INVALID_STATUS", detail, "executionStatus")
    return word


def status_of(details: Mapping[str, object], metadata: Mapping[str, object]) -> str:
    """How what an admitted event tells of went: one of the statuses, "" where it does not say."""
    return _status(details.get("executionStatus"), metadata)


def label_of(fields: Mapping[str, object], metadata: Mapping[str, object], name: str) -> str:
    """A label of an event: from its top level, else from its metadata in either spelling, "" for none."""
    found = fields.get(name)
    if not found and metadata:
        found = spelled(metadata, name)
        if type(found) is not str or len(found) > TEXT_LENGTHS[name]:
            found = None
    return str(found or "")


def _trace_id_of(trace: object) -> str:
    """The trace that a gateway's `trace` object names: its traceparent's, else its own id."""
    if not isinstance(trace, Mapping):
        return ""
    parent = trace.get("traceparent")
    if isinstance(parent, str):
        parts = parent.strip().lower().split("-")
        if len(parts) >= 4 and len(parts[1]) == 32 and parts[0] != "ff" and parts[1].strip("0"):
            return parts[1]
    own = trace.get("xTraceId")
    return own.strip()[: TEXT_LENGTHS["traceId"]] if isinstance(own, str) else ""


def digest(event: UsageEvent, metadata: str, details: str) -> bytes:
    """A hash of what an event says: same key and same digest is a duplicate, another digest a conflict.

    `metadata` and `details` are those of the event as JSON with sorted keys.
    """
    amount = plain(event.quantity)
    return digest_of(said(event), amount, event.occurred_ns, event.duration_ns, metadata, details)


def said(event: UsageEvent) -> tuple[str, str]:
    """What a digest has of an event before its quantity, and between its time and its duration."""
    return (
        f"{event.customer_id}\x1f{event.metric}\x1f",
        f"\x1f{event.session_id}\x1f{event.agent_id}\x1f{event.trace_id}\x1f",
    )


def digest_of(
    said: tuple[str, str], amount: str, occurred_ns: int, duration_ns: int, metadata: str, details: str
) -> bytes:
    """As `digest`, of an event that was taken apart already; `amount` is its quantity in canonical form."""
    before, within = said
    text = f"{before}{amount}\x1f{occurred_ns}{within}{duration_ns}\x1f{metadata}\x1f{details}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def stated(event: UsageEvent) -> dict[str, object]:
    """An admitted event as a door would have found it; times in epoch seconds, exact."""
    said: dict[str, object] = {
        **event.details,
        "customerId": event.customer_id,
        "metricName": event.metric,
        "quantity": event.quantity,
        "occurredAt": Decimal(event.occurred_ns).scaleb(-9),
        "sessionId": event.session_id,
        "agentId": event.agent_id,
        "traceId": event.trace_id,
        "metadata": event.metadata,
    }
    if event.duration_ns:
        said["executionDurationMs"] = event.duration_ns // NS_PER_MS
    return said


def stated_fields(event: UsageEvent) -> dict[str, str]:
    """What prices and filter conditions can look at, as text: the scalars of the metadata before the rest."""
    found = scalars(event.details)
    if event.agent_id:
        found["agentId"] = event.agent_id
    if event.session_id:
        found["sessionId"] = event.session_id
    found.update(scalars(event.metadata))
    return found | ({"executionStatus": event.status} if event.status else {})


def scalars(fields: Mapping[str, object]) -> dict[str, str]:
    """The texts, numbers and truth values of some fields, as text."""
    return {name: _text(value) for name, value in fields.items() if isinstance(value, str | int | Decimal)}


def recorded_metadata(span: Span) -> dict[str, object]:
    """The metadata of an event that travelled as a span; raises `Refused` for one that is not admitted."""
    assert span.recorded is not None
    return _object(span.recorded.metadata) if span.recorded.metadata else {}


def _text(value: str | int | Decimal) -> str:
    if isinstance(value, str):
        return value
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
