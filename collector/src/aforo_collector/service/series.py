"""Series: events that differ in nothing that matters to anything but themselves are checked together.

Most events of a sender are alike but for their key, quantity, time and duration, and for fields that no
price, no condition and no cost looks at. Events that agree in all the rest are a series: its first one goes
through `admit` whole, and what that found holds for the others. Whatever is unusual about an event sends it
through `admit` like the first, so that there is one validator, and one wording of what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from operator import itemgetter
from secrets import token_hex
from typing import Final, NamedTuple

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.event_fields import other_spelling
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.money import plain
from aforo_collector.domain.session import duration_of
from aforo_collector.domain.submission import RawEvent, UsageEvent
from aforo_collector.pipeline.admit import (
    INTEGER_DIGITS_MAX,
    Refused,
    admit,
    check,
    digest,
    digest_of,
    moment_of,
    quantity_of,
    said,
)
from aforo_collector.pipeline.attribution import SPELLINGS
from aforo_collector.pipeline.wire_names import LABELS, NAMES, TEXT_LENGTHS, snake
from aforo_collector.store.interning import Bounded

from .event_texts import fields_text

SERIES_MAX: Final = 8_192
"""Of all senders together; with the few texts of each they take some tens of megabytes at most."""
_LAYOUTS_MAX: Final = 64
_TEXTS_MAX: Final = 8
_KEY_LENGTH_MAX: Final = TEXT_LENGTHS["idempotencyKey"] // 2
_WHOLE_LIMIT: Final = 10**INTEGER_DIGITS_MAX

_OWN: Final = ("idempotencyKey", "quantity", "occurredAt", "executionDurationMs", "metadata")
"""What each event of a series has for itself."""
_SHARED: Final = frozenset(
    "customerId metricName productType sessionId agentId toolName executionStatus traceId trace sessionBoundary"
    " teamId appId".split()
)
"""What says whose an event is, and what of: in this a series agrees, whatever the catalog says."""

_event_of: Final[Callable[[tuple[object, ...]], UsageEvent]] = partial(tuple.__new__, UsageEvent)


class Accepted(NamedTuple):
    """An admitted event in its submission, with the texts that are stored of it and the hash of what it says.

    `series` is what it belongs to, None for an event that is like no other.
    """

    place: int
    event: UsageEvent
    key: str
    metadata: str
    details: str
    digest: bytes
    series: Series | None = None


_accepted_of: Final[Callable[[tuple[object, ...]], Accepted]] = partial(tuple.__new__, Accepted)


class Series:
    """What the events of one series have in common."""

    __slots__ = ("_details", "_texts", "event", "said")

    def __init__(self, event: UsageEvent, opaque: frozenset[str]) -> None:
        self.event = event
        self.said = said(event)
        self._details = {name: value for name, value in event.details.items() if name not in opaque}
        self._texts: dict[object, tuple[Mapping[str, object], str]] = {
            None: (self._details, fields_text(self._details))
        }

    def details(self, layout: _Layout, raw: RawEvent) -> tuple[Mapping[str, object], str]:
        """The details of an event, and their text; raises `Refused` for one that cannot be."""
        values = layout.opaque_of(raw) if layout.opaque else None
        found = self._texts.get(values)
        if found is None:
            details = dict(self._details)
            for name in layout.opaque:
                value = raw[name]
                if value is not None:
                    named = NAMES.get(name, name)
                    check(named, value)
                    details[named] = value
            found = details, fields_text(details)
            if len(self._texts) < _TEXTS_MAX:
                self._texts[values] = found
        return found


class _Layout(NamedTuple):
    """Where events with the same field names have what; "" for a field that they lack."""

    key: str
    quantity: str
    occurred: str
    duration: str
    metadata: str
    shared: Callable[[RawEvent], object]
    opaque: tuple[str, ...]
    opaque_of: Callable[[RawEvent], object]
    untyped: tuple[str, ...]
    """Fields of both that need not be text: a series agrees in their types, for equal ones may still differ."""
    mark: object
    """What tells it from every other layout."""


class Admission:
    """Admits the events of one sender under one catalog; `series` is where it remembers them, beside others."""

    def __init__(self, catalog: Catalog, caller: Identity, series: Bounded[object, Series]) -> None:
        self.catalog = catalog
        self._caller = caller
        self._series = series
        self._telling = _telling(catalog)
        self._layouts: Bounded[tuple[str, ...], _Layout | None] = Bounded(_LAYOUTS_MAX)

    def admit(self, place: int, raw: RawEvent, bounds_ns: tuple[int, int]) -> Accepted:
        """The event that `raw` states, which may be a signal of its session; raises `Refused`.

        `bounds_ns` are the first and last moment it may have happened, both included.
        """
        layout = self._layout(tuple(raw))
        if layout is not None:
            try:
                ident, metadata, text = self._ident(layout, raw)
                series = self._series.get(ident)
                if series is not None:
                    return _member(series, layout, place, raw, bounds_ns, metadata, text)
            except (Refused, TypeError):  # TypeError: an object or a list where a series has text
                pass
            else:
                return self._first(layout, ident, place, raw, bounds_ns)
        return self._whole(place, raw, bounds_ns)

    def _whole(self, place: int, raw: RawEvent, bounds_ns: tuple[int, int]) -> Accepted:
        event = admit(raw, self.catalog, bounds_ns, self._caller)
        metadata, details = fields_text(event.metadata), fields_text(event.details)
        key = event.key or minted()
        return Accepted(place, event, key, metadata, details, digest(event, metadata, details))

    def _first(
        self, layout: _Layout, ident: object, place: int, raw: RawEvent, bounds_ns: tuple[int, int]
    ) -> Accepted:
        accepted = self._whole(place, raw, bounds_ns)
        if accepted.event.boundary:
            return accepted
        opaque = frozenset(NAMES.get(name, name) for name in layout.opaque)
        series = Series(accepted.event, opaque)
        self._series.put(ident, series)
        return accepted._replace(series=series)

    def _layout(self, names: tuple[str, ...]) -> _Layout | None:
        try:
            return self._layouts[names]
        except KeyError:
            pass
        layout = _layout_of(names, self._telling)
        self._layouts.put(names, layout)
        return layout

    def _ident(self, layout: _Layout, raw: RawEvent) -> tuple[object, Mapping[str, object] | None, str]:
        """What events of one series agree in; the metadata of this one, None where it is part of that; its text."""
        metadata: Mapping[str, object] | None = _NO_METADATA
        text = told = ""
        stated = raw[layout.metadata] if layout.metadata else None
        if stated is not None:
            if type(stated) is not dict:
                raise TypeError
            metadata, text = stated, fields_text(stated)
            if not self._telling.isdisjoint(stated):
                metadata, told = None, text
        timed = layout.duration != "" and raw[layout.duration] is not None
        types = tuple([_type_of(raw[name]) for name in layout.untyped]) if layout.untyped else None
        return (layout.mark, layout.shared(raw), told, timed, types), metadata, text


_NO_METADATA: Final[Mapping[str, object]] = {}


def _type_of(value: object) -> object:
    """What tells values apart that are equal: 1 and True, and numbers of different digits, 1.0 and 1.00."""
    return str(value) if type(value) is Decimal else type(value)


def minted() -> str:
    """A new idempotency key, for an event that came without."""
    return f"minted-{token_hex(16)}"


def _telling(catalog: Catalog) -> frozenset[str]:
    """The fields beyond `_SHARED` that anything may go by under a catalog, by both spellings."""
    names = {"dimensionKey"}
    for unit in catalog.billable_units:
        names.update(condition.field for condition in unit.conditions)
        if unit.event_field is not None:
            names.add(unit.event_field)
    for plan in catalog.rate_plans:
        names.update(price.terms.dimension for price in plan.prices if price.terms.dimension is not None)
    return LABELS.union(SPELLINGS, names, map(other_spelling, names), map(snake, names))


def _layout_of(names: tuple[str, ...], telling: frozenset[str]) -> _Layout | None:
    """The layout of events with these fields; None where two of them mean the same, or nothing is shared."""
    meant = {NAMES.get(name, name): name for name in names}
    shared = [
        name
        for field, name in meant.items()
        if field in _SHARED or (field not in _OWN and (field in telling or name in telling))
    ]
    if len(meant) < len(names) or not shared or "quantity" not in meant:
        return None
    key, quantity, occurred, duration, metadata = (meant.get(field, "") for field in _OWN)
    opaque = tuple(name for field, name in meant.items() if field not in _OWN and name not in shared)
    untyped = tuple(name for name in (*shared, *opaque) if NAMES.get(name) not in TEXT_LENGTHS)
    return _Layout(
        key, quantity, occurred, duration, metadata, itemgetter(*shared), opaque, itemgetter(*(opaque or shared)),
        untyped, object(),
    )  # fmt: skip


def _member(
    series: Series, layout: _Layout, place: int, raw: RawEvent, bounds_ns: tuple[int, int],
    metadata: Mapping[str, object] | None, text: str,
) -> Accepted:  # fmt: skip
    """An event of a known series; raises `Refused` or TypeError where it is unusual."""
    stated = raw[layout.key] if layout.key else None
    if stated is None:
        key = minted()
        stated = ""
    elif (
        type(stated) is str
        and 0 < len(stated) <= _KEY_LENGTH_MAX
        and "\0" not in stated
        and not stated.isspace()
    ):
        key = stated
    else:
        raise TypeError
    number = raw[layout.quantity]
    if type(number) is int and 0 <= number < _WHOLE_LIMIT:
        quantity, amount = Decimal(number), str(number)
    else:
        quantity = quantity_of(number)
        amount = plain(quantity)
    occurred = raw[layout.occurred] if layout.occurred else None
    occurred_ns = moment_of(occurred, bounds_ns) if occurred not in (None, "") else 0
    shared = series.event
    duration = raw[layout.duration] if layout.duration else None
    if duration is not None:
        check("executionDurationMs", duration)
    duration_ns = shared.duration_ns if duration is None else duration_of(duration)
    details, details_text = series.details(layout, raw)
    if metadata is None:
        metadata = shared.metadata
    event = _event_of((
        *shared[:2], quantity, occurred_ns, stated, *shared[5:11], duration_ns, "", metadata, details,
    ))  # fmt: skip
    hashed = digest_of(series.said, amount, occurred_ns, duration_ns, text, details_text)
    return _accepted_of((place, event, key, text, details_text, hashed, series))
