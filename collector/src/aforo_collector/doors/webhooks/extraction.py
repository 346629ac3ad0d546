"""From a delivery that is verified to the events of a `Submission`, each with its key."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from aforo_collector.domain.submission import RawEvent, Refusal
from aforo_collector.pipeline.attribution import COSTS, PROVIDER, SPELLINGS

from .mapping import usage_event
from .paths import Budget
from .provider import Challenge, Incoming, MalformedPayload, ProviderEvent
from .terms import Terms

EVENTS_MAX: Final = 10_000
KEY_LENGTH_MAX: Final = 255
_SHOWN_MAX: Final = 255


class Extracted(NamedTuple):
    """One event of a delivery, and what it becomes: None where the source does not want it.

    `event_id` and `type` are the provider's, "" where none was found.
    """

    event_id: str
    type: str
    event: RawEvent | Refusal | None


def extract(terms: Terms, source_id: str, incoming: Incoming) -> list[Extracted] | Challenge:
    """The events of a delivery in their order. A payload that cannot be read is one refusal."""
    try:
        events = terms.provider.split(incoming)
        if isinstance(events, Challenge):
            return events
        if len(events) > EVENTS_MAX:
            raise MalformedPayload(f"the delivery has {len(events)} events, {EVENTS_MAX} are allowed")
        budget = Budget()
        return [_extracted(terms, source_id, event, budget) for event in events]
    except MalformedPayload as error:
        return [Extracted("", "", Refusal("MALFORMED_PAYLOAD", str(error)))]


def _extracted(terms: Terms, source_id: str, event: ProviderEvent, budget: Budget) -> Extracted:
    event_id, kind = _clean(event.event_id), _clean(event.type)
    shown = event_id[:_SHOWN_MAX], kind[:_SHOWN_MAX]
    if not terms.wants(kind):
        return Extracted(*shown, None)
    if not event_id:
        detail = (
            "the payload has no id of its own, so that a second delivery could not be told from the first"
        )
        return Extracted(*shown, Refusal("NO_EVENT_ID", detail))
    found = usage_event(terms.rules_for(kind), terms.customers, event.payload, budget)
    if isinstance(found, Refusal):
        return Extracted(*shown, found)
    given = found["metadata"]
    assert isinstance(given, dict)
    metadata = given | {"provider": terms.provider.name, "eventType": shown[1], "sourceId": source_id}
    key = key_of(source_id, event_id, event.position)
    return Extracted(*shown, {**found, **_modelled(given), "idempotencyKey": key, "metadata": metadata})


def _modelled(metadata: Mapping[str, object]) -> dict[str, object]:
    """Who provides the model that metadata tells of the tokens of: never the sender of the webhook."""
    if COSTS.isdisjoint(metadata):
        return {}
    return {"provider": next((metadata[name] for name in metadata if SPELLINGS.get(name) == PROVIDER), "")}


def key_of(source_id: str, event_id: str, position: str = "") -> str:
    """The idempotency key of a provider's event; one that is too long is replaced by its hash."""
    name = f"{event_id}:{position}" if position else event_id
    key = f"webhook:{source_id}:{name}"
    if len(key.encode("utf-16-le")) // 2 <= KEY_LENGTH_MAX:
        return key
    return f"webhook:{source_id}:sha256-{sha256(name.encode()).hexdigest()}"


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
