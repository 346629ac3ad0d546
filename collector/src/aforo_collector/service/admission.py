"""Admission: the events of a submission by series, each series checked once and its events column by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import compress, repeat
from typing import Any, Final, NamedTuple

from aforo_collector.domain.catalog import Catalog
from aforo_collector.domain.identity import Identity
from aforo_collector.domain.submission import RawEvent, Refusal
from aforo_collector.domain.table import Table, tables_in
from aforo_collector.pipeline.admit import Refused, admit, digest, digest_of
from aforo_collector.pipeline.columns import Odd, Values, durations, keys, moments, quantities
from aforo_collector.pipeline.wire_names import NAMES
from aforo_collector.store.interning import Bounded

from .event_texts import fields_text
from .series import (
    NO_FIELDS,
    Accepted,
    Fields,
    Layout,
    Series,
    accepted,
    accepted_of,
    layout_of,
    minted,
    telling_fields,
)

LAYOUTS_MAX: Final = 64


class _Own(NamedTuple):
    """What the events of a table have for themselves, column by column."""

    keys: Sequence[str | None]
    quantities: Sequence[Decimal]
    amounts: Sequence[str]
    moments: Sequence[int]
    durations: Sequence[int | None]
    metadata: Sequence[Fields | None]
    """None where a series agrees in it, because something goes by it."""
    texts: Sequence[str]
    """The metadata as text."""


class Admission:
    """Admits the events of one sender under one catalog; `series` is where it remembers them, beside others."""

    def __init__(self, catalog: Catalog, caller: Identity, series: Bounded[object, Series]) -> None:
        self.catalog = catalog
        self._caller = caller
        self._series = series
        self._telling = telling_fields(catalog)
        self._layouts: Bounded[tuple[str, ...], Layout | None] = Bounded(LAYOUTS_MAX)

    def admit(
        self, events: Sequence[RawEvent | Refusal], bounds_ns: tuple[int, int]
    ) -> list[Accepted | Refusal]:
        """For each event what it states, which may be a signal of its session, or why it is refused.

        `bounds_ns` are the first and last moment it may have happened, both included.
        """
        found: list[Any] = [None] * len(events)
        refusals, tables = tables_in(events)
        for place, refusal in refusals.items():
            found[place] = refusal
        for places, table in tables:
            layout = self._layout(table.names) if len(table) else None
            if layout is not None:
                self._together(layout, table, places, bounds_ns, found)
            for row, place in enumerate(places):
                if found[place] is None:
                    found[place] = self._alone(place, table.event(row), bounds_ns)
        return found

    def _together(
        self,
        layout: Layout,
        table: Table,
        places: Sequence[int],
        bounds_ns: tuple[int, int],
        found: list[Any],
    ) -> None:
        """Admit the rows of a table that there is nothing odd about."""
        odd: Odd = set(table.refusals)
        own, idents = self._own(layout, table, bounds_ns, odd)
        series = self._series_of(idents, odd)
        for row, known in enumerate(series):
            if known is None and row not in odd:
                again = self._series.get(idents[row])  # since a row before this one
                if again is None:
                    place = places[row]
                    found[place] = self._first(layout, idents[row], place, table.event(row), bounds_ns)
                    odd.add(row)
                series[row] = again
        details = _details(layout, table, series, odd)
        columns: list[Sequence[Any]] = [places, series, details, *own]
        if odd:
            usual = [row not in odd for row in range(len(table))]
            columns = [list(compress(column, usual)) for column in columns]
        for item in _members(*columns):
            found[item[0]] = item

    def _own(
        self, layout: Layout, table: Table, bounds_ns: tuple[int, int], odd: Odd
    ) -> tuple[_Own, list[object]]:
        """What each row has for itself, and what the rows of one series agree in."""
        rows = len(table)
        empty = [None] * rows
        columns = [*table.columns, empty]
        given, texts, told = self._metadata(columns[layout.metadata], odd)
        lasted = durations(columns[layout.duration], odd) if layout.duration >= 0 else empty
        agreed: list[Iterable[object]] = [columns[at] for at in layout.shared]
        agreed += [map(_type_of, columns[at]) for at in layout.untyped]
        if layout.metadata >= 0:
            agreed.append(told)
        if layout.duration >= 0:
            agreed.append([duration is not None for duration in lasted])
        idents = list(zip(repeat(layout.mark, rows), *agreed, strict=True))
        quantity, amounts = quantities(columns[layout.quantity], odd)
        occurred = moments(columns[layout.occurred], bounds_ns, odd) if layout.occurred >= 0 else [0] * rows
        named = keys(columns[layout.key], odd) if layout.key >= 0 else empty
        return _Own(named, quantity, amounts, occurred, lasted, given, texts), idents  # type: ignore[return-value]

    def _metadata(
        self, values: Values, odd: Odd
    ) -> tuple[Sequence[Fields | None], Sequence[str], Sequence[str]]:
        """The metadata of each row, its text, and that text again where a series has to agree in it, else ""."""
        seen: dict[int, tuple[Fields | None, str, str] | None] = {}
        found = []
        for row, value in enumerate(values):
            if id(value) not in seen:
                seen[id(value)] = self._one_metadata(value)
            one = seen[id(value)]
            if one is None:
                odd.add(row)
            found.append(one or (NO_FIELDS, "", ""))
        given, texts, told = zip(*found, strict=True)
        return given, texts, told

    def _one_metadata(self, value: object) -> tuple[Fields | None, str, str] | None:
        if value is None:
            return NO_FIELDS, "", ""
        if type(value) is not dict:
            return None
        try:
            text = fields_text(value)
        except Refused:
            return None
        return (value, text, "") if self._telling.isdisjoint(value) else (None, text, text)

    def _series_of(self, idents: list[object], odd: Odd) -> list[Series | None]:
        try:
            return list(map(self._series.get, idents))
        except TypeError:  # an object or a list where a series has text
            found = []
            for row, ident in enumerate(idents):
                try:
                    found.append(self._series.get(ident))
                except TypeError:
                    found.append(None)
                    odd.add(row)
            return found

    def _alone(self, place: int, raw: RawEvent, bounds_ns: tuple[int, int]) -> Accepted | Refusal:
        try:
            event = admit(raw, self.catalog, bounds_ns, self._caller)
            metadata, details = fields_text(event.metadata), fields_text(event.details)
        except Refused as refused:
            return refused.refusal
        hashed = digest(event, metadata, details)
        return accepted(event, metadata, details, place, event.key or minted(), hashed)

    def _first(
        self, layout: Layout, ident: object, place: int, raw: RawEvent, bounds_ns: tuple[int, int]
    ) -> Accepted | Refusal:
        found = self._alone(place, raw, bounds_ns)
        if isinstance(found, Refusal) or found.shared.boundary:
            return found
        opaque = frozenset(NAMES.get(name, name) for name in layout.opaque_names)
        series = Series(found.shared, opaque)
        self._series.put(ident, series)
        return found._replace(series=series)

    def _layout(self, names: tuple[str, ...]) -> Layout | None:
        try:
            return self._layouts[names]
        except KeyError:
            pass
        layout = layout_of(names, self._telling)
        self._layouts.put(names, layout)
        return layout


def _type_of(value: object) -> object:
    """What tells values apart that are equal: 1 and True, and numbers of different digits, 1.0 and 1.00."""
    return str(value) if type(value) is Decimal else type(value)


def _details(
    layout: Layout, table: Table, series: Sequence[Series | None], odd: Odd
) -> list[tuple[Fields, str] | None]:
    """The details of each row, and their text; None for those that are odd."""
    if not layout.opaque:
        return [None if one is None else one.bare for one in series]
    found: list[tuple[Fields, str] | None] = []
    columns = [table.columns[at] for at in layout.opaque]
    for row, (one, values) in enumerate(zip(series, zip(*columns, strict=True), strict=True)):
        details = None
        if one is not None:
            try:
                details = one.details(layout.opaque_names, values)
            except (Refused, TypeError):  # TypeError: an object or a list where a series has text
                odd.add(row)
        found.append(details)
    return found


def _members(
    places: Sequence[int], series: Sequence[Series], details: Sequence[tuple[Fields, str]],
    named: Sequence[str | None], quantity: Sequence[Decimal], amounts: Sequence[str], occurred: Sequence[int],
    lasted: Sequence[int | None], metadata: Sequence[Fields | None], texts: Sequence[str],
) -> Sequence[Accepted]:  # fmt: skip
    """Events of known series, of what each of them has for itself."""
    shared = [one.event for one in series]
    given = [key or minted() for key in named]
    keyed = [key is not None for key in named]
    lasted_ns = [event.duration_ns if ns is None else ns for event, ns in zip(shared, lasted, strict=True)]
    fields = [
        (event.metadata if own is None else own, extra)
        for event, own, (extra, _) in zip(shared, metadata, details, strict=True)
    ]
    details_texts = [text for _, text in details]
    digests = [
        digest_of(one.said, *said)
        for one, *said in zip(series, amounts, occurred, lasted_ns, texts, details_texts, strict=True)
    ]
    return list(map(accepted_of, zip(
        places, shared, given, keyed, quantity, occurred, lasted_ns, fields, texts, details_texts, digests, series,
        strict=True,
    )))  # fmt: skip
