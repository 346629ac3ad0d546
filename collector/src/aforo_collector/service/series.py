"""Series: events that differ in nothing that matters to anything but themselves are checked together.

Most events of a sender are alike but for their key, quantity, time and duration, and for fields that no
price, no condition and no cost looks at. Events that agree in all the rest are a series: its first one goes
through `admit` whole, and what that found holds for the others, whose own fields are read column by column.
Whatever is unusual about an event sends it through `admit` like the first, so that there is one validator,
and one wording of what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from secrets import token_hex
from typing import Final, NamedTuple

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.event_fields import other_spelling
from aforo_collector.domain.submission import UsageEvent
from aforo_collector.pipeline.admit import check, said
from aforo_collector.pipeline.attribution import SPELLINGS
from aforo_collector.pipeline.wire_names import LABELS, NAMES, TEXT_LENGTHS, snake

from .event_texts import fields_text

SERIES_MAX: Final = 8_192
"""Of all senders together; with the few texts of each they take some tens of megabytes at most."""
_TEXTS_MAX: Final = 8

_OWN: Final = ("idempotencyKey", "quantity", "occurredAt", "executionDurationMs", "metadata")
"""What each event of a series has for itself."""
_SHARED: Final = frozenset(
    "customerId metricName productType sessionId agentId toolName executionStatus traceId trace sessionBoundary"
    " teamId appId".split()
)
"""What says whose an event is, and what of: in this a series agrees, whatever the catalog says."""

Fields = Mapping[str, object]

NO_FIELDS: Final[Fields] = {}
_event_of: Final[Callable[[tuple[object, ...]], UsageEvent]] = partial(tuple.__new__, UsageEvent)


class Accepted(NamedTuple):
    """An admitted event in its submission, with the texts that are stored of it and the hash of what it says.

    `shared` is an event of its series, which says everything of it that is not here; `series` is None for an
    event that is like no other. `fields` are its metadata and its details.
    """

    place: int
    shared: UsageEvent
    key: str
    is_keyed: bool
    """Whether the sender gave the key; else it was minted."""
    quantity: Decimal
    occurred_ns: int
    duration_ns: int
    fields: tuple[Fields, Fields]
    metadata: str
    details: str
    digest: bytes
    series: Series | None = None

    @property
    def event(self) -> UsageEvent:
        """The event; made anew each time."""
        shared = self.shared
        return _event_of((
            *shared[:2], self.quantity, self.occurred_ns, self.key if self.is_keyed else "", *shared[5:11],
            self.duration_ns, shared.boundary, *self.fields,
        ))  # fmt: skip


accepted_of: Final[Callable[[tuple[object, ...]], Accepted]] = partial(tuple.__new__, Accepted)


def accepted(
    event: UsageEvent, metadata: str, details: str, place: int = 0, key: str = "", hashed: bytes = b""
) -> Accepted:
    """An event that is like no other; `key` is the one that was minted for it if it has none."""
    return Accepted(
        place, event, event.key or key, event.key != "", event.quantity, event.occurred_ns, event.duration_ns,
        (event.metadata, event.details), metadata, details, hashed,
    )  # fmt: skip


class Series:
    """What the events of one series have in common."""

    __slots__ = ("_texts", "bare", "event", "said")

    def __init__(self, event: UsageEvent, opaque: frozenset[str]) -> None:
        self.event = event
        self.said = said(event)
        details = {name: value for name, value in event.details.items() if name not in opaque}
        self.bare: tuple[Fields, str] = details, fields_text(details)
        """The details of an event that has none of its own, and their text."""
        self._texts: dict[object, tuple[Fields, str]] = {}

    def details(self, names: Sequence[str], values: tuple[object, ...]) -> tuple[Fields, str]:
        """The details of an event with these opaque fields, and their text; raises `Refused` for what cannot be."""
        found = self._texts.get(values)
        if found is None:
            details = dict(self.bare[0])
            for name, value in zip(names, values, strict=True):
                if value is not None:
                    named = NAMES.get(name, name)
                    check(named, value)
                    details[named] = value
            found = details, fields_text(details)
            if len(self._texts) < _TEXTS_MAX:
                self._texts[values] = found
        return found


class Layout(NamedTuple):
    """Where events with the same field names have what, by the number of the field; -1 for one that they lack."""

    key: int
    quantity: int
    occurred: int
    duration: int
    metadata: int
    shared: tuple[int, ...]
    opaque: tuple[int, ...]
    opaque_names: tuple[str, ...]
    untyped: tuple[int, ...]
    """Fields of both that need not be text: a series agrees in their types, for equal ones may still differ."""
    mark: object
    """What tells it from every other layout."""


def minted() -> str:
    """A new idempotency key, for an event that came without."""
    return f"minted-{token_hex(16)}"


def telling_fields(catalog: Catalog) -> frozenset[str]:
    """The fields beyond `_SHARED` that anything may go by under a catalog, by both spellings."""
    names = {"dimensionKey"}
    for unit in catalog.billable_units:
        names.update(condition.field for condition in unit.conditions)
        if unit.event_field is not None:
            names.add(unit.event_field)
    for plan in catalog.rate_plans:
        names.update(price.terms.dimension for price in plan.prices if price.terms.dimension is not None)
    return LABELS.union(SPELLINGS, names, map(other_spelling, names), map(snake, names))


def layout_of(names: tuple[str, ...], telling: frozenset[str]) -> Layout | None:
    """The layout of events with these fields; None where two of them mean the same, or nothing is shared."""
    meant = {NAMES.get(name, name): at for at, name in enumerate(names)}
    shared = tuple(
        at
        for field, at in meant.items()
        if field in _SHARED or (field not in _OWN and (field in telling or names[at] in telling))
    )
    if len(meant) < len(names) or not shared or "quantity" not in meant:
        return None
    key, quantity, occurred, duration, metadata = (meant.get(field, -1) for field in _OWN)
    opaque = tuple(at for field, at in meant.items() if field not in _OWN and at not in shared)
    untyped = tuple(at for at in (*shared, *opaque) if NAMES.get(names[at]) not in TEXT_LENGTHS)
    called = tuple(names[at] for at in opaque)
    return Layout(key, quantity, occurred, duration, metadata, shared, opaque, called, untyped, object())
