"""Usage events in HTTP bodies: single ones, batches, compounds and CloudEvents 1.0, as `RawEvent`s.

Numbers stay exact: a JSON number with a point or an exponent becomes a Decimal. Every reader raises
`MalformedEvents` for a body that is not what its route takes; what is wrong with one event of a batch is that
event's `Refusal`, also where a number or a text in it is JSON and still nothing that can be held.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from hashlib import sha256
from typing import Final, NamedTuple, NoReturn, TypeAlias
from urllib.parse import unquote
from uuid import UUID

import msgspec

from aforo_collector.domain.submission import RawEvent, Refusal
from aforo_collector.pipeline.attribution import COST, COSTS, SPELLINGS, amount_of, counted_by
from aforo_collector.pipeline.wire_names import NAMES, TEXT_LENGTHS, snake, spelled

CLOUD_EVENT: Final = "application/cloudevents+json"
CLOUD_BATCH: Final = "application/cloudevents-batch+json"

BATCH_LENGTH_MAX: Final = 1_000
ASYNC_LENGTH_MAX: Final = 10_000
COMPOUND_BATCH_LENGTH_MAX: Final = 500
MEASUREMENTS_MAX: Final = 50
_APIGEE_REQUIRED: Final = ("eventType", "metricKey", "value", "idempotencyKey", "customerId")

_KEYS: Final = ("idempotencyKey", *sorted(n for n, field in NAMES.items() if field == "idempotencyKey"))
_METADATA: Final = [name for name, field in NAMES.items() if field == "metadata"]
_COST_NAMES: Final = {name for name, meaning in SPELLINGS.items() if meaning == COST}

Found: TypeAlias = list[RawEvent | Refusal]


class Place(NamedTuple):
    """Where an event stood in a request: in which of its events, as which measurement; both from 0."""

    event: int
    measurement: int


_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ArithmeticError)


class MalformedEvents(ValueError):
    """A body that is not what its route takes; nothing of it was recorded."""


def single(body: bytes) -> Found:
    """One event object."""
    event = _object(_json(body))
    if "events" in event:
        raise MalformedEvents("this route takes one event; send a batch to /v1/ingest/batch")
    return [event]


def batch(body: bytes, length_max: int = BATCH_LENGTH_MAX) -> Found:
    """`{"events": [...]}` of 1 to `length_max` events."""
    document = _many(body)
    if not isinstance(document, dict) or "events" not in document:
        raise MalformedEvents('a batch is an object with a list of events: {"events": [...]}')
    return _events(document["events"], length_max)


def bare(body: bytes) -> Found:
    """A bare array of up to 10,000 events."""
    document = _many(body)
    if not isinstance(document, list):
        raise MalformedEvents("this route takes a bare JSON array of events")
    return _events(document, ASYNC_LENGTH_MAX)


def apigee(body: bytes) -> Found:
    """One event in the shape of gateways: eventType, metricKey, value, idempotencyKey, customerId, properties."""
    event = dict(_object(_json(body)))
    if "events" in event:
        raise MalformedEvents("this route takes one event; send a batch to /v1/ingest/batch")
    missing = [
        name for name in _APIGEE_REQUIRED if event.get(name) is None and event.get(snake(name)) is None
    ]
    if missing:
        raise MalformedEvents(f"missing: {', '.join(missing)}")
    return [event]


def compound(body: bytes) -> tuple[Found, list[Place]]:
    """The measurements of one compound event, and the place of each."""
    return _compound([_object(_json(body))])


def compound_batch(body: bytes) -> tuple[Found, list[Place]]:
    """The measurements of `{"events": [compound...]}`, and the place of each."""
    return _compound(batch(body, COMPOUND_BATCH_LENGTH_MAX))


def _json(body: bytes) -> object:
    try:
        return _decode(body)
    except _UNREADABLE as error:
        raise MalformedEvents(f"the body is not JSON: {error}") from error


def _many(body: bytes) -> object:
    """A body of many events; what is JSON and yet nothing that can be held costs its own event alone."""
    try:
        return _decode(body)
    except _UNREADABLE as error:
        try:
            document = json.loads(
                body.decode(), parse_int=_integer, parse_float=_decimal, parse_constant=_no_number
            )
        except (ValueError, RecursionError):
            raise MalformedEvents(f"the body is not JSON: {error}") from error
    events = document.get("events") if isinstance(document, dict) else document
    if isinstance(events, list):
        events[:] = map(_held, events)
    return document


class _TooLarge:
    """A number of JSON that no number here can hold."""


def _integer(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        return _TooLarge()


def _decimal(text: str) -> object:
    try:
        return Decimal(text)
    except ArithmeticError:
        return _TooLarge()


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _held(one: object) -> object:
    """One event as it is, or why it cannot be held."""
    try:
        msgspec.json.encode(one)
    except UnicodeEncodeError:
        return Refusal("MALFORMED_EVENT", "the event has half of a UTF-16 surrogate pair, which is no text")
    except TypeError:
        return Refusal("MALFORMED_EVENT", "the event has a number that is too large to be one")
    return one


def _object(document: object) -> RawEvent:
    if not isinstance(document, dict):
        raise MalformedEvents("an event is a JSON object")
    return document


def _events(found: object, length_max: int) -> Found:
    if not isinstance(found, list) or not found:
        raise MalformedEvents("events is not a list of at least one event")
    if len(found) > length_max:
        raise MalformedEvents(f"{len(found)} events; this route takes {length_max} at most")
    return [_item(one) for one in found]


def _item(one: object) -> RawEvent | Refusal:
    return one if isinstance(one, dict | Refusal) else Refusal("MALFORMED_EVENT", "an event is a JSON object")


def _compound(found: Sequence[RawEvent | Refusal]) -> tuple[Found, list[Place]]:
    events: Found = []
    places: list[Place] = []
    for index, one in enumerate(found):
        parts = [one] if isinstance(one, Refusal) else _measurements(one)
        events += parts
        places += [Place(index, number) for number in range(len(parts))]
    return events, places


def _measurements(event: RawEvent) -> Found:
    """An event for each measurement; they share the correlation id and what is said of their call."""
    kept_out = ("measurements", "correlationId", "correlation_id")
    fields = {name: value for name, value in event.items() if name not in kept_out}
    try:
        correlation = str(UUID(str(event.get("correlationId") or event.get("correlation_id"))))
    except ValueError:
        return [Refusal("INVALID_CORRELATION_ID", "correlationId is not a UUID", "correlationId")]
    measured = event.get("measurements")
    if not isinstance(measured, list) or not 1 <= len(measured) <= MEASUREMENTS_MAX:
        detail = f"measurements is not a list of 1 to {MEASUREMENTS_MAX} measurements"
        return [Refusal("INVALID_MEASUREMENTS", detail, "measurements")]
    fields["correlationId"] = correlation
    keys = [event.get(name) for name in _KEYS]
    key = next((found for found in keys if found and not str(found).isspace()), correlation)
    events: Found = []
    for number, (one, shared) in enumerate(zip(measured, _shared(fields, measured), strict=True)):
        if not isinstance(one, dict):
            events.append(Refusal("INVALID_MEASUREMENTS", "a measurement is a JSON object", "measurements"))
            continue
        said = {NAMES.get(name, name) for name in one}
        kept = {name: value for name, value in shared.items() if NAMES.get(name, name) not in said}
        events.append({**kept, **one, "idempotencyKey": f"{key}:{number}"})
    return events


def _shared(fields: RawEvent, measured: Sequence[object]) -> list[dict[str, object]]:
    """What each measurement of a call has of the call: one call costs once, however much of it is measured.

    What a measurement counts itself, nothing else counts; of the other tokens and the cost the first one
    tells. A cost that is stated is all of it, and so nobody's tokens cost anything beside it.
    """
    counts = [_counted({**fields, **one} if isinstance(one, dict) else {}) for one in measured]
    first = _without(fields, {name for name in COSTS if SPELLINGS[name] in counts})
    rest = _without(fields, COSTS)
    shared = [first, *(dict(rest) for _ in measured[1:])]
    if COST in counts or _states_cost(fields):
        teller = counts.index(COST) if COST in counts else 0
        for number, own in enumerate(counts):
            if number != teller and (own not in ("", COST) or not number):
                shared[number]["total_provider_cost"] = 0
    return shared


def _counted(event: RawEvent) -> str:
    """What the unit of a measurement counts of its call: see `counted_by`."""
    said = {field: event[name] for name, field in NAMES.items() if name in event}
    return counted_by(said.get("metricName"), said.get("productType"))


def _states_cost(fields: RawEvent) -> bool:
    places = [fields, *(place for name in _METADATA if isinstance(place := fields.get(name), Mapping))]
    return any(amount_of(place.get(name)) is not None for place in places for name in _COST_NAMES)


def _without(fields: RawEvent, names: AbstractSet[str]) -> dict[str, object]:
    """The same without some names, at its top level and in its metadata."""
    kept = {name: value for name, value in fields.items() if name not in names}
    for name in _METADATA:
        if isinstance(said := kept.get(name), Mapping):
            kept[name] = {inner: value for inner, value in said.items() if inner not in names}
    return kept


def cloud_events(body: bytes) -> Found:
    """A batch of CloudEvents in the JSON format."""
    document = _many(body)
    if not isinstance(document, list):
        raise MalformedEvents("a batch of CloudEvents is a JSON array")
    return [
        one if isinstance(one, Refusal) else _cloud_event(one) for one in _events(document, BATCH_LENGTH_MAX)
    ]


def cloud_event(body: bytes) -> Found:
    """One CloudEvent in the JSON format."""
    return [_cloud_event(_object(_json(body)))]


def binary_cloud_event(headers: Mapping[str, str], body: bytes) -> Found:
    """One CloudEvent whose attributes are `ce-` headers, percent-encoded, and whose body is its data."""
    event: dict[str, object] = {
        name.lower().removeprefix("ce-"): unquote(value)
        for name, value in headers.items()
        if name.lower().startswith("ce-")
    }
    event["data"] = _json(body) if body else {}
    return [_cloud_event(event)]


def _cloud_event(event: RawEvent) -> RawEvent | Refusal:
    """The usage event in a CloudEvent: its data, with subject, type, time and (source, id) where data is silent."""
    if event.get("specversion") != "1.0":
        return Refusal("INVALID_CLOUD_EVENT", "specversion is not 1.0", "specversion")
    for name in ("id", "source", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            return Refusal("INVALID_CLOUD_EVENT", f"{name} is missing or not text", name)
    data = event.get("data")
    packed = event.get("data_base64")
    if isinstance(packed, str):
        try:
            data = _decode(base64.b64decode(packed, validate=True))
        except (binascii.Error, ValueError, RecursionError, ArithmeticError):
            return Refusal("INVALID_CLOUD_EVENT", "data_base64 is not JSON in base64", "data_base64")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        return Refusal("INVALID_CLOUD_EVENT", "data is not a JSON object", "data")
    stated = {name: value for name, value in data.items() if value is not None}
    found = {"idempotencyKey": _key_of(str(event["source"]), str(event["id"])), "metricName": event["type"]}
    for name, attribute in (
        ("customerId", "subject"),
        ("occurredAt", "time"),
        ("traceparent", "traceparent"),
    ):
        if isinstance(event.get(attribute), str):
            found[name] = event[attribute]
    if isinstance(found.get("traceparent"), str):
        found["trace"] = {"traceparent": found.pop("traceparent")}
    _fill(stated, found)
    if spelled(stated, "quantity") is None and "value" not in stated:
        stated["quantity"] = 1
    return stated


def _key_of(source: str, event_id: str) -> str:
    """The key of a CloudEvent, which no other source and id have; one that is too long is replaced by its hash."""
    key = f"{source.replace('#', '%23')}#{event_id}"
    text = key.encode("utf-8", "surrogatepass")
    length = len(key.encode("utf-16-le", "surrogatepass")) // 2
    return key if length <= TEXT_LENGTHS["idempotencyKey"] else f"sha256-{sha256(text).hexdigest()}"


def _fill(stated: dict[str, object], found: Mapping[str, object]) -> None:
    """Put in what the data does not say itself, under any of its spellings."""
    said = {NAMES.get(name, name) for name in stated}
    stated.update((name, value) for name, value in found.items() if name not in said)
